# Sourced by the other scripts: `venv_with EXTRA` makes or reuses .venv in the repository root, installs this
# distribution there (editable, with that extra) and leaves the caller in the repository root.
# POSIX sh. A stamp in .venv says what is installed, so that a second run starts at once.

say() { printf '%s\n' "$*" >&2; }

venv_digest() { # of what decides the contents of the environment
    "$venv_python" -c 'import hashlib, sys
print(hashlib.sha256(open("pyproject.toml", "rb").read() + sys.version.encode()).hexdigest())'
}

venv_check_python() {
    if ! command -v "$venv_python" >/dev/null 2>&1; then
        say "$venv_python not found: install Python 3.11 or newer (Debian: apt install python3 python3-venv)"
        exit 1
    fi
    if ! "$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "$("$venv_python" --version) is too old: install Python 3.11 or newer, or name one: PYTHON=python3.12 $0"
        exit 1
    fi
    if ! command -v uv >/dev/null 2>&1 && ! "$venv_python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$venv_python cannot make virtual environments: install venv (Debian: apt install python3-venv)"
        exit 1
    fi
}

venv_install() { # EXTRA
    say "installing .[$1] into .venv ..."
    if command -v uv >/dev/null 2>&1; then
        .venv/bin/python -c '' 2>/dev/null || uv venv --quiet --clear --python "$venv_python" .venv
        uv pip install --quiet --python .venv/bin/python --editable ".[$1]"
    else
        .venv/bin/python -m pip --version >/dev/null 2>&1 || "$venv_python" -m venv --clear .venv
        .venv/bin/python -m pip install -q --disable-pip-version-check --editable ".[$1]"
    fi
}

venv_with() { # EXTRA
    venv_python=${PYTHON:-python3}
    cd "$(dirname "$0")/.." || exit 1
    venv_check_python
    venv_want=$(venv_digest)
    if [ "$(cat ".venv/installed-$1" 2>/dev/null)" = "$venv_want" ]; then return 0; fi
    # Two runs at once must not install over one another. The lock belongs to the open file, and goes with this shell.
    exec 9>.venv.lock
    "$venv_python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    if [ "$(cat ".venv/installed-$1" 2>/dev/null)" != "$venv_want" ]; then
        if ! venv_install "$1"; then
            say "cannot install .[$1] into .venv (see above): is the package index reachable? Then run $0 again."
            exit 1
        fi
        printf '%s\n' "$venv_want" >".venv/installed-$1"
    fi
    exec 9>&-
}
