#!/bin/sh
# Prints the interpreter to build .venv with: 3.11 or newer, able to make an environment, and of those the first one
# built with optimisations (a distribution's under /usr is, though its build flags do not say so); without any such,
# the first that works.
fallback=
for candidate in python3.11 python3 /usr/bin/python3.11 /usr/bin/python3 python3.12 python3.13 python3.14; do
    found=$(command -v "$candidate") || continue
    "$found" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    if "$found" -c 'import sys, sysconfig
optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
sys.exit(not (optimised or sys.base_prefix == "/usr"))'; then
        echo "$found"
        exit 0
    fi
    [ -n "$fallback" ] || fallback=$found
done
[ -n "$fallback" ] || { echo "no Python 3.11 or newer with venv found (Debian: apt-get install python3-venv)" >&2; exit 1; }
echo "$fallback"
