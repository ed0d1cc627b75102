#!/usr/bin/env bash
# To be sourced: unpacks packages of Debian sid, which need no root and change nothing else on the machine.

# unpack ROOT LOG PACKAGE...: into ROOT with all that they depend on; one line on standard error when that fails.
unpack() (
    root=$1 log=$2
    shift 2
    fail() { echo "$1" >&2; exit 1; }
    command -v apt-get dpkg-deb >/dev/null || fail "only Debian's packages can be unpacked"
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "Debian's packages are unpacked on amd64 only"
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' EXIT
    mkdir -p "$root" "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    echo "deb http://deb.debian.org/debian sid main" >"$apt/sources.list"
    _apt update --error-on=any || fail "deb.debian.org can't be reached (see $log)"
    _apt install --yes --download-only "$@" || fail "$* can't be downloaded (see $log)"
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root" || fail "$package can't be unpacked"; done
)

# With its own lists and no package installed, so that all that is needed is downloaded; needs `apt` and `log`.
_apt() {
    apt-get -o Dir::State::Lists="$apt/lists" -o Dir::State::Status="$apt/status" -o Dir::Cache="$apt" \
        -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::Log="$apt" \
        -o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=false -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o Debug::NoLocking=1 "$@" >>"$log" 2>&1
}

# write_runner FILE ROOT: a script that runs a program of that tree, named from its root, with that tree's libraries.
write_runner() {
    cat >"$1" <<WRAPPER
#!/bin/sh
root='$2'
libraries="\$root/usr/lib/x86_64-linux-gnu"
program=\$1
shift
exec "\$libraries/ld-linux-x86-64.so.2" --library-path "\$libraries:\$libraries/libproxy:\$libraries/pulseaudio" \\
    "\$root/\$program" "\$@"
WRAPPER
    chmod +x "$1"
}
