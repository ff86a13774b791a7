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
# Shell and Python both read the script: the first line of one cannot name an interpreter whose path has a space in it.
cat >"$bin/loopway" <<EOF
#!/bin/sh
'''exec' "$bin/python" "\$0" "\$@"
' '''
import sys
from proxy.__main__ import main
sys.exit(main())
EOF
chmod +x "$bin/loopway"
