-- requires: continuous aggregates
-- Chunks older than a week are compressed, a device's samples together. They stay writable.
DO $$
DECLARE
    samples text;
BEGIN
    FOREACH samples IN ARRAY ARRAY['sungrow_samples', 'p1_samples'] LOOP
        IF NOT EXISTS (
            SELECT FROM timescaledb_information.hypertables
            WHERE hypertable_schema = current_schema() AND hypertable_name = samples
                AND compression_enabled
        ) THEN
            EXECUTE format(
                'ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_orderby = ''ts'','
                ' timescaledb.compress_segmentby = ''device_id'')', samples
            );
        END IF;
        PERFORM remove_compression_policy(samples::regclass, if_exists => true);
        PERFORM add_compression_policy(samples::regclass, interval '7 days');
    END LOOP;
END $$;
