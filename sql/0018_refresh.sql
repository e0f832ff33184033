-- requires: continuous aggregates
-- run again: for another zone
-- fill first: continuous aggregates
-- The filled aggregates take the place of whatever served until now.

CREATE OR REPLACE FUNCTION local_zone() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN :'site_timezone';

-- Kept in tables are days and months of zones whose midnight may come twice: time_bucket would
-- count the hour between the two into the day before.
CREATE OR REPLACE FUNCTION rollup_levels() RETURNS TABLE (name text, unit text)
LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM (VALUES ('daily', 'day'), ('monthly', 'month')) AS level (name, unit)
    WHERE :'midnight_twice'
$$;

CREATE OR REPLACE FUNCTION rollup_kept(of_kind text, device text, of_unit text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN CASE WHEN EXISTS (SELECT FROM rollup_levels() WHERE unit = of_unit) THEN coalesce((
        SELECT kept_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    ), '-infinity') ELSE 'infinity' END;
END $$;

-- What is younger is younger than anything that is refreshed.
CREATE OR REPLACE FUNCTION rollup_marked(of_kind text, device text) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN greatest(now() - interval '50 minutes', (
        SELECT marked_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    ));
END $$;

DO $make$
DECLARE
    kind text; level record; is_aggregate boolean;
BEGIN
    DROP INDEX IF EXISTS
        sungrow_samples_quarter, p1_samples_quarter, sungrow_samples_known, p1_samples_known;
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        -- In the order in which readers come to what they need, lest one waits for the other.
        FOR level IN SELECT name FROM (VALUES
            ('monthly'), ('daily'), ('hourly'), ('quarter_hourly')) AS old (name)
            WHERE to_regclass(format('%s_%s', kind, name)) IS NOT NULL
        LOOP
            EXECUTE format('LOCK TABLE %s_%s IN ACCESS EXCLUSIVE MODE', kind, level.name);
        END LOOP;
        FOR level IN SELECT * FROM (VALUES ('monthly'), ('daily'), ('hourly'), ('quarter_hourly'))
            AS old (name)
        LOOP
            CONTINUE WHEN to_regclass(format('%s_new_%s', kind, level.name)) IS NULL
                AND level.name = 'quarter_hourly';  -- made for every zone, and kept
            is_aggregate := EXISTS (
                SELECT FROM timescaledb_information.continuous_aggregates
                WHERE view_schema = current_schema()
                    AND view_name = format('%s_%s', kind, level.name)
            );
            EXECUTE format(
                'DROP %s VIEW IF EXISTS %I CASCADE',
                CASE WHEN is_aggregate THEN 'MATERIALIZED' END, kind || '_' || level.name
            );
        END LOOP;
    END LOOP;
    -- Everything is refreshed, however old. The latest hour, and day, is left to real time: a
    -- sample that is a little late is in it at once. Finer ones come first, by number and minute.
    FOR level IN SELECT new.*, one.kind FROM (VALUES
        (0, 'quarter_hourly', 'quarter', interval '1 hour'), (3, 'hourly', NULL, '1 hour'),
        (6, 'daily', 'day', '1 day'), (8, 'monthly', 'month', '1 day')
    ) AS new (minute, name, unit, lag), unnest(ARRAY['sungrow', 'p1']) AS one (kind)
        ORDER BY minute
    LOOP
        IF EXISTS (SELECT FROM rollup_levels() AS kept WHERE kept.name = level.name) THEN
            PERFORM rollup_make_view(level.kind, level.name, level.unit);
            PERFORM rollup_make_read(level.kind, level.name, level.unit, 'kept_' || level.name);
            CONTINUE;
        END IF;
        CONTINUE WHEN to_regclass(format('%s_new_%s', level.kind, level.name)) IS NULL;
        EXECUTE format(
            'ALTER MATERIALIZED VIEW %1$s_new_%2$s RENAME TO %1$s_%2$s', level.kind, level.name
        );
        PERFORM add_continuous_aggregate_policy(
            format('%s_%s', level.kind, level.name)::regclass, start_offset => NULL,
            end_offset => level.lag, schedule_interval => interval '10 minutes',
            initial_start => date_trunc('hour', now()) + interval '1 hour'
                + level.minute * interval '1 minute'
        );
        IF level.unit IS NOT NULL THEN
            PERFORM rollup_make_read(level.kind, level.name, level.unit, level.name);
        END IF;
    END LOOP;
    DROP TYPE IF EXISTS counter_span_1_0 CASCADE;
    DROP FUNCTION IF EXISTS counters_known, counter_step;
END $make$;

-- A late stretch that ends in the first part of a wider rollup never comes into that one by its
-- policy, so what marks name is refreshed by force, finer first; then it needs no mark any more.
CREATE OR REPLACE PROCEDURE rollup_refresh_marked(job_id integer, config jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    marks bigint[]; of_kind text; level record; gap tstzrange;
BEGIN
    FOREACH of_kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        marks := ARRAY(SELECT number FROM rollup_marks WHERE kind = of_kind);
        FOR level IN SELECT name, unit, of_kind || '_' || name AS view FROM (VALUES
            (1, 'quarter_hourly', 'quarter'), (2, 'hourly', 'day'), (3, 'daily', 'day'),
            (4, 'monthly', 'month')
        ) AS level (place, name, unit)
            WHERE name NOT IN (SELECT kept.name FROM rollup_levels() AS kept) ORDER BY place
        LOOP
            FOR gap IN SELECT unnest(range_agg(tstzrange(start, rollup_end(level.unit, start))))
                FROM (
                    SELECT DISTINCT rollup_start(level.unit, bucket) AS start FROM rollup_marks
                    WHERE number = ANY (marks)
                ) AS marked
            LOOP
                CALL :"extension".refresh_continuous_aggregate(level.view, lower(gap), upper(gap), force => true);
            END LOOP;
        END LOOP;
        DELETE FROM rollup_marks WHERE kind = of_kind AND number = ANY (marks);
        COMMIT;
    END LOOP;
END $$;

SELECT add_job(
    'rollup_refresh_marked', interval '10 minutes',
    initial_start => date_trunc('hour', now()) + interval '1 hour 9 minutes'
) WHERE NOT :'midnight_twice' AND NOT EXISTS (
    SELECT FROM timescaledb_information.jobs WHERE proc_name = 'rollup_refresh_marked'
);

-- What a refresh finds without samples it erases, so it must never look there again: after one last
-- time, for all that there is, it begins where samples are kept.
CREATE OR REPLACE PROCEDURE rollup_drop_chunks(of_kind text, before timestamptz, days integer)
LANGUAGE plpgsql AS $$
DECLARE
    quarters text := format('%s_quarter_hourly', of_kind);
    samples text := format('%s_samples', of_kind);
    oldest timestamptz := (
        SELECT min(range_start) FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema() AND hypertable_name = samples
    );
BEGIN
    CALL :"extension".refresh_continuous_aggregate(quarters, oldest, now() - interval '1 hour');
    PERFORM :"extension".alter_job(
        job_id, config => config || jsonb_build_object('start_offset', days || ' days')
    ) FROM timescaledb_information.jobs AS job
    JOIN timescaledb_information.continuous_aggregates AS aggregate ON view_name = quarters
        AND view_schema = current_schema() AND (job.hypertable_schema, job.hypertable_name) IN (
            (view_schema, view_name),  -- before TimescaleDB 2.20 it is the table below the view
            (materialization_hypertable_schema, materialization_hypertable_name)
        )
    WHERE proc_name = 'policy_refresh_continuous_aggregate';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the refresh policy of % is not found', quarters;
    END IF;
    COMMIT;
    PERFORM :"extension".drop_chunks(samples::regclass, before);
END $$;
