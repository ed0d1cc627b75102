#!/usr/bin/env bash
# Unpacks Debian's current Emacs (with lsp-mode), Vim (with ALE) and Helix into DIR/others/root; DIR is .editors
# by default. No root needed, and nothing else on the machine changes. The tests of these editors are skipped without it.
# With --kate also Kate: 240 MB to download, 1 GB unpacked; root is needed only where Xvfb or xdotool is missing.
set -euo pipefail

fail() { echo "setup_others: $1" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
source "$here/debian.sh"
packages=(emacs-nox elpa-lsp-mode hx vim vim-ale)
if [ "${1:-}" = --kate ]; then
    packages+=(kate)
    shift
    if ! command -v Xvfb xdotool >/dev/null; then
        [ "$(id -u)" = 0 ] || fail "Xvfb or xdotool is missing and only root can install them"
        { apt-get update && apt-get install --yes --no-install-recommends xvfb xdotool; } >/dev/null 2>&1 ||
            fail "apt-get could not install xvfb and xdotool"
    fi
fi
base=${1:-$here/../../.editors}
mkdir -p "$base/others"
dir=$(cd "$base/others" && pwd)
log=$dir/setup.log

missing=()
for package in "${packages[@]}"; do [ -e "$dir/has/$package" ] || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

: >"$log"
unpack "$dir/root" "$log" "${missing[@]}" || fail "nothing was set up"
write_runner "$dir/run" "$dir/root"
mkdir -p "$dir/has"
for package in "${missing[@]}"; do touch "$dir/has/$package"; done
