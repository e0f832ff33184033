-- What a rollup holds, defined once: as lists to select, from which tables, functions and
-- continuous aggregates are made.

-- Means are weighted by sample_count, and one that may be unknown has a weight of its own.
CREATE FUNCTION rollup_means(of_kind text) RETURNS TABLE (name text, gauge text, weight text)
LANGUAGE sql IMMUTABLE AS $$
    SELECT name, gauge, weight FROM (VALUES
        ('sungrow', 'avg_pv_power_w', 'pv_power_w', NULL),
        ('sungrow', 'avg_battery_power_w', 'battery_power_w', 'battery_power_weight'),
        ('sungrow', 'avg_battery_soc_pct', 'battery_soc_pct', 'battery_soc_weight'),
        ('sungrow', 'avg_load_power_w', 'load_power_w', 'load_power_weight'),
        ('sungrow', 'avg_export_power_w', 'export_power_w', 'export_power_weight'),
        ('sungrow', 'avg_string1_power_w', 'mppt1_voltage_v * mppt1_current_a', 'string1_weight'),
        ('sungrow', 'avg_string2_power_w', 'mppt2_voltage_v * mppt2_current_a', 'string2_weight'),
        ('p1', 'avg_power_w', 'power_w', NULL)
    ) AS mean (kind, name, gauge, weight) WHERE kind = of_kind
$$;

-- With the rule of energy: the most that a device of the kind moves in W, and a tick in kWh.
CREATE FUNCTION rollup_counters(of_kind text) RETURNS TABLE (name text, rule text)
LANGUAGE sql IMMUTABLE AS $$
    SELECT name, rule FROM (VALUES
        ('sungrow', '50000, 0.1', 'pv import export charge discharge', '_total'),
        ('p1', '100000, 0.001', 'import export import_t1 import_t2 export_t1 export_t2', '')
    ) AS counter (kind, rule, names, ending),
        LATERAL (SELECT CASE kind WHEN 'p1' THEN 'energy_' ELSE '' END || one || ending AS name
        FROM string_to_table(names, ' ') AS one) AS named
    WHERE kind = of_kind
$$;

-- A quarter of an hour from samples.
CREATE FUNCTION rollup_quarter(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $make$
    SELECT CASE kind WHEN 'p1' THEN $$
        count(*) AS sample_count, avg(power_w)::double precision AS avg_power_w,
        max(power_w) AS max_power_w, avg(import_power_w)::double precision AS avg_import_power_w,
        bit_count(
            bit_or(1 << date_part('minute', ts AT TIME ZONE 'UTC')::integer % 15)::bit(15)
        )::integer AS covered_minutes,
        (array_agg(monthly_power_peak_w))[array_position(
            array_agg(ts), max(ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL)
        )] AS official_peak_w,
        (array_agg(monthly_power_peak_ts))[array_position(
            array_agg(ts), max(ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL)
        )] AS official_peak_ts
    $$ ELSE $$
        sum(sample_count) AS sample_count, max(pv_power_w) AS max_pv_power_w,
        max(mppt1_voltage_v * mppt1_current_a)::real AS max_string1_power_w,
        max(mppt2_voltage_v * mppt2_current_a)::real AS max_string2_power_w,
        min(ts) AS first_ts, max(ts) AS last_ts,
        covered_seconds(array_agg(ts), min(ts), max(ts),
            bit_or(1 << date_part('minute', ts AT TIME ZONE 'UTC')::integer % 15)) AS covered_s,
        gauge_at(array_agg(ts), array_agg(battery_soc_pct::real),
            min(ts) FILTER (WHERE battery_soc_pct IS NOT NULL)) AS first_soc_pct,
        gauge_at(array_agg(ts), array_agg(battery_soc_pct::real),
            max(ts) FILTER (WHERE battery_soc_pct IS NOT NULL)) AS last_soc_pct,
        gauge_at(array_agg(ts), array_agg(battery_soh_pct::real),
            max(ts) FILTER (WHERE battery_soh_pct IS NOT NULL)) AS last_soh_pct,
        gauge_at(array_agg(ts), array_agg(battery_capacity_kwh),
            max(ts) FILTER (WHERE battery_capacity_kwh IS NOT NULL)) AS last_capacity_kwh
    $$ || (
        SELECT string_agg(format(', sum((%2$s) * sample_count::double precision)'
            ' / sum(sample_count) FILTER (WHERE %2$s IS NOT NULL) AS %1$s', name, gauge), '')
        || string_agg(', sum(sample_count) FILTER (WHERE ' || gauge || ' IS NOT NULL) AS '
            || weight, '')
        FROM rollup_means(kind)
    ) END || (
        SELECT string_agg(format(', counter_quarter(array_agg(ts), array_agg(%1$s_kwh),'
            ' min(%1$s_kwh), max(%1$s_kwh), min(ts), max(ts), %2$s) AS %1$s', name, rule), '')
        FROM rollup_counters(kind)
    )
$make$;

-- Anything wider from parts: hours and days from quarters, months from days.
CREATE FUNCTION rollup_wider(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $make$
    SELECT 'sum(sample_count)::bigint AS sample_count' || CASE kind WHEN 'p1' THEN
        ', max(max_power_w) AS max_power_w' ELSE $$, max(max_pv_power_w) AS max_pv_power_w,
        max(max_string1_power_w) AS max_string1_power_w,
        max(max_string2_power_w) AS max_string2_power_w,
        min(first_ts) AS first_ts, max(last_ts) AS last_ts, sum(covered_s) AS covered_s,
        (array_agg(first_soc_pct ORDER BY part.bucket)
            FILTER (WHERE first_soc_pct IS NOT NULL))[1] AS first_soc_pct$$ || (
            SELECT string_agg(format($$, (array_agg(%1$s ORDER BY part.bucket DESC)
                FILTER (WHERE %1$s IS NOT NULL))[1] AS %1$s$$, name), '')
            FROM unnest(ARRAY['last_soc_pct', 'last_soh_pct', 'last_capacity_kwh']) AS name
        )
    END || (
        SELECT string_agg(format(', sum(%1$s * %2$s) / sum(%2$s) AS %1$s',
            name, coalesce(weight, 'sample_count')), '')
        || coalesce(string_agg(format(', sum(%1$s)::bigint AS %1$s', weight), '')
            FILTER (WHERE weight IS NOT NULL), '')
        FROM rollup_means(kind)
    ) || (
        SELECT string_agg(
            format(', counter_sum(%1$s, %2$s ORDER BY part.bucket) AS %1$s', name, rule), ''
        ) FROM rollup_counters(kind)
    )
$make$;
