-- What stores samples of several devices that arrived together: one call, one transaction, one flush.

-- Makes the function of a kind, with an array for each column of the table and an entry in each for
-- every sample. It tells how many samples of each device are new. Whoever adds a column calls this
-- again. Where devices are distributed it does nothing: it would concern several nodes.
CREATE FUNCTION samples_make_store_together(kind text) RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    samples text := kind || '_samples';
    names text;
    parameters text;
    arrays text;
BEGIN
    -- A gauge is rounded by its column, which has more digits in older tables.
    SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum),
        string_agg(format('%I %s[] DEFAULT NULL', 'new_' || attname,
            CASE type WHEN 'real' THEN 'double precision' ELSE type END), ', ' ORDER BY attnum),
        string_agg(format('%I', 'new_' || attname), ', ' ORDER BY attnum)
    INTO names, parameters, arrays
    FROM pg_attribute, format_type(atttypid, atttypmod) AS type
    WHERE attrelid = samples::regclass AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('DROP FUNCTION IF EXISTS store_%s_together', samples);
    -- A device whose lock somebody holds alone is left out and not waited for: the others would
    -- have to wait too. The locks have a statement of their own: one that took them and looked at
    -- once would look at the time before it had them.
    EXECUTE format($function$
        CREATE FUNCTION store_%2$s_together(lock integer, devices text[], %3$s)
        RETURNS TABLE (device text, inserted bigint) LANGUAGE plpgsql AS $$
        DECLARE
            free text[];
        BEGIN
            IF to_regproc('run_alone') IS NOT NULL THEN
                RETURN;
            END IF;
            free := ARRAY(
                SELECT one FROM unnest(devices) AS one
                WHERE pg_try_advisory_xact_lock_shared(lock, hashtext(one))
            );
            RETURN QUERY WITH marked AS MATERIALIZED (
                SELECT one, rollup_marked('%1$s', one) AS until FROM unnest(free) AS one
            ), added AS (
                INSERT INTO %2$s (%4$s) SELECT * FROM unnest(%5$s) AS new (%4$s)
                WHERE device_id = ANY (free)
                ON CONFLICT DO NOTHING RETURNING device_id, ts
            ), late AS (
                INSERT INTO rollup_marks (device_id, kind, bucket)
                SELECT DISTINCT one, '%1$s', date_bin('15 minutes', ts, '2020-01-01T00:00:00Z')
                FROM added JOIN marked ON one = device_id AND ts < until
            )
            SELECT one, count(ts) FROM marked LEFT JOIN added ON device_id = one GROUP BY one;
        END $$
    $function$, kind, samples, parameters, names, arrays);
END $make$;

SELECT samples_make_store_together(kind) FROM unnest(ARRAY['sungrow', 'p1']) AS kind;
