#!/bin/sh
# The servers that the tests run against for real: Redis, PostgreSQL, HAProxy, nginx and Prometheus. What is missing is
# installed from Debian's packages, which needs root; elsewhere one line says what to install.
set -eu

missing=
need() {
    for candidate in "$@"; do
        command -v "$candidate" >/dev/null 2>&1 && return 0
    done
    return 1
}

need redis-server || missing="$missing redis-server"
need initdb /usr/lib/postgresql/*/bin/initdb || missing="$missing postgresql"
need haproxy /usr/sbin/haproxy || missing="$missing haproxy"
need nginx /usr/sbin/nginx || missing="$missing nginx-light"
{ need prometheus && need promtool; } || missing="$missing prometheus"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "make test runs against real servers; install:$missing" >&2
    exit 1
fi
echo "Installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
# The packages' own services stay off: the tests start servers of their own, on free ports.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT; }
apt-get update -q >/dev/null
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $missing >/dev/null
