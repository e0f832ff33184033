-- What stores the samples of one device, with what they change of the kept peaks: a single call,
-- which can then be made where the device is.

-- Makes the function of a kind, with an array for each column, which is one of NULLs if it is not
-- given. Whoever adds a column calls this again. From `forget_since` on, peaks are forgotten.
CREATE OR REPLACE FUNCTION samples_make_store(kind text) RETURNS void LANGUAGE plpgsql AS $make$
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
    WHERE attrelid = samples::regclass AND attnum > 0 AND NOT attisdropped
        AND attname <> 'device_id';
    EXECUTE format('DROP FUNCTION IF EXISTS store_%s', samples);
    -- The lock has a statement of its own: one that took it and looked at once would look at the
    -- time before it had it. Rows are counted as they come back: a row count is not reliable where
    -- the table is distributed.
    EXECUTE format($function$
        CREATE FUNCTION store_%2$s(
            lock integer, device text, %3$s, forget_since timestamptz DEFAULT NULL
        ) RETURNS integer
        LANGUAGE plpgsql AS $$
        DECLARE
            marked timestamptz;
            inserted integer;
            late timestamptz[];
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(lock, hashtext(device));
            marked := rollup_marked('%1$s', device);
            WITH added AS (
                INSERT INTO %2$s (device_id, %4$s) SELECT device, new.* FROM unnest(%5$s) AS new
                ON CONFLICT DO NOTHING RETURNING ts
            )
            SELECT count(*), array_agg(DISTINCT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'))
                FILTER (WHERE ts < marked) INTO inserted, late FROM added;
            IF late IS NOT NULL THEN
                INSERT INTO rollup_marks (device_id, kind, bucket)
                SELECT device, '%1$s', bucket FROM unnest(late) AS bucket;
            END IF;
            IF forget_since IS NOT NULL THEN
                PERFORM p1_forget_peaks(lock, device, forget_since);
            END IF;
            RETURN inserted;
        END $$
    $function$, kind, samples, parameters, names, arrays);
END $make$;

SELECT samples_make_store(kind) FROM unnest(ARRAY['sungrow', 'p1']) AS kind;
