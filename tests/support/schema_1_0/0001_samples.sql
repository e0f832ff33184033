-- The samples as they arrive, one row per device and time; the fields are those of
-- edge_agent/samples.py. NULL means not measured, never 0.

CREATE TABLE sungrow_samples (
    device_id text NOT NULL,
    ts timestamptz NOT NULL,
    pv_power_w double precision NOT NULL,
    pv_daily_kwh double precision,
    battery_power_w double precision,  -- + charging, - discharging
    battery_soc_pct double precision,
    battery_temp_c double precision,
    load_power_w double precision NOT NULL,
    export_power_w double precision,  -- + to the grid, - from the grid
    sample_count integer NOT NULL DEFAULT 1,
    pv_total_kwh double precision,
    import_total_kwh double precision,
    export_total_kwh double precision,
    charge_total_kwh double precision,
    discharge_total_kwh double precision,
    mppt1_voltage_v double precision,
    mppt1_current_a double precision,
    mppt2_voltage_v double precision,
    mppt2_current_a double precision,
    battery_soh_pct double precision,
    inverter_temp_c double precision,
    grid_frequency_hz double precision,
    running_state integer,
    PRIMARY KEY (device_id, ts)
);

CREATE TABLE p1_samples (
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
    PRIMARY KEY (device_id, ts)
);
