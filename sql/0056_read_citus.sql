-- requires: no timescaledb, citus
-- The same for tables that are distributed.

SELECT rollup_make_read(kind, level.name, unit, 'kept_' || level.name)
FROM unnest(ARRAY['sungrow', 'p1']) AS kind, rollup_levels() AS level;
