#!/usr/bin/env bash
# Unpacks Debian's current Emacs (with lsp-mode) and Helix into DIR/others/root; DIR is .editors
# by default. No root needed, and nothing else on the machine changes. The tests of these editors are skipped without it.
set -euo pipefail

fail() { echo "setup_others: $1" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
base=${1:-$here/../../.editors}
packages=(emacs-nox elpa-lsp-mode hx)
mkdir -p "$base/others"
dir=$(cd "$base/others" && pwd)
log=$dir/setup.log apt=$dir/apt

missing=()
for package in "${packages[@]}"; do [ -e "$dir/has/$package" ] || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get dpkg-deb >/dev/null || fail "only Debian's packages can be unpacked"
[ "$(dpkg --print-architecture)" = amd64 ] || fail "Debian's packages are unpacked on amd64 only"
rm -rf "$apt"
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$dir/root" "$dir/has"
: >"$apt/status"
: >"$log"
echo "deb http://deb.debian.org/debian sid main" >"$apt/sources.list"
get() {
    apt-get -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" -o Dir::Cache="$apt" \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::Log="$apt" \
        -o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o Debug::NoLocking=1 "$@" >>"$log" 2>&1
}
get update --error-on=any || fail "deb.debian.org can't be reached (see $log)"
get install --yes --download-only "${missing[@]}" || fail "${missing[*]} can't be downloaded (see $log)"
for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$dir/root"; done
rm -rf "$apt"
for package in "${missing[@]}"; do touch "$dir/has/$package"; done

# What runs a program of that tree with that tree's libraries.
cat >"$dir/run" <<WRAPPER
#!/bin/sh
root='$dir/root'
libraries="\$root/usr/lib/x86_64-linux-gnu"
program=\$1
shift
exec "\$libraries/ld-linux-x86-64.so.2" --library-path "\$libraries" "\$root/\$program" "\$@"
WRAPPER
chmod +x "$dir/run"
