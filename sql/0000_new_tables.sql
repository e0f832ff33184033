-- requires: no tables of samples
-- The tables of 0011 as a new database gets them: with the columns in an order that needs no padding
-- between them, the device last because its length is any. A device's samples come in order of time, so
-- the pages of an index need no room for what comes between.

CREATE TABLE sungrow_samples (
    ts timestamptz NOT NULL,
    pv_power_w real NOT NULL,
    pv_daily_kwh real,
    battery_power_w real,
    battery_soc_pct real,
    battery_temp_c real,
    load_power_w real,
    export_power_w real,
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
    device_id text NOT NULL,
    alarms text,
    PRIMARY KEY (device_id, ts) WITH (fillfactor = 100)
);

CREATE TABLE p1_samples (
    ts timestamptz NOT NULL,
    power_w integer NOT NULL,
    import_power_w integer NOT NULL,
    energy_import_kwh double precision,
    energy_export_kwh double precision,
    average_power_15m_w integer,
    monthly_power_peak_w integer,
    monthly_power_peak_ts timestamptz,
    energy_import_t1_kwh double precision,
    energy_import_t2_kwh double precision,
    energy_export_t1_kwh double precision,
    energy_export_t2_kwh double precision,
    tariff smallint,
    device_id text NOT NULL,
    PRIMARY KEY (device_id, ts) WITH (fillfactor = 100)
);
