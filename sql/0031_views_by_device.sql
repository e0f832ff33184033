-- The views of the rollups, joined by device, and what keeps less without a lock on all devices.

-- Makes the view of a level for everybody else: what is kept, and in the gaps of each device with
-- samples what the level below has. Everything is joined by device, so that a database which is
-- distributed by device can do it where the device is.
CREATE OR REPLACE FUNCTION rollup_make_view(kind text, level text, unit text)
RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    is_quarter boolean := unit = 'quarter';
    start text := CASE WHEN is_quarter THEN 'date_bin(''15 minutes'', %s, ''2020-01-01T00:00:00Z'')'
        ELSE format('rollup_start(%L, %%s)', unit) END;
    at text := CASE WHEN is_quarter THEN 'ts' ELSE 'bucket' END;
    columns text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = format('%s_kept_%s', kind, level)::regclass AND attnum > 0
    );
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE VIEW %1$s_%2$s AS
        SELECT %4$s FROM %1$s_kept_%2$s AS kept WHERE NOT EXISTS (
            SELECT FROM rollup_marks AS mark WHERE mark.device_id = kept.device_id
            AND kind = '%1$s' AND rollup_start('%3$s', mark.bucket) = kept.bucket
        )
        UNION ALL
        SELECT part.device_id, %5$s, %6$s FROM (
            SELECT device.device_id, coalesce(rollup_start('%3$s', kept_until), '-infinity') AS since,
                'infinity' AS until
            FROM %1$s_devices AS device LEFT JOIN rollup_state AS state
                ON state.device_id = device.device_id AND kind = '%1$s'
            UNION
            SELECT mark.device_id, rollup_start('%3$s', bucket),
                rollup_end('%3$s', rollup_start('%3$s', bucket))
            FROM rollup_marks AS mark JOIN rollup_state AS state
                ON state.device_id = mark.device_id AND state.kind = mark.kind
            WHERE mark.kind = '%1$s' AND bucket < rollup_start('%3$s', kept_until)
        ) AS gap JOIN LATERAL (
            SELECT * FROM %1$s_%7$s AS finer
            WHERE finer.device_id = gap.device_id AND %8$s >= since AND %8$s < until
            ORDER BY %8$s
        ) AS part ON part.device_id = gap.device_id  -- also here: one asked for is then known
        GROUP BY 1, 2
    $$, kind, level, unit, columns, format(start, at),
        CASE WHEN is_quarter THEN rollup_quarter(kind) ELSE rollup_wider(kind) END,
        CASE level WHEN 'daily' THEN 'quarter_hourly' WHEN 'monthly' THEN 'daily' ELSE 'samples' END,
        at);
END $make$;

-- Keeps nothing from a time on.
CREATE OR REPLACE FUNCTION rollup_forget(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    level record; state record;
BEGIN
    FOR state IN UPDATE rollup_state SET kept_until = rollup_start('quarter', since)
        WHERE kept_until > since RETURNING *
    LOOP
        FOR level IN SELECT *, state.kind || '_kept_' || name AS kept FROM rollup_levels() LOOP
            EXECUTE format('DELETE FROM %I WHERE device_id = $1 AND bucket >= $2', level.kept)
            USING state.device_id, rollup_start(level.unit, since);
        END LOOP;
    END LOOP;
END $$;

DO $make$
DECLARE
    kind text; level record;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        FOR level IN SELECT * FROM rollup_levels() LOOP
            PERFORM rollup_make_view(kind, level.name, level.unit);
        END LOOP;
    END LOOP;
END $make$;
