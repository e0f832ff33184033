# shellcheck shell=bash
# Sourced by install-api: the database, its two roles, TimescaleDB, restoring, removing.

put_database() {
    if [[ -n $DRY_RUN ]] && { [[ $(id -u) -ne 0 ]] || ! installed postgresql; }; then
        say '    make the roles sunspool and sunspool_owner and the database sunspool'
        return
    fi
    # Somebody who has moved the database to another machine keeps it there.
    [[ ! -e $SETTINGS ]] || grep -q '^DATABASE_URL=.*host=/run/postgresql' "$SETTINGS" || return 0
    find_cluster || [[ -n $DRY_RUN ]] || die 'PostgreSQL has no cluster that runs: see pg_lsclusters'
    [[ -n ${PG_VERSION:-} ]] || return 0
    # The port is part of the settings where it is not the usual one.
    [[ $PG_PORT == 5432 || -n $DRY_RUN ]] ||
        sed -i "s|host=/run/postgresql$|&\&port=$PG_PORT|" "$SETTINGS"
    put_timescaledb
    put_role sunspool
    put_role "$OWNER"
    [[ -n $(sql <<<"SELECT 1 FROM pg_database WHERE datname = 'sunspool'") ]] ||
        act 'make the database sunspool' make_database
}

# The first cluster that runs; Debian makes one, on port 5432.
find_cluster() {
    read -r PG_VERSION PG_CLUSTER PG_PORT _ < <(pg_lsclusters -h | awk '$4 ~ /^online/' | sort -k3n)
}

# Runs the SQL of its standard input as the superuser.
sql() {
    (cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -p "$PG_PORT" "$@")
}

is_role() { [[ -n $(sql <<<"SELECT rolname FROM pg_roles WHERE rolname = '$1'") ]]; }

put_role() {
    is_role "$1" || act "make the role $1" sql -c "CREATE ROLE $1 LOGIN"
}

make_database() {
    sql -c "CREATE DATABASE sunspool OWNER $OWNER TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
    sql -c "REVOKE ALL ON DATABASE sunspool FROM PUBLIC; GRANT CONNECT ON DATABASE sunspool TO sunspool"
    ! is_role "$GRAFANA_ROLE" || sql -c "GRANT CONNECT ON DATABASE sunspool TO $GRAFANA_ROLE"
}

# TimescaleDB, from wherever it is already on the machine, else Debian's own where there is one.
put_timescaledb() {
    local files=/usr/share/postgresql/$PG_VERSION/extension/timescaledb.control
    local package=postgresql-$PG_VERSION-timescaledb loaded
    if [[ ! -e $files ]]; then
        apt-cache show "$package" &>/dev/null || return 0
        put_packages "$package"
    fi
    loaded=$(sql <<<'SHOW shared_preload_libraries')
    [[ $loaded != *timescaledb* ]] || return 0
    put_file 644 postgres:postgres "$(preload_file)" <<END
# TimescaleDB has to be there when PostgreSQL starts.
shared_preload_libraries = '${loaded:+$loaded,}timescaledb'
END
    act 'restart PostgreSQL' systemctl restart "postgresql@$PG_VERSION-$PG_CLUSTER"
}

preload_file() { echo "/etc/postgresql/$PG_VERSION/$PG_CLUSTER/conf.d/${1:-sunspool}.conf"; }

restore() {
    [[ -r $FILE ]] || wrong_usage "$FILE can not be read"
    may_go_on "This replaces the database sunspool by $FILE."
    find_cluster || die 'PostgreSQL has no cluster that runs: see pg_lsclusters'
    act "replace the database by $FILE" replace_database
    [[ -n $DRY_RUN ]] || api_answers
}

replace_database() {
    systemctl stop sunspool-api
    put_role "$GRAFANA_ROLE"  # the backup may have rights of it
    sql -c 'DROP DATABASE IF EXISTS sunspool WITH (FORCE)'
    make_database
    if pg_restore --list "$FILE" | grep -q 'EXTENSION - timescaledb'; then
        sql -d sunspool -c 'CREATE EXTENSION timescaledb' -c 'SELECT timescaledb_pre_restore()' >/dev/null
        fill_database
        sql -d sunspool -c 'SELECT timescaledb_post_restore()' >/dev/null
    else
        fill_database
    fi
    # The backup may be older than the program.
    runuser -u "$OWNER" -- /opt/sunspool/api/current/systemd/migrate
    systemctl start sunspool-api
}

fill_database() {
    (cd / && runuser -u postgres -- pg_restore -p "$PG_PORT" -d sunspool --exit-on-error) <"$FILE"
}

drop_database() {
    installed postgresql || return 0
    find_cluster || {
        warn 'PostgreSQL does not run, so its database sunspool stays'
        return 0
    }
    act 'drop the database sunspool and its roles' sql -c 'DROP DATABASE IF EXISTS sunspool WITH (FORCE)' \
        -c "DROP ROLE IF EXISTS sunspool, $OWNER, $GRAFANA_ROLE"
    [[ -e $(preload_file) ]] || return 0
    if timescaledb_is_used; then
        act 'leave TimescaleDB to the other databases' mv "$(preload_file)" "$(preload_file timescaledb)"
        return
    fi
    drop "$(preload_file)"
    act 'restart PostgreSQL' systemctl restart "postgresql@$PG_VERSION-$PG_CLUSTER"
}

timescaledb_is_used() {
    local database
    while read -r database; do
        [[ -z $(sql -d "$database" <<<"SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'") ]] || return 0
    done < <(sql <<<'SELECT datname FROM pg_database WHERE datallowconn')
    return 1
}
