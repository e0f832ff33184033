-- requires: no continuous aggregates
-- run again: for another zone
-- fill first: kept rollups
-- The rollups as views over what is kept, in the place of those of version 1.0, which served
-- until now.

DROP INDEX IF EXISTS
    sungrow_samples_quarter, p1_samples_quarter, sungrow_samples_known, p1_samples_known;
DROP FUNCTION IF EXISTS counters_known;
DROP TYPE IF EXISTS counter_span_1_0 CASCADE;
DROP FUNCTION IF EXISTS counter_step;

DO $make$
DECLARE
    kind text; level record;
BEGIN
    IF local_zone() <> :'site_timezone' THEN
        CREATE OR REPLACE FUNCTION local_zone() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN :'site_timezone';
        PERFORM rollup_widen_anew();
    END IF;
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        FOR level IN SELECT * FROM rollup_levels() LOOP
            PERFORM rollup_make_view(kind, level.name, level.unit);
        END LOOP;
        EXECUTE format($$
            CREATE OR REPLACE VIEW %1$s_hourly AS
            SELECT device_id, date_trunc('hour', part.bucket, %2$L) AS bucket, %3$s
            FROM %1$s_quarter_hourly AS part GROUP BY 1, 2
        $$, kind, :'hour_zone', rollup_wider(kind));
    END LOOP;
END $make$;
