# shellcheck shell=bash
# Sourced by install-api: the role with which Grafana looks at the database, and its password.

GRAFANA_ROLE=sunspool_grafana

grafana_role() {
    may_go_on "This lets Grafana read the database as the role $GRAFANA_ROLE."
    if [[ -n $DRY_RUN ]] && { [[ $(id -u) -ne 0 ]] || ! installed postgresql; }; then
        say "    make the role $GRAFANA_ROLE and its password"
        return
    fi
    [[ -e $CREDENTIALS ]] || die 'install the API first: install-api --domain HOST'
    find_cluster || die 'PostgreSQL has no cluster that runs: see pg_lsclusters'
    put_grafana_password
    put_role "$GRAFANA_ROLE"
    may_log_in || act "give $GRAFANA_ROLE its password" set_grafana_password
    # What it may read is granted by the migration, as it will be after each one to come.
    may_read || act "let $GRAFANA_ROLE read" let_grafana_read
    [[ -n $DRY_RUN ]] || tell_grafana
}

put_grafana_password() {
    local file=$CREDENTIALS/grafana_password
    [[ -s $file ]] || put_file 600 root:root "$file" < <(od -An -vtx1 -N24 /dev/urandom | tr -d ' \n')
}

# As Grafana would: over TCP, with the password.
may_log_in() {
    [[ -r $CREDENTIALS/grafana_password ]] &&
        PGPASSWORD=$(<"$CREDENTIALS/grafana_password") psql -XAtqw -h 127.0.0.1 -p "$PG_PORT" \
            -U "$GRAFANA_ROLE" -d sunspool -c 'SELECT 1' &>/dev/null
}

# Over standard input, for nobody to see in the list of processes; few connections, no long queries.
set_grafana_password() {
    sql -d sunspool <<END
ALTER ROLE $GRAFANA_ROLE CONNECTION LIMIT 10 PASSWORD '$(<"$CREDENTIALS/grafana_password")';
ALTER ROLE $GRAFANA_ROLE SET statement_timeout = '30s';
ALTER ROLE $GRAFANA_ROLE SET default_transaction_read_only = on;
GRANT CONNECT ON DATABASE sunspool TO $GRAFANA_ROLE;
END
}

may_read() { [[ $(sql -d sunspool <<<"SELECT has_table_privilege('$GRAFANA_ROLE', 'agents', 'SELECT')") == t ]]; }

let_grafana_read() {
    runuser -u "$OWNER" -- /opt/sunspool/api/current/systemd/migrate
    may_log_in || die "$GRAFANA_ROLE can not log in on 127.0.0.1:$PG_PORT: see pg_hba.conf"
}

tell_grafana() {
    cat <<END

Grafana may read the database sunspool on 127.0.0.1:$PG_PORT as $GRAFANA_ROLE.
Its password is in $CREDENTIALS/grafana_password. With Grafana on this machine:
    install -D -m 644 $REPOSITORY/grafana/grafana-server.service.conf $UNITS/grafana-server.service.d/sunspool.conf
    install -D -m 644 -t /etc/grafana/sunspool $REPOSITORY/grafana/sunspool.json
    cp -r $REPOSITORY/grafana/provisioning /etc/grafana/
    systemctl daemon-reload && systemctl restart grafana-server
END
}
