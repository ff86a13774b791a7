#!/bin/sh
# Builds deploy/Dockerfile with buildah and runs the image with podman as production would: no root, a read-only root, no
# capabilities, no way out. Prints what the image adds to its base, and ends with 0 if all of it holds. Not part of
# `make test`: it takes a minute, a gigabyte, and tools that need root.
#
#     sh tests/deploy/image.sh                     the base comes from its registry
#     BASE=debian sh tests/deploy/image.sh         a stand-in for the base is made by mmdebstrap: Debian with its Python
#
# BUILD and RUN may hold more flags of `buildah bud` and `podman run`, PODMAN more of podman itself.
set -eu
cd "$(dirname "$0")/../.."
base=docker.io/library/python:3.11-slim-bookworm
name=loopway-image-test
work=$(mktemp -d)
podman="podman ${PODMAN:-}"
trap '$podman rm -f -i $name >/dev/null 2>&1; rm -rf "$work"' EXIT
say() { echo "== $*"; }
size() { $podman image inspect --format '{{.Size}}' "$1"; }

if [ "${BASE:-}" = debian ]; then
    say "a stand-in for $base"
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python-is-python3,ca-certificates,netbase,tzdata \
        bookworm "$work/base.tar"
    from=$(buildah from scratch)
    buildah add -q "$from" "$work/base.tar" / >/dev/null
    buildah config --env PATH=/usr/local/bin:/usr/bin:/bin "$from"
    buildah commit -q --rm "$from" "$base" >/dev/null
fi

say build
# docker's format: the other one has no health checks
buildah bud -q --format docker ${BASE:+--pull=never} ${BUILD:-} -f deploy/Dockerfile -t "$name" . >"$work/build.txt" 2>&1 || {
    cat "$work/build.txt"
    exit 1
}
echo "$(( ($(size "$name") - $(size "$base")) / 1000000 )) MB more than the base"

say run
mkdir -m 755 "$work/conf"
cat > "$work/conf/loopway.yaml" <<EOF
server: {drain_delay: 500ms, drain_timeout: 30s}
telemetry: {metrics_port: 9100}
virtual_keys: [{slug: openai, provider: openai, key: sk-none, custom_host: "http://127.0.0.1:9009/v1"}]
api_keys: [{name: test, key: lw-test-0123456789}]
EOF
$podman run -d --name "$name" --network none --read-only --cap-drop=ALL --security-opt=no-new-privileges --tmpfs /data \
    ${RUN:-} -v "$work/conf:/etc/loopway:ro" "$name" serve --config /etc/loopway/loopway.yaml --workers 2 >/dev/null
inside() { $podman exec "$name" "$@"; }
$podman exec -d "$name" loopway mock --port 9009 >/dev/null
for _ in $(seq 100); do $podman healthcheck run "$name" >/dev/null 2>&1 && break; sleep 0.2; done
$podman healthcheck run "$name" >/dev/null
echo "the health check is content"
inside sh -c '
    test "$(id -u)" = 10001
    grep -q "^CapEff:.0*$" /proc/1/status
    ! touch /opt/loopway/x 2>/dev/null
    ! python -m pip --version 2>/dev/null'
echo "user 10001, no capabilities, nothing to write to, nothing to install with"
inside loopway doctor --config /etc/loopway/loopway.yaml

say drain
inside python -c '
import urllib.request as u
body = b"""{"model": "@openai/gpt-4o::gap=200,chunks=20", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}"""
headers = {"x-portkey-api-key": "lw-test-0123456789", "content-type": "application/json"}
print(u.urlopen(u.Request("http://127.0.0.1:8787/v1/chat/completions", body, headers)).read().decode())
' > "$work/stream" &
stream=$!
sleep 1.5
$podman kill --signal TERM "$name" >/dev/null
wait $stream
grep -q '^data: \[DONE\]' "$work/stream"
code=$($podman wait "$name")
echo "the stream that was open ended well, and the container with $code"
test "$code" = 0
