# Sourced by the other scripts: `venv_with EXTRA` makes or reuses .venv in the repository root, installs there what
# requirements/EXTRA.txt locks, by version and hash, and this distribution (editable), and leaves the caller in the
# repository root. `venv_tools` makes .venv-tools, with what renews and audits the lock.
# POSIX sh. A stamp in the environment says what is installed, so that a second run starts at once.

say() { printf '%s\n' "$*" >&2; }

venv_digest() { # of what decides the contents of the environments: pyproject.toml, all locks, the interpreter
    "$venv_python" -c 'import glob, hashlib, sys
files = ["pyproject.toml", *sorted(glob.glob("requirements/*.txt"))]
read = b"".join(name.encode() + open(name, "rb").read() for name in files)
print(hashlib.sha256(read + sys.version.encode()).hexdigest())'
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

venv_is_of() { # DIRECTORY: whether it is an environment of the wanted interpreter
    venv_print='import sys; print(sys.version)'
    [ "$("$1/bin/python" -c "$venv_print" 2>/dev/null)" = "$("$venv_python" -c "$venv_print")" ]
}

venv_pip_install() { # DIRECTORY ARGUMENT...: into that environment, which is made where it is not there
    venv_directory=$1
    shift
    if command -v uv >/dev/null 2>&1; then
        venv_is_of "$venv_directory" || uv venv --quiet --clear --python "$venv_python" "$venv_directory" || return 1
        # Compiled once, as pip does: else every start of a daemon compiles all that it imports.
        uv pip install --quiet --compile-bytecode --python "$venv_directory/bin/python" "$@"
    else
        { venv_is_of "$venv_directory" && "$venv_directory/bin/python" -m pip --version >/dev/null 2>&1; } ||
            "$venv_python" -m venv --clear "$venv_directory" || return 1
        "$venv_directory/bin/python" -m pip install -q --disable-pip-version-check "$@"
    fi
}

# The distribution is built with the locked backend: an isolated build would fetch the newest one instead.
venv_install() { # EXTRA
    venv_pip_install .venv --require-hashes -r requirements/build.txt -r "requirements/$1.txt" &&
        venv_pip_install .venv --no-deps --no-build-isolation --editable .
}

venv_install_tools() {
    if [ -e requirements/tools.txt ]; then
        venv_pip_install .venv-tools --require-hashes -r requirements/tools.txt
    else # the way back, where nothing can be installed by that lock any more
        venv_pip_install .venv-tools uv pip-audit "cyclonedx-python-lib[json-validation]"
    fi
}

venv_made() { # DIRECTORY NAME COMMAND...: runs it, unless the stamp says that it did
    venv_stamp=$1/installed-$2
    venv_want=$(venv_digest)
    if [ "$(cat "$venv_stamp" 2>/dev/null)" = "$venv_want" ]; then return 0; fi
    # Two runs at once must not install over one another. The lock belongs to the open file, and goes with this shell.
    exec 9>.venv.lock
    "$venv_python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    if [ "$(cat "$venv_stamp" 2>/dev/null)" != "$venv_want" ]; then
        # What another lock put there is true no more, whichever extra it was for.
        for venv_other in "$1"/installed-*; do
            [ "$(cat "$venv_other" 2>/dev/null)" = "$venv_want" ] || rm -f "$venv_other"
        done
        say "installing requirements/$2.txt into $1 ..."
        shift 2
        if ! "$@"; then
            say "cannot install (see above): is the package index reachable, with the very files that are locked? Then run $0 again."
            exit 1
        fi
        printf '%s\n' "$venv_want" >"$venv_stamp"
    fi
    exec 9>&-
}

venv_begin() {
    venv_python=${PYTHON:-python3}
    cd "$(dirname "$0")/.." || exit 1
    venv_check_python
}

venv_with() { # EXTRA
    venv_begin
    venv_made .venv "$1" venv_install "$1"
}

venv_tools() {
    venv_begin
    venv_made .venv-tools tools venv_install_tools
}
