-- requires: continuous aggregates
-- Chunks older than 100 days are compressed, a device's samples together. They stay writable.

ALTER TABLE sungrow_samples SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'device_id',
    timescaledb.compress_orderby = 'ts'
);
ALTER TABLE p1_samples SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'device_id',
    timescaledb.compress_orderby = 'ts'
);
SELECT add_compression_policy('sungrow_samples', interval '100 days');
SELECT add_compression_policy('p1_samples', interval '100 days');
