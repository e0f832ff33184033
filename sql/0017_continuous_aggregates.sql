-- requires: continuous aggregates
-- run again: for another zone
-- The rollups as continuous aggregates, under names of their own until they are filled. What is
-- not refreshed yet is computed when it is read (materialized_only is false).

DO $make$
DECLARE
    kind text; level record; quarters text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        FOR level IN VALUES ('monthly'), ('daily'), ('hourly'), ('quarter_hourly') LOOP
            EXECUTE format('DROP MATERIALIZED VIEW IF EXISTS %s_new_%s', kind, level.column1);
        END LOOP;
        -- The quarters are those of every zone; version 1.0 had others.
        quarters := CASE WHEN to_regtype('counter_span_1_0') IS NULL AND EXISTS (
            SELECT FROM timescaledb_information.continuous_aggregates
            WHERE view_schema = current_schema() AND view_name = kind || '_quarter_hourly'
        ) THEN 'quarter_hourly' ELSE 'new_quarter_hourly' END;
        FOR level IN SELECT * FROM (VALUES
            ('quarter_hourly', 'quarter', 'samples', $$time_bucket('15 minutes', ts)$$),
            ('hourly', 'wider', quarters || ' AS part',
                format($$time_bucket('1 hour', part.bucket, %L)$$, :'hour_zone')),
            ('daily', 'wider', quarters || ' AS part',
                format($$time_bucket('1 day', part.bucket, %L)$$, :'site_timezone')),
            ('monthly', 'wider', 'new_daily AS part',
                format($$time_bucket('1 month', part.bucket, %L)$$, :'site_timezone'))
        ) AS made (name, part, source, bucket)
            WHERE name = 'hourly' OR name = 'quarter_hourly' AND quarters ~ 'new'
                OR name IN ('daily', 'monthly') AND NOT :'midnight_twice'
        LOOP
            EXECUTE format($$
                CREATE MATERIALIZED VIEW %s_new_%s
                WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                SELECT device_id, %s AS bucket, %s FROM %s_%s GROUP BY 1, 2 WITH NO DATA
            $$, kind, level.name, level.bucket, CASE level.name WHEN 'quarter_hourly' THEN rollup_quarter(kind)
                ELSE rollup_wider(kind) END, kind, level.source);
        END LOOP;
    END LOOP;
END $make$;
