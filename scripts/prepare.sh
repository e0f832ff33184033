# shellcheck shell=bash
# Sourced by the commands beside it, which then call
#     prepare "needed packages" "packages that it also goes without"
# It brings what is missing: Debian packages (as root, or with sudo -n) and a virtual environment
# in .venv. PYTHON is the interpreter to use from then on.
# Nobody is asked anything; a closed stdin would hand its number to the next file that is opened.
exec </dev/null

ROOT=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
VENV=$ROOT/.venv
PYTHON=$VENV/bin/python
REQUIREMENTS=("$ROOT"/requirements*.txt)
STAMP=$VENV/requirements.sha256
TRIED=$VENV/packages.tried
# Debian keeps some of what is needed out of a user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

prepare() {
    # One at a time: two commands started together share the virtual environment.
    exec 9<"$ROOT/requirements-dev.txt"
    command -v flock >/dev/null && flock 9
    asked_for=()
    install_missing "$1" "${2:-}"
    venv_is_current || make_venv
    [ ${#asked_for[@]} -eq 0 ] || printf '%s\n' "${asked_for[@]}" >>"$TRIED"
    exec 9<&-
}

install_missing() {
    local package needed=() wanted=()
    for package in $1; do has "$package" || needed+=("$package"); done
    for package in $2; do has "$package" || tried "$package" || wanted+=("$package"); done
    if [ ${#needed[@]} -gt 0 ]; then
        can_be_root || die "missing here; install it as root: apt-get install ${needed[*]}"
        install_packages "${needed[@]}" || die "there is no way on without ${needed[*]}"
        for package in "${needed[@]}"; do
            has "$package" || die "$package was installed, but what it should bring is not there"
        done
    fi
    if [ ${#wanted[@]} -gt 0 ] && can_be_root; then
        install_packages "${wanted[@]}" || echo "Going on without ${wanted[*]}" >&2
        asked_for=("${wanted[@]}")
    fi
}

install_packages() {
    echo "Installing Debian packages: $*" >&2
    local command=("$ROOT/scripts/install-packages" "$@")
    if [ "$(id -u)" -ne 0 ]; then command=(sudo -n "${command[@]}"); fi
    "${command[@]}"
}

# What it also goes without is asked for once.
tried() {
    [ -e "$TRIED" ] && grep -qx "$1" "$TRIED"
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

# Whether what we need of a package is on the machine, wherever it came from.
has() {
    case $1 in
    python3-venv) venv_has_pip || find_python ;;
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    ca-certificates) [ -s /etc/ssl/certs/ca-certificates.crt ] ;;
    tzdata) [ -e /usr/share/zoneinfo/Europe/Brussels ] ;;
    systemd) command -v systemd-analyze >/dev/null ;;
    systemd-container) command -v systemd-nspawn >/dev/null ;;
    nftables) command -v nft >/dev/null ;;
    iproute2) command -v ip >/dev/null ;;
    influxdb) command -v influxd ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# A Python that works (a version manager's shim may not) and can make virtual environments.
find_python() {
    local candidate
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            found_python=$candidate
            return 0
        fi
    done
    return 1
}

requirements_digest() {
    { cat "${REQUIREMENTS[@]}" && "$PYTHON" -V; } 2>&1 | sha256sum
}

venv_has_pip() {
    "$PYTHON" -m pip --version >/dev/null 2>&1
}

venv_is_current() {
    [ -e "$STAMP" ] && "$PYTHON" -c 'import sys' 2>/dev/null &&
        [ "$(requirements_digest)" = "$(cat "$STAMP")" ]
}

make_venv() {
    echo "Installing Python packages into .venv" >&2
    if ! venv_has_pip; then
        find_python || die "no Python of at least 3.11 that can make virtual environments"
        "$found_python" -m venv --clear "$VENV" || die "could not make $VENV"
    fi
    # When this script is killed, pip ends too.
    PIP_USER=0 setpriv --pdeathsig TERM "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-input --retries 5 \
        -r "$ROOT/requirements-dev.txt" || die "pip could not install the requirements"
    requirements_digest >"$STAMP"
}

die() {
    echo "scripts/${0##*/}: $*" >&2
    exit 1
}
