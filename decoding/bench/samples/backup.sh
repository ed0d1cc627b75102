#!/bin/bash
set -euo pipefail

readonly target="${1:-/var/backups}"
count=0

log() {
    local level="$1"
    shift
    printf '%s: %s\n' "$level" "$*" >&2
}

copy_one() {
    local file="$1"
    if [ -f "$file" ]; then
        cp "$file" "$target/$(basename "$file").bak"
        count=$((count + 1))
    else
        log warning "$file is no file"
    fi
}

for file in "$HOME"/*.txt; do
    copy_one "$file"
done

while read -r line; do
    case "$line" in
        "#"*) continue ;;
        *) copy_one "$line" ;;
    esac
done < list.conf

log info "$count files copied"
