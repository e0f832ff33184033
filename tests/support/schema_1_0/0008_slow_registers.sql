-- rollups: anew
-- A counter may be read more often than its registers move: older meters renew them every 10 s,
-- a slow device every minute. So no step is judged by less than a minute.
CREATE OR REPLACE FUNCTION counter_step(
    from_kwh double precision, from_ts timestamptz, to_kwh double precision, to_ts timestamptz,
    max_power_w double precision, tick_kwh double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN to_kwh - from_kwh BETWEEN 0 AND tick_kwh
        + max_power_w * greatest(extract(epoch FROM to_ts - from_ts)::double precision, 60) / 3.6e6
    THEN to_kwh - from_kwh ELSE 0
END;
