-- requires: timescaledb
-- Makes the function that reads a level, with what `source` keeps of it. Each time is planned anew: a
-- plan for all times would be one of all chunks. Nothing is computed of the time to come, unless there
-- are samples.
CREATE OR REPLACE FUNCTION rollup_make_read(kind text, level text, unit text, source text)
RETURNS void LANGUAGE plpgsql AS $make$ BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION %1$s_read_%2$s(
            device text, since timestamptz, until timestamptz
        ) RETURNS SETOF %1$s_kept_%2$s LANGUAGE plpgsql STABLE
        SET plan_cache_mode = force_custom_plan AS $body$
        DECLARE
            gaps tstzmultirange := rollup_gaps('%1$s', device, '%3$s', since, until);
            kept timestamptz := rollup_kept('%1$s', device, '%3$s');
            gap tstzrange;
        BEGIN
            IF since < kept THEN
                RETURN QUERY SELECT * FROM %1$s_%4$s
                WHERE device_id = device AND bucket >= since AND bucket < least(until, kept)
                    AND NOT gaps @> bucket;
            END IF;
            FOR gap IN SELECT unnest(gaps) LOOP
                CONTINUE WHEN lower(gap) >= kept AND NOT EXISTS (
                    SELECT FROM %1$s_samples
                    WHERE device_id = device AND ts >= lower(gap) AND ts < upper(gap)
                );
                RETURN QUERY SELECT * FROM %1$s_live_%2$s(device, lower(gap), upper(gap));
            END LOOP;
        END $body$;
        ALTER FUNCTION %1$s_live_%2$s SET plan_cache_mode = force_custom_plan;
    $$, kind, level, unit, source);
END $make$;

SELECT rollup_make_read(kind, level.name, unit, 'kept_' || level.name)
FROM unnest(ARRAY['sungrow', 'p1']) AS kind, rollup_levels() AS level;
