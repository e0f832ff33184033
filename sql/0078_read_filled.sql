-- requires: continuous aggregates
-- run again: for another zone
-- Reading continuous aggregates like tables that are kept: what is filled from where it is, and the rest
-- from the level below. To plan their views, each with those below it, takes longer than to read.

-- Of days and months there are few, and each chunk has to be planned.
SELECT set_chunk_time_interval(
    format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass,
    CASE WHEN view_name ~ 'daily' THEN interval '1000 days' ELSE interval '10000 days' END
) FROM timescaledb_information.continuous_aggregates
WHERE view_schema = current_schema() AND view_name ~ '^(sungrow|p1)_(daily|monthly)$';

DO $make$
DECLARE
    level record; ids text := '';
BEGIN
    FOR level IN SELECT kind, name, unit, id, schema_name, table_name FROM (VALUES
        ('quarter_hourly', 'quarter'), ('daily', 'day'), ('monthly', 'month')
    ) AS level (name, unit) CROSS JOIN unnest(ARRAY['sungrow', 'p1']) AS kind
    JOIN timescaledb_information.continuous_aggregates
        ON view_schema = current_schema() AND view_name = kind || '_' || name
    JOIN _timescaledb_catalog.hypertable ON schema_name = materialization_hypertable_schema
        AND table_name = materialization_hypertable_name
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW %s_filled_%s AS SELECT * FROM %I.%I',
            level.kind, level.name, level.schema_name, level.table_name);
        PERFORM rollup_make_read(level.kind, level.name, level.unit, 'filled_' || level.name);
        ids := ids || format(' WHEN %L THEN %s', level.kind || ' ' || level.unit, level.id);
    END LOOP;
    -- How far a level is filled, as the same moment sees it that reads what it is filled with. One that
    -- is empty is so up to the least of all times, and no day begins there.
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION rollup_kept(of_kind text, device text, of_unit text)
        RETURNS timestamptz LANGUAGE plpgsql STABLE AS $body$ BEGIN
            RETURN coalesce(CASE WHEN EXISTS (SELECT FROM rollup_levels() WHERE unit = of_unit) THEN (
                SELECT kept_until FROM rollup_state WHERE device_id = device AND kind = of_kind
            ) ELSE (
                SELECT greatest(_timescaledb_functions.to_timestamp(watermark), '2000-01-01T00:00Z')
                FROM _timescaledb_catalog.continuous_aggs_watermark
                WHERE mat_hypertable_id = CASE of_kind || ' ' || of_unit %s END
            ) END, '-infinity');
        END $body$
    $$, ids);
END $make$;
