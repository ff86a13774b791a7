#!/bin/sh
# Installs peers to measure beside the gateway: sh loadtests/peers/install.sh [portkey] [litellm]
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- portkey
for peer in "$@"; do
    case $peer in
        portkey) (cd portkey && npm ci --silent --no-audit --no-fund --ignore-scripts) ;;
        litellm)
            [ -d litellm/.venv ] || "${PYTHON:-python3}" -m venv litellm/.venv
            litellm/.venv/bin/pip install -q --disable-pip-version-check --prefer-binary -r litellm/requirements.txt
            ;;
        *)
            echo "unknown peer: $peer (there are: portkey, litellm)" >&2
            exit 2
            ;;
    esac
    echo "$peer is ready"
done
