-- The samples as they arrive, one row per device and time; the fields are those of
-- edge_agent/shared/samples.py. NULL means not measured, never 0. Gauges have seven digits.

CREATE TABLE IF NOT EXISTS sungrow_samples (
    device_id text NOT NULL,
    ts timestamptz NOT NULL,
    pv_power_w real NOT NULL,
    pv_daily_kwh real,
    battery_power_w real,  -- + charging, - discharging
    battery_soc_pct real,
    battery_temp_c real,
    load_power_w real,
    export_power_w real,  -- + to the grid, - from the grid
    sample_count integer NOT NULL DEFAULT 1,
    pv_total_kwh double precision,
    import_total_kwh double precision,
    export_total_kwh double precision,
    charge_total_kwh double precision,
    discharge_total_kwh double precision,
    mppt1_voltage_v real,
    mppt1_current_a real,
    mppt2_voltage_v real,
    mppt2_current_a real,
    battery_soh_pct real,
    inverter_temp_c real,
    grid_frequency_hz real,
    running_state integer,
    battery_capacity_kwh real,
    alarms text,
    PRIMARY KEY (device_id, ts)
);

CREATE TABLE IF NOT EXISTS p1_samples (
    device_id text NOT NULL,
    ts timestamptz NOT NULL,
    power_w integer NOT NULL,  -- + import, - export
    import_power_w integer NOT NULL,
    energy_import_kwh double precision,
    energy_export_kwh double precision,
    average_power_15m_w integer,
    monthly_power_peak_w integer,
    monthly_power_peak_ts timestamptz,
    tariff integer,
    energy_import_t1_kwh double precision,
    energy_import_t2_kwh double precision,
    energy_export_t1_kwh double precision,
    energy_export_t2_kwh double precision,
    PRIMARY KEY (device_id, ts)
);

-- What the tables of an older version lack; they keep their types.
ALTER TABLE sungrow_samples ALTER COLUMN load_power_w DROP NOT NULL;
ALTER TABLE sungrow_samples ADD COLUMN IF NOT EXISTS battery_capacity_kwh real;
ALTER TABLE sungrow_samples ADD COLUMN IF NOT EXISTS alarms text;
ALTER TABLE p1_samples ADD COLUMN IF NOT EXISTS energy_import_t1_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN IF NOT EXISTS energy_import_t2_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN IF NOT EXISTS energy_export_t1_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN IF NOT EXISTS energy_export_t2_kwh double precision;
