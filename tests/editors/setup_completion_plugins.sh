#!/usr/bin/env bash
# Fetches nvim-cmp, cmp-nvim-lsp and blink.cmp into DIR/plugins; DIR is .editors by default. They are tested and never
# packed. TABCAST_PLUGINS_FROM names another place than https://github.com for the repositories OWNER/NAME.
set -euo pipefail

fail() { echo "setup_completion_plugins: $1" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
from=${TABCAST_PLUGINS_FROM:-https://github.com}
mkdir -p "${1:-$here/../../.editors}/plugins"
dir=$(cd "${1:-$here/../../.editors}/plugins" && pwd)

while read -r repository commit; do
    folder=$dir/${repository#*/}
    [ "$(git -C "$folder" rev-parse HEAD 2>/dev/null)" != "$commit" ] || continue
    rm -rf "$folder"
    git init -q "$folder"
    git -C "$folder" fetch -q --depth 1 "$from/$repository" "$commit" || fail "$from/$repository can't be fetched"
    git -C "$folder" checkout -q FETCH_HEAD
done <<'END'
hrsh7th/nvim-cmp a1d504892f2bc56c2e79b65c6faded2fd21f3eca
hrsh7th/cmp-nvim-lsp cbc7b02bb99fae35cb42f514762b89b5126651ef
saghen/blink.cmp 4b18c32adef2898f95cdef6192cbd5796c1a332d
END
