-- What the running quarter of each of some meters comes to at most, in W: its register so far, or the
-- highest power of the quarter where a register is not known, and for the rest of it the highest power
-- of late. One look-up each, which works on every database; no row without a sample in the quarter.
CREATE FUNCTION p1_most_of_quarter(devices text[], start timestamptz)
RETURNS TABLE (device_id text, most_w double precision) LANGUAGE plpgsql STABLE AS $$
DECLARE
    newest record; before_kwh double precision; late_w double precision; left_s double precision;
BEGIN
    FOREACH device_id IN ARRAY devices LOOP
        SELECT sample.ts, sample.energy_import_kwh AS kwh INTO newest FROM p1_samples AS sample
        WHERE sample.device_id = p1_most_of_quarter.device_id AND sample.ts >= start
            AND sample.ts < start + interval '15 minutes'
        ORDER BY sample.ts DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        SELECT max(sample.import_power_w) INTO late_w FROM p1_samples AS sample
        WHERE sample.device_id = p1_most_of_quarter.device_id
            AND sample.ts > newest.ts - interval '60 seconds' AND sample.ts <= newest.ts;
        SELECT sample.energy_import_kwh INTO before_kwh FROM p1_samples AS sample
        WHERE sample.device_id = p1_most_of_quarter.device_id
            AND sample.ts >= start - interval '1 day' AND sample.ts <= start
        ORDER BY sample.ts DESC LIMIT 1;
        left_s := 900 - extract(epoch FROM newest.ts - start);
        most_w := (newest.kwh - before_kwh) * 4000 + late_w * left_s / 900;
        IF most_w IS NULL OR newest.kwh < before_kwh THEN
            SELECT max(sample.import_power_w) INTO most_w FROM p1_samples AS sample
            WHERE sample.device_id = p1_most_of_quarter.device_id AND sample.ts >= start
                AND sample.ts <= newest.ts;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
