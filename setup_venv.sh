#!/bin/sh
# Makes .venv and installs the project into it, in editable mode. Usage: setup_venv.sh [dev]
# Called by the Makefile, which decides whether there is anything to do. Needs no root and no terminal.
set -eu
cd "$(dirname "$0")"
wanted=${1:-}

fail() {
    echo "setup: $*" >&2
    exit 1
}

# The newest interpreter that will do; PYTHON=/path/to/python names another.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or later is needed: install it (python.org, apt, brew), or name one with 'make PYTHON=/path/to/python3.11'"
}

has_nvidia_gpu() {
    [ -e /dev/nvidia0 ] || [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1
}

# A CPU needs no torch (decoding/small_torch); the development tools do. PyPI's torch for Linux brings gigabytes of
# CUDA; PyTorch's own index has the small CPU build.
cpu_index() {
    [ "$(uname -s)" = Linux ] || return 0
    "$venv_python" - 2>/dev/null <<'EOF' || true
import urllib.request

index = "https://download.pytorch.org/whl/cpu"
urllib.request.urlopen(urllib.request.Request(f"{index}/torch/", method="HEAD"), timeout=3)
print(f"--extra-index-url={index}")
EOF
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python can't make virtual environments: 'apt install python3-venv' (or python3.12-venv and the like) adds that"
    echo "setup: making .venv with $("$python" --version); this first time takes a while"
    "$python" -m venv --clear .venv
fi
venv_python=.venv/bin/python

index=
if has_nvidia_gpu; then
    wanted=${wanted:-torch}
    grep -v '^torch==' constraints-cpu.txt >.venv/constraints.txt
else
    [ -z "$wanted" ] || index=$(cpu_index)
    cp constraints-cpu.txt .venv/constraints.txt
fi
extra=${wanted:+[$wanted]}
echo "setup: installing tabcast$extra into .venv"
# shellcheck disable=SC2086 # $index is one word or none
"$venv_python" -m pip install --quiet --disable-pip-version-check \
    --constraint .venv/constraints.txt $index --editable ".$extra"
