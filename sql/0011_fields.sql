-- What devices tell beside the rest, and a load that may be unknown.
ALTER TABLE sungrow_samples ALTER COLUMN load_power_w DROP NOT NULL;
ALTER TABLE sungrow_samples ADD COLUMN battery_capacity_kwh real;
ALTER TABLE sungrow_samples ADD COLUMN alarms text;
ALTER TABLE p1_samples ADD COLUMN energy_import_t1_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN energy_import_t2_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN energy_export_t1_kwh double precision;
ALTER TABLE p1_samples ADD COLUMN energy_export_t2_kwh double precision;
