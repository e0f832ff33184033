-- requires: no timescaledb, citus
-- Put in its place, what is asked of one device would be one statement for devices on several nodes,
-- which is refused. Volatile functions stay by themselves: each goes to the node of its device.
ALTER FUNCTION sungrow_newest_of(text, timestamptz, timestamptz) VOLATILE;
ALTER FUNCTION p1_newest_of(text, timestamptz, timestamptz) VOLATILE;

-- What the running quarter of a meter comes to at most, one statement after the other: with
-- parameters in laterals it can not be planned for a distributed table.
CREATE OR REPLACE FUNCTION p1_most_of(device text, start timestamptz)
RETURNS TABLE (most_w double precision) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    newest record; earlier record; start_kwh double precision; sampled_w double precision;
BEGIN
    SELECT ts, energy_import_kwh AS kwh, import_power_w AS watts INTO newest FROM p1_samples
    WHERE device_id = device AND ts >= start AND ts < start + interval '15 minutes'
    ORDER BY ts DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT ts, energy_import_kwh AS kwh INTO earlier FROM p1_samples
    WHERE device_id = device AND ts <= newest.ts - interval '1 minute'
        AND ts > newest.ts - interval '3 minutes' ORDER BY ts DESC LIMIT 1;
    SELECT energy_import_kwh INTO start_kwh FROM p1_samples
    WHERE device_id = device AND ts <= start AND ts > start - interval '1 day'
    ORDER BY ts DESC LIMIT 1;
    SELECT max(import_power_w) INTO sampled_w FROM p1_samples
    WHERE device_id = device AND ts > start - interval '1 minute' AND ts <= newest.ts;
    most_w := coalesce(
        CASE WHEN newest.kwh >= earlier.kwh AND newest.kwh >= start_kwh THEN
            (newest.kwh - start_kwh) * 4000 + greatest(
                newest.watts,
                (newest.kwh - earlier.kwh) * 3.6e6 / extract(epoch FROM newest.ts - earlier.ts)
            ) * (900 - extract(epoch FROM newest.ts - start)) / 900
        END,
        sampled_w
    );
    RETURN NEXT;
END $$;
