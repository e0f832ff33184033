-- requires: continuous aggregates
-- run again: for another zone
-- How continuous aggregates follow the marks of late samples, and days kept in tables with them.

-- Where days and months are kept in tables, they follow time here, and marks in the job below:
-- what is kept from quarters must be refreshed after those are.
CREATE OR REPLACE FUNCTION rollup_refresh(of_kind text, device text, until timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept timestamptz; level record; gap tstzmultirange;
BEGIN
    SELECT kept_until INTO kept FROM rollup_state
    WHERE device_id = device AND kind = of_kind FOR UPDATE;
    FOR level IN SELECT * FROM rollup_levels() LOOP
        PERFORM rollup_keep(of_kind, device, level.name, tstzmultirange(
            tstzrange(rollup_start(level.unit, kept), rollup_start(level.unit, until))
        ));
    END LOOP;
    UPDATE rollup_state SET kept_until = until WHERE device_id = device AND kind = of_kind;
END $$;

-- Keeps some time of a level anew.
CREATE OR REPLACE FUNCTION rollup_keep(
    of_kind text, device text, level text, gaps tstzmultirange
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    gap tstzrange;
BEGIN
    FOR gap IN SELECT unnest(gaps) LOOP
        EXECUTE format(
            'DELETE FROM %I WHERE device_id = $1 AND bucket >= $2 AND bucket < $3',
            of_kind || '_kept_' || level
        ) USING device, lower(gap), upper(gap);
        EXECUTE format(
            'INSERT INTO %I SELECT * FROM %I($1, $2, $3)',
            of_kind || '_kept_' || level, of_kind || '_live_' || level
        ) USING device, lower(gap), upper(gap);
    END LOOP;
END $$;

-- Keeps days and months anew where they had some of these marks, and forgets the marks.
CREATE OR REPLACE FUNCTION rollup_keep_marked(of_kind text, marks bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    state record; level record;
BEGIN
    FOR state IN SELECT * FROM rollup_state
        WHERE kind = of_kind AND EXISTS (SELECT FROM rollup_levels()) FOR UPDATE
    LOOP
        FOR level IN SELECT * FROM rollup_levels() LOOP
            PERFORM rollup_keep(of_kind, state.device_id, level.name, (
                SELECT range_agg(tstzrange(start, rollup_end(level.unit, start)))
                    * tstzmultirange(tstzrange(NULL, rollup_start(level.unit, state.kept_until)))
                FROM (
                    SELECT DISTINCT rollup_start(level.unit, bucket) AS start FROM rollup_marks
                    WHERE device_id = state.device_id AND kind = of_kind AND number = ANY (marks)
                ) AS marked
            ));
        END LOOP;
    END LOOP;
    DELETE FROM rollup_marks WHERE kind = of_kind AND number = ANY (marks);
END $$;

-- A late stretch that ends in the first part of a wider rollup never comes into that one by its
-- policy, so what marks name is refreshed by force, finer first; then it needs no mark any more.
-- Real time begins where the last refresh ended, so none may reach the running hour or day, nor
-- leave out what lies before its own time.
CREATE OR REPLACE PROCEDURE rollup_refresh_marked(job_id integer, config jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    marks bigint[]; of_kind text; level record; gap tstzrange;
BEGIN
    FOREACH of_kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        marks := ARRAY(
            SELECT number FROM rollup_marks WHERE kind = of_kind
            AND bucket < rollup_start('quarter', now() - interval '1 hour')
        );
        CONTINUE WHEN marks = '{}';
        FOR level IN SELECT name, unit, until, of_kind || '_' || name AS view FROM (VALUES
            (1, 'quarter_hourly', 'quarter', rollup_start('quarter', now() - interval '1 hour')),
            (2, 'hourly', 'day',
                :"extension".time_bucket('1 hour', now() - interval '1 hour', :'hour_zone')),
            (3, 'daily', 'day', rollup_start('day', now() - interval '1 day')),
            (4, 'monthly', 'month', rollup_start('month', now() - interval '1 day'))
        ) AS level (place, name, unit, until)
            WHERE name NOT IN (SELECT kept.name FROM rollup_levels() AS kept) ORDER BY place
        LOOP
            CALL :"extension".refresh_continuous_aggregate(
                level.view, level.until - interval '35 days', level.until
            );
            FOR gap IN SELECT unnest(range_agg(
                tstzrange(start, least(rollup_end(level.unit, start), level.until))
            )) FROM (
                SELECT DISTINCT rollup_start(level.unit, bucket) AS start FROM rollup_marks
                WHERE number = ANY (marks)
            ) AS marked WHERE start < level.until LOOP
                CALL :"extension".refresh_continuous_aggregate(
                    level.view, lower(gap), upper(gap), force => true
                );
            END LOOP;
        END LOOP;
        PERFORM rollup_keep_marked(of_kind, marks);
        COMMIT;
    END LOOP;
END $$;

SELECT add_job(
    'rollup_refresh_marked', interval '10 minutes',
    initial_start => date_trunc('hour', now()) + interval '1 hour 9 minutes'
) WHERE NOT EXISTS (
    SELECT FROM timescaledb_information.jobs WHERE proc_name = 'rollup_refresh_marked'
);

-- Kept days that were those of another zone.
SELECT rollup_widen_anew();
