-- requires: no continuous aggregates
-- run again: for another zone
-- The rollups as plain views: quarters of an hour over the samples, everything else over quarters.
-- Averages are weighted by sample_count; those that may be unknown have a weight of their own.

DROP FUNCTION IF EXISTS sungrow_around, p1_around;
DROP VIEW IF EXISTS sungrow_monthly, sungrow_daily, sungrow_hourly, sungrow_quarter_hourly,
    p1_monthly, p1_daily, p1_hourly, p1_quarter_hourly;

-- What ranges of quarters are found by, and the nearest quarter that knows a counter: `known` is
-- a bit mask of counters, so that one that a device never had costs no search through its history.
CREATE INDEX IF NOT EXISTS sungrow_samples_quarter
    ON sungrow_samples (device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'));
CREATE INDEX IF NOT EXISTS p1_samples_quarter
    ON p1_samples (device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'));
CREATE INDEX IF NOT EXISTS sungrow_samples_known
    ON sungrow_samples (
        device_id,
        counters_known(
            pv_total_kwh, import_total_kwh, export_total_kwh, charge_total_kwh, discharge_total_kwh
        ),
        date_bin('15 minutes', ts, '2020-01-01T00:00:00Z')
    );
CREATE INDEX IF NOT EXISTS p1_samples_known
    ON p1_samples (
        device_id, counters_known(energy_import_kwh, energy_export_kwh),
        date_bin('15 minutes', ts, '2020-01-01T00:00:00Z')
    );

CREATE VIEW sungrow_quarter_hourly AS
SELECT quarter.device_id, bucket, quarter.sample_count, avg_pv_power_w, max_pv_power_w,
    avg_battery_power_w, avg_battery_soc_pct, avg_load_power_w, avg_export_power_w,
    battery_power_weight, battery_soc_weight, export_power_weight,
    counter_quarter(
        coalesce(
            first.pv_total_kwh, (SELECT pv_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = pv_first_ts)
        ), pv_first_ts,
        coalesce(
            last.pv_total_kwh, (SELECT pv_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = pv_last_ts)
        ), pv_last_ts,
        pv_low, pv_high, 50000, 0.1
    ) AS pv_total,
    counter_quarter(
        coalesce(
            first.import_total_kwh, (SELECT import_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = import_first_ts)
        ), import_first_ts,
        coalesce(
            last.import_total_kwh, (SELECT import_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = import_last_ts)
        ), import_last_ts,
        import_low, import_high, 50000, 0.1
    ) AS import_total,
    counter_quarter(
        coalesce(
            first.export_total_kwh, (SELECT export_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = export_first_ts)
        ), export_first_ts,
        coalesce(
            last.export_total_kwh, (SELECT export_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = export_last_ts)
        ), export_last_ts,
        export_low, export_high, 50000, 0.1
    ) AS export_total,
    counter_quarter(
        coalesce(
            first.charge_total_kwh, (SELECT charge_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = charge_first_ts)
        ), charge_first_ts,
        coalesce(
            last.charge_total_kwh, (SELECT charge_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = charge_last_ts)
        ), charge_last_ts,
        charge_low, charge_high, 50000, 0.1
    ) AS charge_total,
    counter_quarter(
        coalesce(
            first.discharge_total_kwh, (SELECT discharge_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = discharge_first_ts)
        ), discharge_first_ts,
        coalesce(
            last.discharge_total_kwh, (SELECT discharge_total_kwh FROM sungrow_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = discharge_last_ts)
        ), discharge_last_ts,
        discharge_low, discharge_high, 50000, 0.1
    ) AS discharge_total
FROM (
    SELECT device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
        min(ts) AS first_ts, max(ts) AS last_ts,
        sum(sample_count) AS sample_count,
        sum(pv_power_w * sample_count) / sum(sample_count) AS avg_pv_power_w,
        max(pv_power_w) AS max_pv_power_w,
        sum(battery_power_w * sample_count)
        / sum(sample_count) FILTER (WHERE battery_power_w IS NOT NULL) AS avg_battery_power_w,
        sum(battery_soc_pct * sample_count)
        / sum(sample_count) FILTER (WHERE battery_soc_pct IS NOT NULL) AS avg_battery_soc_pct,
        sum(load_power_w * sample_count) / sum(sample_count) AS avg_load_power_w,
        sum(export_power_w * sample_count)
        / sum(sample_count) FILTER (WHERE export_power_w IS NOT NULL) AS avg_export_power_w,
        sum(sample_count) FILTER (WHERE battery_power_w IS NOT NULL) AS battery_power_weight,
        sum(sample_count) FILTER (WHERE battery_soc_pct IS NOT NULL) AS battery_soc_weight,
        sum(sample_count) FILTER (WHERE export_power_w IS NOT NULL) AS export_power_weight,
        min(ts) FILTER (WHERE pv_total_kwh IS NOT NULL) AS pv_first_ts,
        max(ts) FILTER (WHERE pv_total_kwh IS NOT NULL) AS pv_last_ts,
        min(pv_total_kwh) AS pv_low, max(pv_total_kwh) AS pv_high,
        min(ts) FILTER (WHERE import_total_kwh IS NOT NULL) AS import_first_ts,
        max(ts) FILTER (WHERE import_total_kwh IS NOT NULL) AS import_last_ts,
        min(import_total_kwh) AS import_low, max(import_total_kwh) AS import_high,
        min(ts) FILTER (WHERE export_total_kwh IS NOT NULL) AS export_first_ts,
        max(ts) FILTER (WHERE export_total_kwh IS NOT NULL) AS export_last_ts,
        min(export_total_kwh) AS export_low, max(export_total_kwh) AS export_high,
        min(ts) FILTER (WHERE charge_total_kwh IS NOT NULL) AS charge_first_ts,
        max(ts) FILTER (WHERE charge_total_kwh IS NOT NULL) AS charge_last_ts,
        min(charge_total_kwh) AS charge_low, max(charge_total_kwh) AS charge_high,
        min(ts) FILTER (WHERE discharge_total_kwh IS NOT NULL) AS discharge_first_ts,
        max(ts) FILTER (WHERE discharge_total_kwh IS NOT NULL) AS discharge_last_ts,
        min(discharge_total_kwh) AS discharge_low, max(discharge_total_kwh) AS discharge_high
    FROM sungrow_samples GROUP BY 1, 2
) AS quarter,
-- OFFSET 0 keeps each of these one look-up by the primary key.
LATERAL (
    SELECT * FROM sungrow_samples AS one
    WHERE one.device_id = quarter.device_id AND one.ts = first_ts OFFSET 0
) AS first,
LATERAL (
    SELECT * FROM sungrow_samples AS one
    WHERE one.device_id = quarter.device_id AND one.ts = last_ts OFFSET 0
) AS last;

CREATE VIEW p1_quarter_hourly AS
SELECT quarter.device_id, bucket, sample_count, avg_power_w, max_power_w, avg_import_power_w,
    covered_minutes,
    (SELECT monthly_power_peak_w FROM p1_samples AS one
     WHERE one.device_id = quarter.device_id AND one.ts = official_last_ts) AS official_peak_w,
    (SELECT monthly_power_peak_ts FROM p1_samples AS one
     WHERE one.device_id = quarter.device_id AND one.ts = official_last_ts) AS official_peak_ts,
    counter_quarter(
        coalesce(
            first.energy_import_kwh, (SELECT energy_import_kwh FROM p1_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = import_first_ts)
        ), import_first_ts,
        coalesce(
            last.energy_import_kwh, (SELECT energy_import_kwh FROM p1_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = import_last_ts)
        ), import_last_ts,
        import_low, import_high, 100000, 0.001
    ) AS energy_import,
    counter_quarter(
        coalesce(
            first.energy_export_kwh, (SELECT energy_export_kwh FROM p1_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = export_first_ts)
        ), export_first_ts,
        coalesce(
            last.energy_export_kwh, (SELECT energy_export_kwh FROM p1_samples AS one
            WHERE one.device_id = quarter.device_id AND one.ts = export_last_ts)
        ), export_last_ts,
        export_low, export_high, 100000, 0.001
    ) AS energy_export
FROM (
    SELECT device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
        min(ts) AS first_ts, max(ts) AS last_ts,
        count(*) AS sample_count,
        avg(power_w)::double precision AS avg_power_w,
        max(power_w) AS max_power_w,
        avg(import_power_w)::double precision AS avg_import_power_w,
        count(DISTINCT date_bin('1 minute', ts, '2020-01-01T00:00:00Z'))::integer
            AS covered_minutes,
        max(ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL) AS official_last_ts,
        min(ts) FILTER (WHERE energy_import_kwh IS NOT NULL) AS import_first_ts,
        max(ts) FILTER (WHERE energy_import_kwh IS NOT NULL) AS import_last_ts,
        min(energy_import_kwh) AS import_low, max(energy_import_kwh) AS import_high,
        min(ts) FILTER (WHERE energy_export_kwh IS NOT NULL) AS export_first_ts,
        max(ts) FILTER (WHERE energy_export_kwh IS NOT NULL) AS export_last_ts,
        min(energy_export_kwh) AS export_low, max(energy_export_kwh) AS export_high
    FROM p1_samples GROUP BY 1, 2
) AS quarter,
-- OFFSET 0 keeps each of these one look-up by the primary key.
LATERAL (
    SELECT * FROM p1_samples AS one
    WHERE one.device_id = quarter.device_id AND one.ts = first_ts OFFSET 0
) AS first,
LATERAL (
    SELECT * FROM p1_samples AS one
    WHERE one.device_id = quarter.device_id AND one.ts = last_ts OFFSET 0
) AS last;

CREATE VIEW sungrow_hourly AS
SELECT device_id, date_trunc('hour', part.bucket, :'hour_zone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_pv_power_w * sample_count) / sum(sample_count) AS avg_pv_power_w,
    max(max_pv_power_w) AS max_pv_power_w,
    sum(avg_battery_power_w * battery_power_weight) / sum(battery_power_weight)
        AS avg_battery_power_w,
    sum(avg_battery_soc_pct * battery_soc_weight) / sum(battery_soc_weight)
        AS avg_battery_soc_pct,
    sum(avg_load_power_w * sample_count) / sum(sample_count) AS avg_load_power_w,
    sum(avg_export_power_w * export_power_weight) / sum(export_power_weight)
        AS avg_export_power_w,
    sum(battery_power_weight)::bigint AS battery_power_weight,
    sum(battery_soc_weight)::bigint AS battery_soc_weight,
    sum(export_power_weight)::bigint AS export_power_weight,
    counter_sum(pv_total, 50000, 0.1 ORDER BY part.bucket) AS pv_total,
    counter_sum(import_total, 50000, 0.1 ORDER BY part.bucket) AS import_total,
    counter_sum(export_total, 50000, 0.1 ORDER BY part.bucket) AS export_total,
    counter_sum(charge_total, 50000, 0.1 ORDER BY part.bucket) AS charge_total,
    counter_sum(discharge_total, 50000, 0.1 ORDER BY part.bucket) AS discharge_total
FROM sungrow_quarter_hourly AS part GROUP BY 1, 2;

CREATE VIEW sungrow_daily AS
SELECT device_id, date_trunc('day', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_pv_power_w * sample_count) / sum(sample_count) AS avg_pv_power_w,
    max(max_pv_power_w) AS max_pv_power_w,
    sum(avg_battery_power_w * battery_power_weight) / sum(battery_power_weight)
        AS avg_battery_power_w,
    sum(avg_battery_soc_pct * battery_soc_weight) / sum(battery_soc_weight)
        AS avg_battery_soc_pct,
    sum(avg_load_power_w * sample_count) / sum(sample_count) AS avg_load_power_w,
    sum(avg_export_power_w * export_power_weight) / sum(export_power_weight)
        AS avg_export_power_w,
    sum(battery_power_weight)::bigint AS battery_power_weight,
    sum(battery_soc_weight)::bigint AS battery_soc_weight,
    sum(export_power_weight)::bigint AS export_power_weight,
    counter_sum(pv_total, 50000, 0.1 ORDER BY part.bucket) AS pv_total,
    counter_sum(import_total, 50000, 0.1 ORDER BY part.bucket) AS import_total,
    counter_sum(export_total, 50000, 0.1 ORDER BY part.bucket) AS export_total,
    counter_sum(charge_total, 50000, 0.1 ORDER BY part.bucket) AS charge_total,
    counter_sum(discharge_total, 50000, 0.1 ORDER BY part.bucket) AS discharge_total
FROM sungrow_quarter_hourly AS part GROUP BY 1, 2;

CREATE VIEW sungrow_monthly AS
SELECT device_id, date_trunc('month', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_pv_power_w * sample_count) / sum(sample_count) AS avg_pv_power_w,
    max(max_pv_power_w) AS max_pv_power_w,
    sum(avg_battery_power_w * battery_power_weight) / sum(battery_power_weight)
        AS avg_battery_power_w,
    sum(avg_battery_soc_pct * battery_soc_weight) / sum(battery_soc_weight)
        AS avg_battery_soc_pct,
    sum(avg_load_power_w * sample_count) / sum(sample_count) AS avg_load_power_w,
    sum(avg_export_power_w * export_power_weight) / sum(export_power_weight)
        AS avg_export_power_w,
    sum(battery_power_weight)::bigint AS battery_power_weight,
    sum(battery_soc_weight)::bigint AS battery_soc_weight,
    sum(export_power_weight)::bigint AS export_power_weight,
    counter_sum(pv_total, 50000, 0.1 ORDER BY part.bucket) AS pv_total,
    counter_sum(import_total, 50000, 0.1 ORDER BY part.bucket) AS import_total,
    counter_sum(export_total, 50000, 0.1 ORDER BY part.bucket) AS export_total,
    counter_sum(charge_total, 50000, 0.1 ORDER BY part.bucket) AS charge_total,
    counter_sum(discharge_total, 50000, 0.1 ORDER BY part.bucket) AS discharge_total
FROM sungrow_daily AS part GROUP BY 1, 2;

CREATE VIEW p1_hourly AS
SELECT device_id, date_trunc('hour', part.bucket, :'hour_zone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_quarter_hourly AS part GROUP BY 1, 2;

CREATE VIEW p1_daily AS
SELECT device_id, date_trunc('day', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_quarter_hourly AS part GROUP BY 1, 2;

CREATE VIEW p1_monthly AS
SELECT device_id, date_trunc('month', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_daily AS part GROUP BY 1, 2;

-- The quarters outside [since, until) that hold, for every counter, the reading next to it.
CREATE FUNCTION sungrow_around(device text, since timestamptz, until timestamptz) RETURNS TABLE (
    bucket timestamptz, pv_total counter_span, import_total counter_span,
    export_total counter_span, charge_total counter_span, discharge_total counter_span
) LANGUAGE sql STABLE AS $$
    SELECT bucket, pv_total, import_total, export_total, charge_total, discharge_total
    FROM sungrow_quarter_hourly WHERE device_id = device AND bucket = ANY (ARRAY(
        SELECT nearest.bucket FROM generate_series(1, 31) AS mask, LATERAL (
            (SELECT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket
            FROM sungrow_samples WHERE device_id = device AND counters_known(
                pv_total_kwh, import_total_kwh, export_total_kwh, charge_total_kwh,
                discharge_total_kwh
            ) = mask AND date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') < since
            ORDER BY 1 DESC LIMIT 1)
            UNION ALL
            (SELECT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z')
            FROM sungrow_samples WHERE device_id = device AND counters_known(
                pv_total_kwh, import_total_kwh, export_total_kwh, charge_total_kwh,
                discharge_total_kwh
            ) = mask AND date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') >= until
            ORDER BY 1 LIMIT 1)
        ) AS nearest
    ))
$$;

CREATE FUNCTION p1_around(device text, since timestamptz, until timestamptz) RETURNS TABLE (
    bucket timestamptz, energy_import counter_span, energy_export counter_span
) LANGUAGE sql STABLE AS $$
    SELECT bucket, energy_import, energy_export
    FROM p1_quarter_hourly WHERE device_id = device AND bucket = ANY (ARRAY(
        SELECT nearest.bucket FROM generate_series(1, 3) AS mask, LATERAL (
            (SELECT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket
            FROM p1_samples WHERE device_id = device
                AND counters_known(energy_import_kwh, energy_export_kwh) = mask
                AND date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') < since
            ORDER BY 1 DESC LIMIT 1)
            UNION ALL
            (SELECT date_bin('15 minutes', ts, '2020-01-01T00:00:00Z')
            FROM p1_samples WHERE device_id = device
                AND counters_known(energy_import_kwh, energy_export_kwh) = mask
                AND date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') >= until
            ORDER BY 1 LIMIT 1)
        ) AS nearest
    ))
$$;

INSERT INTO schema_settings VALUES ('rollups', 'views')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
