-- requires: no continuous aggregates
-- How quarters are made for the tables that keep them: as rollup_quarter says, but without arrays of all
-- readings, which take longer than all else. Of a quarter whose counters only rise the first and the last
-- sample are enough; those of any other are read again.

-- Whether counter_quarter needs no more than these two readings.
CREATE FUNCTION counter_is_plain(
    first_kwh double precision, last_kwh double precision, low double precision,
    high double precision, max_power_w double precision, tick_kwh double precision
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN low IS NULL OR coalesce(
    first_kwh = low AND last_kwh = high AND high - low <= max_power_w / 60000 + tick_kwh, false
);

-- Makes the function of a kind. `aggregates` are those of a quarter, or of its minutes of which then
-- `joined` are; `columns` what is kept before the counters, `gauges` the fields of which it is single
-- readings, and `is_plain` whether those of the first and the last sample are enough.
CREATE FUNCTION rollup_make_quarters(
    kind text, aggregates text, joined text, columns text, gauges text[], is_plain text
) RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    counters record;
    own text := 'device_id = device AND ts >= since AND ts < until';
BEGIN
    SELECT string_agg(format('min(%1$s_kwh) AS %1$s_low, max(%1$s_kwh) AS %1$s_high', name), ', ')
            AS ranges,
        string_agg(format('min(%1$s_low) AS %1$s_low, max(%1$s_high) AS %1$s_high', name), ', ')
            AS joined,
        string_agg(format(
            'counter_is_plain(first.%1$s_kwh, last.%1$s_kwh, %1$s_low, %1$s_high, %2$s)', name, rule
        ), ' AND ') AS are_plain,
        string_agg(format(
            'counter_quarter(times, %1$s_kwh_read, %1$s_low, %1$s_high, first_ts, last_ts, %2$s)', name, rule
        ), ', ') AS spans,
        gauges || array_agg(name || '_kwh') AS fields
    INTO counters FROM rollup_counters(kind);
    EXECUTE format(
        $$
            CREATE OR REPLACE FUNCTION %1$s_live_quarter_hourly(
                device text, since timestamptz, until timestamptz
            ) RETURNS SETOF %1$s_kept_quarter_hourly LANGUAGE plpgsql STABLE
            SET enable_sort = off  -- there are few quarters to so many samples
            AS $body$ BEGIN
                RETURN QUERY SELECT device, quarter.bucket, %2$s, %3$s
                FROM (%4$s) AS quarter
                CROSS JOIN LATERAL (
                    SELECT * FROM %1$s_samples WHERE %5$s AND ts = first_ts LIMIT 1
                ) AS first
                CROSS JOIN LATERAL (
                    SELECT * FROM %1$s_samples WHERE %5$s AND ts = last_ts LIMIT 1
                ) AS last
                CROSS JOIN LATERAL (
                    SELECT coalesce(array_agg(ts), ARRAY[first_ts, last_ts]) AS times, %6$s
                    FROM %1$s_samples WHERE %5$s AND ts >= first_ts AND ts <= last_ts
                        AND NOT (%7$s AND %8$s)
                ) AS reading;
            END $body$
        $$, kind, columns, counters.spans,
        CASE WHEN joined IS NULL THEN format($$
            SELECT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
                min(ts) AS first_ts, max(ts) AS last_ts, %s, %s
            FROM %s_samples WHERE %s GROUP BY 1
        $$, aggregates, counters.ranges, kind, own) ELSE format($$
            SELECT date_bin('15 minutes', minute, '2020-01-01T00:00:00Z') AS bucket,
                min(first_ts) AS first_ts, max(last_ts) AS last_ts, %s, %s
            FROM (
                SELECT date_bin('1 minute', ts, '2020-01-01T00:00:00Z') AS minute,
                    min(ts) AS first_ts, max(ts) AS last_ts, %s, %s
                FROM %s_samples WHERE %s GROUP BY 1
            ) AS minutes GROUP BY 1
        $$, joined, counters.joined, aggregates, counters.ranges, kind, own) END,
        own,
        (SELECT string_agg(format(
            'coalesce(array_agg(%1$s), ARRAY[first.%1$s, last.%1$s]) AS %1$s_read', field
        ), ', ') FROM unnest(counters.fields) AS field),
        is_plain, counters.are_plain
    );
END $make$;

SELECT rollup_make_quarters('p1', $$
    count(*) AS samples, sum(power_w) AS power, sum(import_power_w) AS import_power,
    max(power_w) AS max_power_w, max(ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL) AS peak_at
$$, $$
    sum(samples)::bigint AS samples, (sum(power) / sum(samples))::double precision AS avg_power_w,
    (sum(import_power) / sum(samples))::double precision AS avg_import_power_w,
    max(max_power_w) AS max_power_w, max(peak_at) AS peak_at, count(*)::integer AS covered_minutes
$$, $$
    samples, avg_power_w, max_power_w, avg_import_power_w, covered_minutes,
    monthly_power_peak_w_read[array_position(times, peak_at)],
    monthly_power_peak_ts_read[array_position(times, peak_at)]
$$, '{monthly_power_peak_w, monthly_power_peak_ts}',
    'coalesce(peak_at IN (first_ts, last_ts), true)');

SELECT rollup_make_quarters('sungrow', $$
    sum(sample_count) AS samples, max(pv_power_w) AS max_pv_power_w,
    max(mppt1_voltage_v * mppt1_current_a)::real AS max_string1_power_w,
    max(mppt2_voltage_v * mppt2_current_a)::real AS max_string2_power_w,
    bit_or(1 << date_part('minute', ts AT TIME ZONE 'UTC')::integer % 15) AS minutes,
    min(ts) FILTER (WHERE battery_soc_pct IS NOT NULL) AS first_soc_at,
    max(ts) FILTER (WHERE battery_soc_pct IS NOT NULL) AS last_soc_at,
    max(ts) FILTER (WHERE battery_soh_pct IS NOT NULL) AS last_soh_at,
    max(ts) FILTER (WHERE battery_capacity_kwh IS NOT NULL) AS last_capacity_at,
$$ || string_agg(format(
    'sum((%2$s) * sample_count::double precision)'
    ' / sum(sample_count) FILTER (WHERE %2$s IS NOT NULL) AS %1$s', name, gauge
), ', ') || string_agg(format(
    ', sum(sample_count) FILTER (WHERE %s IS NOT NULL) AS %s', gauge, weight
), '') FILTER (WHERE weight IS NOT NULL), NULL, $$
    samples, max_pv_power_w, max_string1_power_w, max_string2_power_w, first_ts, last_ts,
    covered_seconds(times, first_ts, last_ts, minutes),
    battery_soc_pct_read[array_position(times, first_soc_at)]::real,
    battery_soc_pct_read[array_position(times, last_soc_at)]::real,
    battery_soh_pct_read[array_position(times, last_soh_at)]::real,
    battery_capacity_kwh_read[array_position(times, last_capacity_at)],
$$ || string_agg(name, ', ') || string_agg(', ' || weight, ''),
    '{battery_soc_pct, battery_soh_pct, battery_capacity_kwh}', $$
    minutes = x'7fff'::integer AND coalesce(first_soc_at IN (first_ts, last_ts), true)
    AND coalesce(last_soc_at IN (first_ts, last_ts), true)
    AND coalesce(last_soh_at IN (first_ts, last_ts), true)
    AND coalesce(last_capacity_at IN (first_ts, last_ts), true)
$$) FROM rollup_means('sungrow');
