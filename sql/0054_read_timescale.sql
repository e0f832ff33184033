-- requires: timescaledb
-- The same for hypertables, if these functions were made before they were.

SELECT rollup_make_read(kind, level.name, unit, 'kept_' || level.name)
FROM unnest(ARRAY['sungrow', 'p1']) AS kind, rollup_levels() AS level;
