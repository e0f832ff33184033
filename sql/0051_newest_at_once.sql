-- The newest samples of many devices, and what their quarters come to at most, in one plan: what is
-- asked of one device is a function that the planner puts in its place.
DO $make$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        EXECUTE format($$
            CREATE FUNCTION %1$s_newest_of(device text, since timestamptz, until timestamptz)
            RETURNS SETOF %1$s_samples LANGUAGE sql STABLE AS $body$
                SELECT * FROM %1$s_samples
                WHERE device_id = device AND ts > since AND ts <= until ORDER BY ts DESC LIMIT 1
            $body$;
            CREATE OR REPLACE FUNCTION %1$s_newest(
                devices text[], since timestamptz, until timestamptz
            ) RETURNS SETOF %1$s_samples LANGUAGE sql STABLE AS $body$
                SELECT newest.* FROM unnest(devices) AS one (device),
                    LATERAL %1$s_newest_of(device, since, until) AS newest
            $body$
        $$, kind);
    END LOOP;
END $make$;

-- What the running quarter comes to at most, in W: its register so far and, for the rest of it, the newest
-- power, or what the register says of the last minute if that is more. Where a register is not known it
-- is the highest power. No row without a sample in the quarter.
CREATE FUNCTION p1_most_of(device text, start timestamptz)
RETURNS TABLE (most_w double precision) LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        CASE WHEN newest.kwh >= earlier.kwh AND newest.kwh >= start_kwh THEN
            (newest.kwh - start_kwh) * 4000 + greatest(
                newest.watts,
                (newest.kwh - earlier.kwh) * 3.6e6 / extract(epoch FROM newest.ts - earlier.ts)
            ) * (900 - extract(epoch FROM newest.ts - start)) / 900
        END,
        (
            SELECT max(import_power_w) FROM p1_samples
            WHERE device_id = device AND ts > start - interval '1 minute' AND ts <= newest.ts
        )
    )
    FROM (
        SELECT ts, energy_import_kwh AS kwh, import_power_w AS watts FROM p1_samples
        WHERE device_id = device AND ts >= start AND ts < start + interval '15 minutes'
        ORDER BY ts DESC LIMIT 1
    ) AS newest LEFT JOIN LATERAL (
        SELECT ts, energy_import_kwh AS kwh FROM p1_samples
        WHERE device_id = device AND ts <= newest.ts - interval '1 minute'
            AND ts > newest.ts - interval '3 minutes' ORDER BY ts DESC LIMIT 1
    ) AS earlier ON true LEFT JOIN LATERAL (
        SELECT energy_import_kwh AS start_kwh FROM p1_samples
        WHERE device_id = device AND ts <= start AND ts > start - interval '1 day'
        ORDER BY ts DESC LIMIT 1
    ) AS before ON true
$$;

CREATE FUNCTION p1_most_of_quarter(devices text[], start timestamptz)
RETURNS TABLE (device_id text, most_w double precision) LANGUAGE sql STABLE AS $$
    SELECT device, most.most_w FROM unnest(devices) AS one (device),
        LATERAL p1_most_of(device, start) AS most
$$;
