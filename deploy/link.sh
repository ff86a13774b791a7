#!/bin/sh
# Makes the checkout importable and puts the `loopway` command into the environment of $1, without a build backend:
# `make run` needs nothing but the runtime lock.
set -eu
python=$1
root=$(cd "$(dirname "$0")/.." && pwd)
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
bin=$(dirname "$python")
echo "$root" >"$site/loopway-checkout.pth"
case $bin in /*) ;; *) bin=$root/$bin ;; esac
cat >"$bin/loopway" <<EOF
#!$bin/python
import sys
from proxy.__main__ import main
sys.exit(main())
EOF
chmod +x "$bin/loopway"
