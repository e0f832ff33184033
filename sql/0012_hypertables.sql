-- requires: timescaledb
-- The samples as hypertables: chunks of a week, which keep inserts and indexes small.

CREATE EXTENSION IF NOT EXISTS timescaledb;

SELECT create_hypertable(
    samples, 'ts', chunk_time_interval => interval '7 days', migrate_data => true,
    create_default_indexes => false, if_not_exists => true
) FROM unnest(ARRAY['sungrow_samples', 'p1_samples']::regclass[]) AS samples;

-- Of samples that are older than they are to be kept, whole chunks.
CREATE PROCEDURE rollup_drop_chunks(of_kind text, before timestamptz, days integer)
LANGUAGE plpgsql AS $$ BEGIN
    PERFORM :"extension".drop_chunks(format('%s_samples', of_kind)::regclass, before);
END $$;
