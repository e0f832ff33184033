# shellcheck shell=bash
# Sourced by install-api and install-edge. Every step looks first and changes only what differs, so
# that a second run changes nothing; with --dry-run it says what it would do.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

COMMAND=${0##*/}
REPOSITORY=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
ETC=/etc/sunspool
CREDENTIALS=$ETC/credentials
UNITS=/etc/systemd/system
ACTION=set_up
YES='' DRY_RUN=''
CHANGED=() # the files that this run has written or removed

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "$COMMAND" "$*" >&2
    exit 1
}
wrong_usage() {
    printf '%s: %s\nTry: %s --help\n' "$COMMAND" "$*" "$COMMAND" >&2
    exit 64
}

# The options that both commands have; false for any other.
common_option() {
    case $1 in
    --yes) YES=yes ;;
    --dry-run) DRY_RUN=yes ;;
    --uninstall | --purge)
        # shellcheck disable=SC2034 # read by the commands
        ACTION=${1#--}
        ;;
    *) return 1 ;;
    esac
}

# What has to be true before anything is changed.
may_go_on() {
    [[ -n $DRY_RUN ]] && return
    [[ $(id -u) -eq 0 ]] || die "must be run as root: sudo $COMMAND ..."
    [[ -d /run/systemd/system ]] || die 'needs a Debian that runs systemd'
    [[ -n $YES ]] && return
    [[ -t 0 ]] || wrong_usage 'nobody to ask; say --yes'
    read -rp "$1 Go on? [y/N] " answer
    [[ $answer == [yY]* ]] || exit 1
}

# Says what is done, and does it unless nothing is to be changed.
act() {
    say "    $1"
    [[ -n $DRY_RUN ]] || "${@:2}"
}

changed() {
    local path
    for path in "${CHANGED[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ $path == $1 ]] && return 0
    done
    return 1
}

put_folder() {
    local mode=$1 owner=$2 path=$3
    [[ $(stat -c '%a %U:%G' "$path" 2>/dev/null) == "$mode $owner" ]] ||
        act "make $path" install -d -m "$mode" -o "${owner%:*}" -g "${owner#*:}" "$path"
}

# Writes what comes from standard input, so that no content is ever part of a command line.
put_file() {
    local mode=$1 owner=$2 path=$3 content
    content=$(cat)
    [[ -e $path && $(stat -c '%a %U:%G' "$path") == "$mode $owner" && $content == "$(<"$path")" ]] &&
        return
    CHANGED+=("$path")
    act "write $path" replace_file
}

replace_file() {
    mkdir -p "${path%/*}"
    (umask 077 && printf '%s' "${content:+$content$'\n'}" >"$path.new")
    chown "$owner" "$path.new"
    chmod "$mode" "$path.new"
    mv -fT "$path.new" "$path"
}

drop() {
    local path
    for path in "$@"; do
        [[ -e $path || -L $path ]] || continue
        CHANGED+=("$path")
        act "remove $path" rm -rf "$path"
    done
}

put_user() {
    id -u "$1" &>/dev/null || act "add the user $1" useradd --system --user-group \
        --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
}

drop_user() {
    id -u "$1" &>/dev/null || return 0
    act "remove the user $1" userdel "$1"
    # userdel keeps the lines as they were before it.
    local old
    for old in /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow-; do
        [[ -n $DRY_RUN || ! -e $old ]] || sed -i "/^$1:/d" "$old"
    done
}

# --- packages ---

installed() { [[ $(dpkg-query -Wf '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

put_packages() {
    local package missing=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] || act "install ${missing[*]}" apt_install "${missing[@]}"
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=300 update || warn 'the package lists could not be renewed'
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -y \
        --no-install-recommends install "$@" </dev/null >/dev/null
}

# --- releases: /opt/sunspool/PART/releases/VERSION-DIGEST, and `current` points to the one in use ---

# Names the release that this checkout is, by what it consists of.
name_release() {
    HOME_FOLDER=/opt/sunspool/$1
    shift
    SOURCES=("$@")
    local version digest
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$REPOSITORY/edge_agent/__init__.py")
    digest=$( (cd "$REPOSITORY" && python3 --version 2>&1 && source_files | xargs -d '\n' sha256sum) |
        sha256sum)
    RELEASE=$HOME_FOLDER/releases/$version-${digest:0:12}
    BEFORE=$(readlink -f "$HOME_FOLDER/current" || true)
    [[ -d $BEFORE ]] || BEFORE=''
}

source_files() {
    find "${SOURCES[@]}" -type f ! -name '*.py[co]' ! -name '.*' ! -name '*.new' | sort
}

put_release() {
    [[ -e $RELEASE/complete ]] || act "build $RELEASE" build_release "$1"
}

build_release() {
    trap '[[ -e $RELEASE/complete ]] || rm -rf "$RELEASE"' EXIT
    rm -rf "$RELEASE"
    mkdir -p "$RELEASE"
    (cd "$REPOSITORY" && source_files | xargs -d '\n' cp --parents -t "$RELEASE")
    chmod -R u=rwX,go=rX "$RELEASE"
    python3 -m venv "$RELEASE/venv"
    "$RELEASE/venv/bin/python" -m pip install --quiet --no-cache-dir -r "$RELEASE/$1"
    # So that the programs are found from every working directory.
    printf '%s\n' "$RELEASE" >"$(echo "$RELEASE"/venv/lib/python3*/site-packages)/sunspool.pth"
    "$RELEASE/venv/bin/python" -m compileall -q -x /venv/ "$RELEASE"
    touch "$RELEASE/complete"
}

switch_to() {
    [[ $(readlink "$HOME_FOLDER/current") == "$1" ]] && return
    ln -sfn "$1" "$HOME_FOLDER/current.new"
    mv -fT "$HOME_FOLDER/current.new" "$HOME_FOLDER/current"
}

# Puts the new release to work with the function `take_over`, which ends with a check; if that
# fails, the one before comes back in the same way.
upgrade() {
    if [[ -n $DRY_RUN ]]; then
        say "    use $RELEASE"
        return
    fi
    step "using ${RELEASE##*/}"
    attempt "$RELEASE"
    if [[ $STATUS -eq 0 ]]; then
        [[ $BEFORE == "$RELEASE" ]] || forget_releases
        return
    fi
    [[ -n $BEFORE && $BEFORE != "$RELEASE" ]] || die "${RELEASE##*/} did not pass its check: $ADVICE"
    warn "${RELEASE##*/} did not pass its check ($ADVICE); going back to ${BEFORE##*/}"
    attempt "$BEFORE"
    [[ $STATUS -eq 0 ]] || die "${BEFORE##*/} does not pass it any more either: $ADVICE"
    rm -rf "$RELEASE"
    die "${BEFORE##*/} is running again; nothing was upgraded"
}

# Never call this in a condition: the shell ignores `set -e` inside of one.
attempt() {
    set +e
    (
        set -e
        trap - EXIT
        switch_to "$1"
        take_over "$1"
    )
    STATUS=$?
    set -e
}

# Keeps the release in use and the one before it.
forget_releases() {
    local release
    for release in "$HOME_FOLDER"/releases/*; do
        [[ $release == "$RELEASE" || $release == "$BEFORE" ]] || rm -rf "$release"
    done
}

# --- units ---

put_unit() { put_file 644 root:root "$UNITS/$2" <"$1/systemd/${3:-$2}"; }

reload_units() {
    ! changed "$UNITS/*" || act 'tell systemd' systemctl daemon-reload
}

enable_unit() {
    systemctl --quiet is-enabled "$1" 2>/dev/null || act "enable $1" systemctl --quiet enable "$1"
}

stop_unit() {
    [[ $(systemctl show --property=LoadState --value "$1" 2>/dev/null) == loaded ]] || return 0
    act "stop $1" systemctl --quiet disable --now "$1"
    [[ -n $DRY_RUN ]] || systemctl reset-failed "$1" 2>/dev/null || true
}

start_unit() {
    enable_unit "$1"
    systemctl --quiet is-active "$1" || act "start $1" systemctl start "$1"
}

# Whether the unit's main process was started from this release.
runs_from() {
    local pid
    pid=$(systemctl show --property=MainPID --value "$1")
    [[ $pid != 0 && $(readlink "/proc/$pid/cwd") == "$2" ]]
}

# Removes the folders that both parts share once nothing is in them.
drop_empty() {
    local folder
    for folder in "$CREDENTIALS" "$ETC" /opt/sunspool; do
        [[ -n $DRY_RUN ]] || rmdir "$folder" 2>/dev/null || true
    done
}
