#!/bin/sh
# Make the environment from the lock file: environment.sh PYTHON VENV UV_VERSION
set -eu
python=$1 venv=$2 uv=$3

"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || {
    echo "$python is $("$python" --version 2>&1); Python 3.11 or 3.12 is needed. Run make with PYTHON=python3.11." >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "This Python has no venv module: installing the system package python3-venv."
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
    $as_root apt-get update -qq && $as_root apt-get install -y -qq python3-venv
fi
echo "Creating $venv from requirements-dev.lock …"
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv"
"$venv/bin/uv" pip sync --quiet --python "$venv/bin/python" requirements-dev.lock || {
    # pip knows mirrors and certificates that were set up for it alone.
    echo "uv could not install; trying pip, which is slower …"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
}
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
