#!/usr/bin/env bash
# Sets up the editors for the tests in this folder, under DIR (.editors by default); quick where they are there already.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
for editor in neovim vscode others; do
    started=$SECONDS
    "$here/setup_$editor.sh" "$@"
    echo "$editor: ready ($((SECONDS - started)) s)"
done
