-- The peaks of months that are over, kept by the refresh of the rollups. A row without an end of
-- what it depends on is being made.

CREATE TABLE p1_kept_peaks (
    device_id text, month_start timestamptz, month_end timestamptz,
    official_w double precision, official_ts timestamptz,
    register_kwh double precision, register_ts timestamptz,
    sampled_w double precision, sampled_ts timestamptz,
    -- A sample up to then would change it, one after it does not.
    depends_until timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (device_id, month_start, month_end)
);

-- Forgets what a late sample changes, also what is just being made; the API may do this alone. The
-- lock is that of whoever stores samples of the device.
CREATE FUNCTION p1_forget_peaks(lock integer, device text, since timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$ BEGIN
    PERFORM pg_advisory_xact_lock_shared(lock, hashtext(device));
    DELETE FROM :"schema".p1_kept_peaks WHERE device_id = device AND depends_until >= since;
END $$;
