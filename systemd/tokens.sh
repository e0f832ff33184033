# shellcheck shell=bash
# Sourced by install-api: the tokens of the devices, of which the server keeps the digests.

add_device() {
    check_device
    [[ $KIND == sungrow || $KIND == p1 ]] || wrong_usage '--kind is sungrow or p1'
    local token digest
    token=$(od -An -vtx1 -N32 /dev/urandom | tr -d ' \n')
    digest=$(printf '%s' "$token" | sha256sum)
    { all_tokens && say "sha256-${digest%% *}:$DEVICE:$KIND"; } | put_tokens >&2
    [[ -n $DRY_RUN ]] || say "$token"
}

# Forgets the tokens of a device but the newest.
retire_tokens() {
    check_device
    all_tokens | awk -F: -v device="$DEVICE" '
        { line[NR] = $0; id[NR] = $2; if ($2 == device) newest = NR }
        END { for (n = 1; n <= NR; n++) if (id[n] != device || n == newest) print line[n] }' |
        put_tokens
}

check_device() {
    [[ $DEVICE =~ ^[A-Za-z0-9._-]{1,64}$ ]] || wrong_usage 'a device is named with A-Z a-z 0-9 . _ -'
    YES=yes may_go_on ''
}

all_tokens() { tr -d ' \n' <"$CREDENTIALS/device_tokens" | tr ',' '\n' | awk 1; }

# Takes one entry a line; an API that refuses them keeps the ones it had.
put_tokens() {
    local file=$CREDENTIALS/device_tokens before
    before=$(<"$file")
    put_file 600 root:root "$file" < <(sed '$!s/$/,/')
    if changed "$file" && ! act 'tell the API' systemctl reload-or-restart sunspool-api; then
        put_file 600 root:root "$file" <<<"$before"
        die "the API refuses the tokens: $ADVICE"
    fi
}
