-- What lifetime counters say of a stretch of time, and how stretches join. The rule of energy is
-- that of api_server/data/counters.py, which reads the samples again where a stretch is not enough.

DO $$ BEGIN
    IF to_regtype('counter_span') IS NOT NULL THEN  -- that of version 1.0 serves until it is gone
        ALTER TYPE counter_span RENAME TO counter_span_1_0;
    END IF;
END $$;

-- Its first reading and the last that is accepted if the first is: the energy is what lies between.
-- state: 0 each reading follows the one before; 1 all others are disproved within the stretch;
-- 2 it ends with a candidate; 3 a part of it does not follow the part before.
CREATE TYPE counter_span AS (
    first_kwh double precision, first_ts timestamptz,
    last_kwh double precision, last_ts timestamptz, state smallint
);

-- How much a counter may rise in a time. It may be read more often than its registers move, so
-- nothing is judged by less than a minute; and one tick may come at once. (A billionth of a kWh is
-- for the last digits of the subtraction.)
CREATE FUNCTION counter_limit(
    since timestamptz, at timestamptz, max_power_w double precision, tick_kwh double precision
) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN max_power_w * greatest(extract(epoch FROM at - since)::double precision, 60) / 3.6e6
    + tick_kwh + 1e-9;

-- The span of readings that need a closer look.
CREATE FUNCTION counter_walk(
    times timestamptz[], readings double precision[], max_power_w double precision,
    tick_kwh double precision
) RETURNS :"schema".counter_span LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    first_kwh double precision; first_at timestamptz;
    base_kwh double precision; base_at timestamptz;
    kwh double precision; at timestamptz;
    steady boolean := true; candidate boolean := false;
BEGIN
    FOR at, kwh IN SELECT * FROM unnest(times, readings) AS reading (at, kwh)
        WHERE reading.kwh IS NOT NULL ORDER BY 1
    LOOP
        IF first_at IS NULL THEN
            first_kwh := kwh; first_at := at; base_kwh := kwh; base_at := at;
        ELSIF kwh >= base_kwh
            AND kwh - base_kwh <= :"schema".counter_limit(base_at, at, max_power_w, tick_kwh) THEN
            base_kwh := kwh; base_at := at; candidate := false;
        ELSE
            candidate := true; steady := false;
        END IF;
    END LOOP;
    RETURN ROW(
        first_kwh, first_at, base_kwh, base_at,
        CASE WHEN steady THEN 0 WHEN candidate THEN 2 ELSE 1 END
    ):::"schema".counter_span;
END $$;

-- The span of a quarter: a candidate needs 15 minutes to become the base, so none does inside. If
-- the first reading is the lowest and the last the highest, and a minute may bring what lies
-- between, the last is accepted whatever came between; nearly all quarters are so.
CREATE FUNCTION counter_quarter(
    times timestamptz[], readings double precision[], low double precision, high double precision,
    first_ts timestamptz, last_ts timestamptz, max_power_w double precision,
    tick_kwh double precision
) RETURNS :"schema".counter_span LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN low IS NULL THEN NULL
    WHEN readings[1] = low AND readings[cardinality(readings)] = high AND times[1] = first_ts
        AND times[cardinality(times)] = last_ts AND high - low <= max_power_w / 60000 + tick_kwh
    THEN ROW(low, first_ts, high, last_ts, (low < high)::integer)::counter_span
    ELSE counter_walk(times, readings, max_power_w, tick_kwh)
END;

CREATE FUNCTION counter_add(
    sum :"schema".counter_span, next :"schema".counter_span,
    max_power_w double precision, tick_kwh double precision
) RETURNS :"schema".counter_span LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    sum.state := CASE
        WHEN sum.state = 3 OR next.state = 3 OR next.first_kwh < sum.last_kwh
            OR next.first_kwh - sum.last_kwh > :"schema".counter_limit(
                sum.last_ts, next.first_ts, max_power_w, tick_kwh
            ) THEN 3
        WHEN sum.state = 0 THEN next.state
        ELSE greatest(next.state, 1)
    END;
    sum.last_kwh := next.last_kwh;
    sum.last_ts := next.last_ts;
    RETURN sum;
END $$;

-- Joins spans in order of time; spans that are NULL do not count.
CREATE AGGREGATE counter_sum(counter_span, double precision, double precision) (
    SFUNC = counter_add, STYPE = counter_span, PARALLEL = SAFE
);

-- Of readings of a gauge, the one at a time.
CREATE FUNCTION gauge_at(times timestamptz[], readings real[], at timestamptz)
RETURNS real LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN readings[array_position(times, at)];

-- The seconds that samples cover, each until the next, but at most 300 s. `minutes` are bits of
-- those with a sample: unless three are without one in a row, the next is always near enough.
CREATE FUNCTION covered_seconds(
    times timestamptz[], first_ts timestamptz, last_ts timestamptz, minutes integer
) RETURNS real LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    -- | and << bind alike in PostgreSQL.
    filled integer := minutes | (minutes << 1) | (minutes << 2) | (minutes << 3);
BEGIN
    IF filled & (filled + (filled & -filled)) = 0 THEN  -- the bits have no hole
        RETURN extract(epoch FROM last_ts - first_ts);
    END IF;
    RETURN (SELECT coalesce(sum(least(extract(epoch FROM at - before), 300)), 0) FROM (
        SELECT at, lag(at) OVER (ORDER BY at) AS before FROM unnest(times) AS at
    ) AS pair WHERE before IS NOT NULL);  -- else least() would count 300 s for the first
END $$;
