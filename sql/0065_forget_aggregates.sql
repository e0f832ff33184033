-- requires: continuous aggregates
-- What is to be made anew from a time on is marked here, once a day: hours, days and months that have a
-- mark are refreshed as a whole, and by force.

CREATE OR REPLACE FUNCTION rollup_forget(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        EXECUTE format($query$
            INSERT INTO rollup_marks (device_id, kind, bucket)
            SELECT device_id, %1$L, day
            FROM %1$s_devices AS device, generate_series(greatest($1, (
                SELECT min(ts) FROM %1$s_samples WHERE device_id = device.device_id
            )), now() - interval '50 minutes', '1 day') AS day
        $query$, kind) USING since;
    END LOOP;
END $$;
