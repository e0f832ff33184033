# shellcheck shell=bash
# Sourced by install-api: the tokens of devices and readers, of which the server keeps the digests.

add_device() {
    check_device "$DEVICE"
    [[ $KIND == sungrow || $KIND == p1 ]] || wrong_usage '--kind is sungrow or p1'
    add_token device_tokens "$DEVICE:$KIND"
}

# What a person logs in with, to the pages and to the API: it may read these devices.
add_reader() {
    local one
    for one in ${DEVICE//+/ }; do check_device "$one"; done
    add_token read_tokens "$DEVICE"
}

# Makes a token for what the entry says after it, and prints it, once.
add_token() {
    local file=$1 entry=$2 token digest
    token=$(od -An -vtx1 -N32 /dev/urandom | tr -d ' \n')
    digest=$(printf '%s' "$token" | sha256sum)
    { all_tokens "$file" && say "sha256-${digest%% *}:$entry"; } | put_tokens "$file" >&2
    [[ -n $DRY_RUN ]] || say "$token"
}

# Forgets the tokens of a device but the newest.
retire_tokens() {
    check_device "$DEVICE"
    all_tokens device_tokens | awk -F: -v device="$DEVICE" '
        { line[NR] = $0; id[NR] = $2; if ($2 == device) newest = NR }
        END { for (n = 1; n <= NR; n++) if (id[n] != device || n == newest) print line[n] }' |
        put_tokens device_tokens
}

check_device() {
    [[ $1 =~ ^[A-Za-z0-9._-]{1,64}$ ]] || wrong_usage 'a device is named with A-Z a-z 0-9 . _ -'
    YES=yes may_go_on ''
}

all_tokens() { tr -d ' \n' <"$CREDENTIALS/$1" | tr ',' '\n' | awk 1; }

# Takes one entry a line; an API that refuses them keeps the ones it had.
put_tokens() {
    local file=$CREDENTIALS/$1 before
    before=$(<"$file")
    put_file 600 root:root "$file" < <(sed '$!s/$/,/')
    if changed "$file" && ! act 'tell the API' systemctl reload-or-restart sunspool-api; then
        put_file 600 root:root "$file" <<<"$before"
        die "the API refuses the tokens: $ADVICE"
    fi
    ! changed "$file" || act 'tell the alerts' systemctl try-restart sunspool-alerts
}
