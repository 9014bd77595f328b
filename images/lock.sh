#!/usr/bin/env bash
# Writes images/NAME/requirements.lock from requirements.in: exact versions with the hashes of
# every wheel, for Python 3.11 to 3.13 on every platform. A new lock is a new image digest, so
# give the image a new tag with it.
#
# usage: images/lock.sh NAME...
set -euo pipefail

readonly uv_version=0.13.9

images=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { echo "usage: $0 NAME..." >&2; exit 2; }

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" --quiet --disable-pip-version-check install "uv==$uv_version"

for name in "$@"; do
    cd "$images/$name"
    "$tools/bin/uv" --quiet --no-config pip compile requirements.in \
        --universal --python-version 3.11 \
        --generate-hashes --only-binary :all: \
        --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "images/lock.sh $name" \
        --output-file requirements.lock
    echo "locked $name: $(grep -c '^[a-z].*==' requirements.lock) packages"
done
