-- requires: continuous aggregates
-- run again: for another zone
-- Samples that come late are in every rollup within half an hour, so that hours add up to days:
-- a refresh with nothing to do takes milliseconds. Children come first, by these minutes; the
-- first time, when everything is due, they have the longer start that they were made with.
DO $$
DECLARE
    rollup record;
BEGIN
    FOR rollup IN
        SELECT cagg.*, minute FROM timescaledb_information.continuous_aggregates AS cagg
        JOIN (VALUES ('quarter_hourly', 0), ('hourly', 3), ('daily', 6), ('monthly', 8))
            AS clock (width, minute) ON view_name IN ('sungrow_' || width, 'p1_' || width)
        WHERE view_schema = current_schema()
    LOOP
        -- TimescaleDB 2.18 and 2.19 name a policy by the table below the view.
        PERFORM alter_job(
            job_id, schedule_interval => interval '10 minutes', next_start => initial_start,
            initial_start => date_trunc('hour', initial_start) + rollup.minute * interval '1 minute'
        ) FROM timescaledb_information.jobs
        WHERE proc_name = 'policy_refresh_continuous_aggregate'
            AND (hypertable_schema, hypertable_name) IN (
                (rollup.view_schema, rollup.view_name),
                (rollup.materialization_hypertable_schema, rollup.materialization_hypertable_name)
            );
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the refresh policy of % is not found', rollup.view_name;
        END IF;
    END LOOP;
END $$;
