-- The newest sample of each of some devices in a stretch of time. One look-up each, which works on
-- every database: one statement for all is refused where the devices are on several nodes.
DO $make$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        EXECUTE format($$
            CREATE FUNCTION %1$s_newest(devices text[], since timestamptz, until timestamptz)
            RETURNS SETOF %1$s_samples LANGUAGE plpgsql STABLE AS $body$
            DECLARE
                device text;
            BEGIN
                FOREACH device IN ARRAY devices LOOP
                    RETURN QUERY SELECT * FROM %1$s_samples
                    WHERE device_id = device AND ts > since AND ts <= until
                    ORDER BY ts DESC LIMIT 1;
                END LOOP;
            END $body$
        $$, kind);
    END LOOP;
END $make$;
