-- Reading what is kept in tables: with one plan for all times, for to plan takes longer than to read.

CREATE OR REPLACE FUNCTION rollup_gaps(
    of_kind text, device text, unit text, since timestamptz, until timestamptz
) RETURNS tstzmultirange LANGUAGE plpgsql STABLE AS $$
DECLARE
    gaps tstzmultirange := tstzmultirange(
        tstzrange(rollup_start(unit, rollup_kept(of_kind, device, unit)), 'infinity')
    );
BEGIN
    IF EXISTS (SELECT FROM rollup_marks WHERE device_id = device AND kind = of_kind) THEN
        gaps := gaps + coalesce((
            SELECT range_agg(tstzrange(start, rollup_end(unit, start))) FROM (
                SELECT DISTINCT rollup_start(unit, bucket) AS start FROM (
                    SELECT DISTINCT bucket FROM rollup_marks WHERE device_id = device
                        AND kind = of_kind AND bucket >= since AND bucket < until
                ) AS marked
            ) AS part
        ), '{}');
    END IF;
    RETURN gaps * tstzmultirange(tstzrange(since, until));
END $$;

-- Makes the function that reads a level, with what `source` keeps of it. Of plain tables nothing is
-- computed of the time to come, unless there are samples; of others even to look for them takes as
-- long, and a plan of all chunks, or of all shards, is none of the few that are read.
CREATE OR REPLACE FUNCTION rollup_make_read(kind text, level text, unit text, source text)
RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    is_plain boolean := NOT EXISTS (
        SELECT FROM pg_extension WHERE extname IN ('timescaledb', 'citus')
    );
BEGIN
    EXECUTE format($$
        CREATE OR REPLACE FUNCTION %1$s_read_%2$s(
            device text, since timestamptz, until timestamptz
        ) RETURNS SETOF %1$s_kept_%2$s LANGUAGE plpgsql STABLE %5$s AS $body$
        DECLARE
            gaps tstzmultirange := rollup_gaps('%1$s', device, '%3$s', since, until);
            kept timestamptz := rollup_kept('%1$s', device, '%3$s');
            gap tstzrange;
        BEGIN
            RETURN QUERY SELECT * FROM %1$s_%4$s
            WHERE device_id = device AND bucket >= since AND bucket < until
                AND NOT gaps @> bucket;
            FOR gap IN SELECT unnest(gaps) LOOP
                CONTINUE WHEN %6$L AND lower(gap) >= kept AND NOT EXISTS (
                    SELECT FROM %1$s_samples
                    WHERE device_id = device AND ts >= lower(gap) AND ts < upper(gap)
                );
                RETURN QUERY SELECT * FROM %1$s_live_%2$s(device, lower(gap), upper(gap));
            END LOOP;
        END $body$
    $$, kind, level, unit, source,
        CASE WHEN is_plain THEN 'SET plan_cache_mode = force_generic_plan' END, is_plain);
END $make$;

SELECT rollup_make_read(kind, level.name, unit, 'kept_' || level.name)
FROM unnest(ARRAY['sungrow', 'p1']) AS kind, rollup_levels() AS level;
