# shellcheck shell=bash
# Sourced by install-api: what Caddy serves.

SITE=/etc/caddy/sunspool.caddyfile
CADDY_DATA=/var/lib/caddy/.local/share/caddy
CADDY_ROOT=$CADDY_DATA/pki/authorities/local/root.crt

# A later run keeps what was said to an earlier one.
remember_site() {
    local domain='' tls=acme
    [[ ! -e $STATE/site ]] || read -r domain tls <"$STATE/site"
    : "${DOMAIN:=$domain}" "${TLS:=$tls}"
}

put_site() {
    put_folder 755 root:root "$STATE"
    put_file 644 root:root "$STATE/site" <<<"$DOMAIN $TLS"
    save_stock_caddyfile
    put_file 644 root:root "$SITE" < <(fill_in "$1/systemd/sunspool.caddyfile")
    if [[ -e $STATE/Caddyfile ]]; then
        put_file 644 root:root /etc/caddy/Caddyfile < <(fill_in "$1/systemd/Caddyfile")
    elif ! grep -q '^import sunspool.caddyfile' /etc/caddy/Caddyfile; then
        put_file 644 root:root /etc/caddy/Caddyfile \
            < <(cat /etc/caddy/Caddyfile && printf '\nimport sunspool.caddyfile\n')
        warn "this machine's own Caddyfile stays; take the timeouts from $1/systemd/Caddyfile"
    fi
    local complaint
    complaint=$(caddy adapt --config /etc/caddy/Caddyfile 2>&1 >/dev/null) ||
        die "Caddy refuses its configuration: ${complaint##*$'\n'}"
    if changed '*/caddy.service.d/*'; then
        act 'restart Caddy' systemctl restart caddy
    elif changed '/etc/caddy/*'; then
        act 'reload Caddy' systemctl reload-or-restart caddy
    fi
    start_unit caddy.service
}

# What Debian ships is replaced as a whole, and comes back when Sunspool goes.
save_stock_caddyfile() {
    local shipped
    shipped=$(dpkg-query -Wf '${Conffiles}' caddy | awk '$1 == "/etc/caddy/Caddyfile" { print $2 }')
    [[ $(md5sum </etc/caddy/Caddyfile) != "$shipped  -" ]] ||
        put_file 644 root:root "$STATE/Caddyfile" </etc/caddy/Caddyfile
}

fill_in() {
    local tls='' buffering='request_buffers 2MB'
    [[ $TLS == acme ]] || tls='tls internal'
    # Caddy up to 2.6 calls it differently.
    [[ ! $(caddy version) =~ ^v?2\.[0-6]\. ]] || buffering='buffer_requests\n\t\t\tmax_buffer_size 2MB'
    sed -e "s/@HOST@/$DOMAIN/; s/@TLS@/$tls/; s/@BUFFERING@/$buffering/" "$1"
}

# Through HTTPS as an agent would; a public certificate takes Caddy some seconds to get.
site_answers() {
    local answer trust=()
    [[ $TLS == acme ]] || trust=(--cacert "$CADDY_ROOT")
    for _ in {1..60}; do
        answer=$(curl --silent --max-time 5 --resolve "$DOMAIN:443:127.0.0.1" "${trust[@]}" \
            "https://$DOMAIN/" || true)
        [[ $answer != *'"sunspool"'* ]] || return 0
        sleep 1
    done
    die "https://$DOMAIN/ does not answer: is $DOMAIN the name of this machine, are the ports 80 and 443 open (journalctl -u caddy)?"
}

remove_site() {
    [[ -e $SITE ]] || return 0
    if [[ -e $STATE/Caddyfile ]]; then
        put_file 644 root:root /etc/caddy/Caddyfile <"$STATE/Caddyfile"
        drop "$STATE/Caddyfile"
    else
        put_file 644 root:root /etc/caddy/Caddyfile \
            < <(grep -v '^import sunspool.caddyfile' /etc/caddy/Caddyfile)
    fi
    drop "$SITE"
    act 'reload Caddy' systemctl try-reload-or-restart caddy
}
