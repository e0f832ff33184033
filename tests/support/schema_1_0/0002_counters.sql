-- What lifetime counters say of a stretch of time, and how stretches add up. The one rule of
-- energy is counter_step: everything else hands readings to it.

-- The first and the last reading in a stretch and the energy between them.
CREATE TYPE counter_span AS (
    first_kwh double precision,
    first_ts timestamptz,
    last_kwh double precision,
    last_ts timestamptz,
    kwh double precision
);

-- The energy from one reading to the next: nothing if the counter fell (it starts anew) or rose
-- more than max_power_w can in that time. A counter moves in ticks, and one tick may come at once.
CREATE FUNCTION counter_step(
    from_kwh double precision, from_ts timestamptz, to_kwh double precision, to_ts timestamptz,
    max_power_w double precision, tick_kwh double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN to_kwh - from_kwh BETWEEN 0
        AND max_power_w * extract(epoch FROM to_ts - from_ts)::double precision / 3.6e6 + tick_kwh
    THEN to_kwh - from_kwh ELSE 0
END;

-- The span of one quarter from its first, last, lowest and highest reading. If it ends lower than
-- it began, the counter fell in between: it rose to the highest before, from the lowest after.
-- (PL/pgSQL is several times faster here than SQL. Names are qualified: a refresh has a search
-- path of its own.)
CREATE FUNCTION counter_quarter(
    first_kwh double precision, first_ts timestamptz, last_kwh double precision,
    last_ts timestamptz, low_kwh double precision, high_kwh double precision,
    max_power_w double precision, tick_kwh double precision
) RETURNS :"schema".counter_span LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    kwh double precision;
BEGIN
    IF first_kwh IS NULL THEN
        RETURN NULL;
    ELSIF last_kwh >= first_kwh THEN
        kwh := :"schema".counter_step(
            first_kwh, first_ts, last_kwh, last_ts, max_power_w, tick_kwh
        );
    ELSE
        kwh := :"schema".counter_step(
            first_kwh, first_ts, high_kwh, last_ts, max_power_w, tick_kwh
        ) + :"schema".counter_step(
            low_kwh, first_ts, last_kwh, last_ts, max_power_w, tick_kwh
        );
    END IF;
    RETURN ROW(first_kwh, first_ts, last_kwh, last_ts, kwh);
END $$;

CREATE FUNCTION counter_add(
    sum :"schema".counter_span, next :"schema".counter_span,
    max_power_w double precision, tick_kwh double precision
) RETURNS :"schema".counter_span LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    sum.kwh := sum.kwh + next.kwh + :"schema".counter_step(
        sum.last_kwh, sum.last_ts, next.first_kwh, next.first_ts, max_power_w, tick_kwh
    );
    sum.last_kwh := next.last_kwh;
    sum.last_ts := next.last_ts;
    RETURN sum;
END $$;

-- Joins spans in order of time, with the steps between them; spans that are NULL do not count.
CREATE AGGREGATE counter_sum(counter_span, double precision, double precision) (
    SFUNC = counter_add, STYPE = counter_span, PARALLEL = SAFE
);

-- Which counters of a sample are known, as a bit mask.
CREATE FUNCTION counters_known(
    a double precision, b double precision, c double precision DEFAULT NULL,
    d double precision DEFAULT NULL, e double precision DEFAULT NULL
) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (a IS NOT NULL)::integer + 2 * (b IS NOT NULL)::integer + 4 * (c IS NOT NULL)::integer
    + 8 * (d IS NOT NULL)::integer + 16 * (e IS NOT NULL)::integer;
