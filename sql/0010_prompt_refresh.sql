-- requires: continuous aggregates
-- run again: for another zone
-- Samples that come late are in every rollup within half an hour, so that hours add up to days:
-- a refresh with nothing to do takes milliseconds. Children still come first, by their minutes.
SELECT alter_job(job_id, schedule_interval => interval '10 minutes', next_start => initial_start)
FROM timescaledb_information.jobs
WHERE proc_name = 'policy_refresh_continuous_aggregate' AND hypertable_schema = current_schema()
    AND hypertable_name ~ '^(sungrow|p1)_(quarter_hourly|hourly|daily|monthly)$';
