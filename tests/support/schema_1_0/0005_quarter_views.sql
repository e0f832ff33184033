-- requires: timescaledb, no continuous aggregates
-- run again: for another zone
-- The quarters of the views with TimescaleDB's own first() and last(), which both editions have:
-- a look-up in a hypertable would ask every chunk.

CREATE OR REPLACE VIEW sungrow_quarter_hourly AS
SELECT device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
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
FROM sungrow_samples GROUP BY 1, 2;

CREATE OR REPLACE VIEW p1_quarter_hourly AS
SELECT device_id, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z') AS bucket,
    count(*) AS sample_count,
    avg(power_w)::double precision AS avg_power_w,
    max(power_w) AS max_power_w,
    avg(import_power_w)::double precision AS avg_import_power_w,
    count(DISTINCT date_bin('1 minute', ts, '2020-01-01T00:00:00Z'))::integer AS covered_minutes,
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
FROM p1_samples GROUP BY 1, 2;
