-- Rollups kept in tables, and the functions that read them: what is kept, and in its gaps what is
-- computed from the level below, down to the samples. A gap is what got new samples since it was
-- kept, and the time that is not kept yet. Every function is asked for one device.

-- How far the quarters of a device are kept, and below which time its new samples are marked.
CREATE TABLE rollup_state (
    device_id text, kind text, kept_until timestamptz NOT NULL, marked_until timestamptz NOT NULL,
    PRIMARY KEY (device_id, kind)
);
-- The quarters that got samples after they were kept, appended and never changed: a mark that met
-- an older one, and was left out, would be lost with that one.
CREATE TABLE rollup_marks (
    device_id text, kind text, bucket timestamptz NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (device_id, kind, number)
);

CREATE FUNCTION local_zone() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN :'site_timezone';

CREATE FUNCTION rollup_start(unit text, at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    local timestamp; start timestamptz;
BEGIN
    IF unit = 'quarter' THEN
        RETURN date_bin('15 minutes', at, '2020-01-01T00:00:00Z');
    END IF;
    local := date_trunc(unit, at AT TIME ZONE local_zone());
    start := local AT TIME ZONE local_zone();
    IF (start - interval '1 hour') AT TIME ZONE local_zone() = local THEN
        RETURN start - interval '1 hour';  -- midnight comes twice, and the day begins with the first
    END IF;
    RETURN start;
END $$;

CREATE FUNCTION rollup_end(unit text, start timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN rollup_start(unit, start + CASE unit
    WHEN 'quarter' THEN interval '15 minutes' WHEN 'day' THEN interval '30 hours'
    ELSE interval '32 days' END);

-- What is kept, finer levels first.
CREATE FUNCTION rollup_levels() RETURNS TABLE (name text, unit text) LANGUAGE sql IMMUTABLE AS $$
    VALUES ('quarter_hourly', 'quarter'), ('daily', 'day'), ('monthly', 'month')
$$;

CREATE FUNCTION rollup_kept(of_kind text, device text, of_unit text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN coalesce((
        SELECT kept_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    ), '-infinity');
END $$;

-- Samples older than this are marked.
CREATE FUNCTION rollup_marked(of_kind text, device text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN coalesce((
        SELECT marked_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    ), '-infinity');
END $$;

CREATE FUNCTION rollup_gaps(
    of_kind text, device text, unit text, since timestamptz, until timestamptz
) RETURNS tstzmultirange LANGUAGE plpgsql STABLE AS $$
DECLARE
    gaps tstzmultirange := coalesce((
        SELECT range_agg(tstzrange(start, rollup_end(unit, start))) FROM (
            SELECT DISTINCT rollup_start(unit, bucket) AS start FROM (
                SELECT DISTINCT bucket FROM rollup_marks
                WHERE device_id = device AND kind = of_kind AND bucket >= since AND bucket < until
            ) AS marked
        ) AS part
    ), '{}');
    kept timestamptz := rollup_start(unit, rollup_kept(of_kind, device, unit));
BEGIN
    RETURN (gaps + tstzmultirange(tstzrange(kept, 'infinity')))
        * tstzmultirange(tstzrange(since, until));
END $$;

-- Makes the function that reads a level, with what `source` keeps of it.
CREATE FUNCTION rollup_make_read(kind text, level text, unit text, source text)
RETURNS void LANGUAGE plpgsql AS $make$ BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION %1$s_read_%2$s(
            device text, since timestamptz, until timestamptz
        ) RETURNS SETOF %1$s_kept_%2$s LANGUAGE plpgsql STABLE AS $body$
        DECLARE
            gaps tstzmultirange := rollup_gaps('%1$s', device, '%3$s', since, until);
            gap tstzrange;
        BEGIN
            RETURN QUERY SELECT * FROM %1$s_%4$s
            WHERE device_id = device AND bucket >= since AND bucket < until
                AND NOT gaps @> bucket;
            FOR gap IN SELECT unnest(gaps) LOOP
                RETURN QUERY SELECT * FROM %1$s_live_%2$s(device, lower(gap), upper(gap));
            END LOOP;
        END $body$
    $$, kind, level, unit, source);
END $make$;

-- Makes the view of a level for everybody else, with the devices that have samples.
CREATE FUNCTION rollup_make_view(kind text, level text, unit text)
RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    columns text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = format('%s_kept_%s', kind, level)::regclass AND attnum > 1
    );
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE VIEW %1$s_%2$s AS
        SELECT device_id, %4$s FROM %1$s_kept_%2$s AS kept WHERE NOT EXISTS (
            SELECT FROM rollup_marks AS mark WHERE mark.device_id = kept.device_id
            AND kind = '%1$s' AND rollup_start('%3$s', mark.bucket) = kept.bucket
        )
        UNION ALL
        SELECT device.device_id, %4$s FROM %1$s_devices AS device,
            unnest(rollup_gaps('%1$s', device_id, '%3$s', '-infinity', 'infinity')) AS gap,
            %1$s_live_%2$s(device_id, lower(gap), upper(gap)) AS live
    $$, kind, level, unit, columns);
END $make$;

DO $make$
DECLARE
    kind text; level record;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        EXECUTE format($$
            CREATE VIEW %1$s_devices AS  -- one look-up each
            WITH RECURSIVE device AS (
                (SELECT device_id FROM %1$s_samples ORDER BY 1 LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT device_id FROM %1$s_samples WHERE device_id > device.device_id
                    ORDER BY 1 LIMIT 1
                ) FROM device WHERE device_id IS NOT NULL
            )
            SELECT device_id FROM device WHERE device_id IS NOT NULL
            UNION SELECT device_id FROM rollup_state WHERE kind = '%1$s';

            -- Readings that outlive their samples, for what a counter did there.
            CREATE TABLE %1$s_kept_readings AS
            SELECT device_id, ts, %3$s FROM %1$s_samples WITH NO DATA;
            ALTER TABLE %1$s_kept_readings ADD PRIMARY KEY (device_id, ts);

            CREATE TABLE %1$s_kept_quarter_hourly AS
            SELECT device_id, ts AS bucket, %2$s FROM %1$s_samples GROUP BY 1, 2 WITH NO DATA;

            CREATE FUNCTION %1$s_live_quarter_hourly(
                device text, since timestamptz, until timestamptz
            ) RETURNS SETOF %1$s_kept_quarter_hourly LANGUAGE plpgsql STABLE AS $body$ BEGIN
                RETURN QUERY
                SELECT device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'), %2$s
                FROM (
                    SELECT * FROM %1$s_samples
                    WHERE device_id = device AND ts >= since AND ts < until ORDER BY ts
                ) AS sample GROUP BY 1, 2;
            END $body$
        $$, kind, rollup_quarter(kind),
            (SELECT string_agg(name || '_kwh', ', ') FROM rollup_counters(kind)));
        FOR level IN SELECT * FROM rollup_levels() JOIN (VALUES
            ('daily', 'quarter_hourly'), ('monthly', 'daily')) AS part (name, finer) USING (name)
        LOOP
            EXECUTE format($$
                CREATE TABLE %1$s_kept_%2$s AS
                SELECT device_id, bucket, %3$s FROM %1$s_kept_%4$s AS part
                GROUP BY 1, 2 WITH NO DATA;

                CREATE FUNCTION %1$s_live_%2$s(
                    device text, since timestamptz, until timestamptz
                ) RETURNS SETOF %1$s_kept_%2$s LANGUAGE plpgsql STABLE AS $body$ BEGIN
                    RETURN QUERY SELECT device_id, rollup_start('%5$s', part.bucket), %3$s
                    FROM %1$s_read_%4$s(device, since, until) AS part GROUP BY 1, 2;
                END $body$
            $$, kind, level.name, rollup_wider(kind), level.finer, level.unit);
        END LOOP;
        FOR level IN SELECT * FROM rollup_levels() LOOP
            EXECUTE format(
                'ALTER TABLE %1$s_kept_%2$s ADD PRIMARY KEY (device_id, bucket)', kind, level.name
            );
            PERFORM rollup_make_read(kind, level.name, level.unit, 'kept_' || level.name);
        END LOOP;
    END LOOP;
END $make$;

-- Keeps nothing from a time on.
CREATE FUNCTION rollup_forget(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    level record; state record;
BEGIN
    FOR state IN SELECT * FROM rollup_state WHERE kept_until > since FOR UPDATE LOOP
        UPDATE rollup_state SET kept_until = rollup_start('quarter', since)
        WHERE device_id = state.device_id AND kind = state.kind;
        FOR level IN SELECT *, state.kind || '_kept_' || name AS kept FROM rollup_levels() LOOP
            EXECUTE format('DELETE FROM %I WHERE device_id = $1 AND bucket >= $2', level.kept)
            USING state.device_id, rollup_start(level.unit, since);
        END LOOP;
    END LOOP;
END $$;

-- Keeps days and months anew, for another zone.
CREATE FUNCTION rollup_widen_anew() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    level record; state record;
BEGIN
    FOR level IN SELECT * FROM rollup_levels() WHERE unit <> 'quarter' LOOP
        FOR state IN SELECT *, kind || '_kept_' || level.name AS kept FROM rollup_state LOOP
            EXECUTE format('DELETE FROM %I WHERE device_id = $1', state.kept) USING state.device_id;
            EXECUTE format(
                'INSERT INTO %I SELECT * FROM %I($1, ''-infinity'', $2)',
                state.kept, state.kind || '_live_' || level.name
            ) USING state.device_id, rollup_start(level.unit, state.kept_until);
        END LOOP;
    END LOOP;
END $$;

-- Keeps anew what the marks of a device name, and all that is not kept below `until`.
CREATE FUNCTION rollup_refresh(of_kind text, device text, until timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    marks bigint[]; gaps jsonb := '{}'; gap tstzrange; level record;
BEGIN
    PERFORM FROM rollup_state WHERE device_id = device AND kind = of_kind FOR UPDATE;
    -- Marks that come after this stay, though their quarters may be in the gaps as well.
    marks := ARRAY(SELECT number FROM rollup_marks WHERE device_id = device AND kind = of_kind);
    FOR level IN SELECT * FROM rollup_levels() LOOP
        gaps := gaps || jsonb_build_object(level.name, rollup_gaps(
            of_kind, device, level.unit, '-infinity', rollup_start(level.unit, until)
        )::text);
    END LOOP;
    DELETE FROM rollup_marks
    WHERE device_id = device AND kind = of_kind AND number = ANY (marks);
    UPDATE rollup_state SET kept_until = greatest(kept_until, until)
    WHERE device_id = device AND kind = of_kind;
    FOR level IN SELECT *, of_kind || '_kept_' || name AS kept FROM rollup_levels() LOOP
        FOR gap IN SELECT unnest((gaps ->> level.name)::tstzmultirange) LOOP
            EXECUTE format(
                'DELETE FROM %I WHERE device_id = $1 AND bucket >= $2 AND bucket < $3', level.kept
            ) USING device, lower(gap), upper(gap);
            EXECUTE format(
                'INSERT INTO %I SELECT * FROM %I($1, $2, $3)',
                level.kept, of_kind || '_live_' || level.name
            ) USING device, lower(gap), upper(gap);
        END LOOP;
    END LOOP;
END $$;
