-- requires: continuous aggregates
-- run again: for another zone
-- The rollups as continuous aggregates, with the names and columns of the views they replace:
-- quarters over the samples, everything else stacked on quarters. materialized_only is false, so
-- that what is not refreshed yet is computed when it is read.

DROP FUNCTION IF EXISTS sungrow_around, p1_around;
DO $$
DECLARE
    rollup text;
BEGIN
    FOREACH rollup IN ARRAY ARRAY[
        'sungrow_monthly', 'sungrow_daily', 'sungrow_hourly', 'sungrow_quarter_hourly',
        'p1_monthly', 'p1_daily', 'p1_hourly', 'p1_quarter_hourly'
    ] LOOP
        IF EXISTS (
            SELECT FROM timescaledb_information.continuous_aggregates WHERE view_name = rollup
        ) THEN
            EXECUTE format('DROP MATERIALIZED VIEW %I', rollup);
        ELSE
            EXECUTE format('DROP VIEW IF EXISTS %I', rollup);
        END IF;
    END LOOP;
END $$;

-- The views' indexes; a refresh looks for a stretch of time instead.
DROP INDEX IF EXISTS
    sungrow_samples_quarter, p1_samples_quarter, sungrow_samples_known, p1_samples_known;
CREATE INDEX IF NOT EXISTS sungrow_samples_ts ON sungrow_samples USING brin (ts)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX IF NOT EXISTS p1_samples_ts ON p1_samples USING brin (ts)
    WITH (pages_per_range = 32, autosummarize = on);

CREATE MATERIALIZED VIEW sungrow_quarter_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('15 minutes', ts) AS bucket,
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
    counter_quarter(
        first(pv_total_kwh, ts) FILTER (WHERE pv_total_kwh IS NOT NULL),
        min(ts) FILTER (WHERE pv_total_kwh IS NOT NULL),
        last(pv_total_kwh, ts) FILTER (WHERE pv_total_kwh IS NOT NULL),
        max(ts) FILTER (WHERE pv_total_kwh IS NOT NULL),
        min(pv_total_kwh), max(pv_total_kwh), 50000, 0.1
    ) AS pv_total,
    counter_quarter(
        first(import_total_kwh, ts) FILTER (WHERE import_total_kwh IS NOT NULL),
        min(ts) FILTER (WHERE import_total_kwh IS NOT NULL),
        last(import_total_kwh, ts) FILTER (WHERE import_total_kwh IS NOT NULL),
        max(ts) FILTER (WHERE import_total_kwh IS NOT NULL),
        min(import_total_kwh), max(import_total_kwh), 50000, 0.1
    ) AS import_total,
    counter_quarter(
        first(export_total_kwh, ts) FILTER (WHERE export_total_kwh IS NOT NULL),
        min(ts) FILTER (WHERE export_total_kwh IS NOT NULL),
        last(export_total_kwh, ts) FILTER (WHERE export_total_kwh IS NOT NULL),
        max(ts) FILTER (WHERE export_total_kwh IS NOT NULL),
        min(export_total_kwh), max(export_total_kwh), 50000, 0.1
    ) AS export_total,
    counter_quarter(
        first(charge_total_kwh, ts) FILTER (WHERE charge_total_kwh IS NOT NULL),
        min(ts) FILTER (WHERE charge_total_kwh IS NOT NULL),
        last(charge_total_kwh, ts) FILTER (WHERE charge_total_kwh IS NOT NULL),
        max(ts) FILTER (WHERE charge_total_kwh IS NOT NULL),
        min(charge_total_kwh), max(charge_total_kwh), 50000, 0.1
    ) AS charge_total,
    counter_quarter(
        first(discharge_total_kwh, ts) FILTER (WHERE discharge_total_kwh IS NOT NULL),
        min(ts) FILTER (WHERE discharge_total_kwh IS NOT NULL),
        last(discharge_total_kwh, ts) FILTER (WHERE discharge_total_kwh IS NOT NULL),
        max(ts) FILTER (WHERE discharge_total_kwh IS NOT NULL),
        min(discharge_total_kwh), max(discharge_total_kwh), 50000, 0.1
    ) AS discharge_total
FROM sungrow_samples GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW sungrow_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 hour', part.bucket, :'hour_zone') AS bucket,
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
FROM sungrow_quarter_hourly AS part GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW sungrow_daily
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 day', part.bucket, :'site_timezone') AS bucket,
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
FROM sungrow_quarter_hourly AS part GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW sungrow_monthly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 month', part.bucket, :'site_timezone') AS bucket,
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
FROM sungrow_daily AS part GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW p1_quarter_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('15 minutes', ts) AS bucket,
    count(*) AS sample_count,
    avg(power_w)::double precision AS avg_power_w,
    max(power_w) AS max_power_w,
    avg(import_power_w)::double precision AS avg_import_power_w,
    count(DISTINCT time_bucket('1 minute', ts))::integer AS covered_minutes,
    last(monthly_power_peak_w, ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL)
        AS official_peak_w,
    last(monthly_power_peak_ts, ts) FILTER (WHERE monthly_power_peak_w IS NOT NULL)
        AS official_peak_ts,
    counter_quarter(
        first(energy_import_kwh, ts) FILTER (WHERE energy_import_kwh IS NOT NULL),
        min(ts) FILTER (WHERE energy_import_kwh IS NOT NULL),
        last(energy_import_kwh, ts) FILTER (WHERE energy_import_kwh IS NOT NULL),
        max(ts) FILTER (WHERE energy_import_kwh IS NOT NULL),
        min(energy_import_kwh), max(energy_import_kwh), 100000, 0.001
    ) AS energy_import,
    counter_quarter(
        first(energy_export_kwh, ts) FILTER (WHERE energy_export_kwh IS NOT NULL),
        min(ts) FILTER (WHERE energy_export_kwh IS NOT NULL),
        last(energy_export_kwh, ts) FILTER (WHERE energy_export_kwh IS NOT NULL),
        max(ts) FILTER (WHERE energy_export_kwh IS NOT NULL),
        min(energy_export_kwh), max(energy_export_kwh), 100000, 0.001
    ) AS energy_export
FROM p1_samples GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW p1_hourly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 hour', part.bucket, :'hour_zone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_quarter_hourly AS part GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW p1_daily
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 day', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_quarter_hourly AS part GROUP BY 1, 2 WITH NO DATA;

CREATE MATERIALIZED VIEW p1_monthly
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT device_id, time_bucket('1 month', part.bucket, :'site_timezone') AS bucket,
    sum(sample_count)::bigint AS sample_count,
    sum(avg_power_w * sample_count) / sum(sample_count) AS avg_power_w,
    max(max_power_w) AS max_power_w,
    counter_sum(energy_import, 100000, 0.001 ORDER BY part.bucket) AS energy_import,
    counter_sum(energy_export, 100000, 0.001 ORDER BY part.bucket) AS energy_export
FROM p1_daily AS part GROUP BY 1, 2 WITH NO DATA;

-- Refreshed without a limit at the start: only what has changed is computed again, however old.
-- Children come first, by number and by clock: what is stacked on them sees what they have seen.
-- The latest hour, and day, is left to real time: a sample that is a little late is in it at once.
SELECT add_continuous_aggregate_policy(
    rollup, start_offset => NULL, end_offset => schedule, schedule_interval => schedule,
    initial_start => date_trunc('hour', now()) + interval '1 hour' + delay
) FROM (VALUES
    ('sungrow_quarter_hourly', interval '1 hour', interval '5 minutes'),
    ('p1_quarter_hourly', '1 hour', '6 minutes'),
    ('sungrow_hourly', '1 hour', '10 minutes'),
    ('p1_hourly', '1 hour', '11 minutes'),
    ('sungrow_daily', '1 day', '20 minutes'),
    ('p1_daily', '1 day', '21 minutes'),
    ('sungrow_monthly', '1 day', '30 minutes'),
    ('p1_monthly', '1 day', '31 minutes')
) AS policy (rollup, schedule, delay);

INSERT INTO schema_settings VALUES ('rollups', 'continuous aggregates')
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
