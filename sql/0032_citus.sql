-- requires: no timescaledb, citus
-- All that a device brings, and all that is kept of it, is on the worker of that device. What only
-- migrations write stays where they run: its readers are on the coordinator.

-- An answered sample must survive a power cut of its worker too, whatever is the default there: what
-- the API asks of the coordinator does not reach it.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET synchronous_commit = on', current_database());
END $$;

-- Citus copies the views of a table to the workers with it, and can not while a view is also one of
-- a table that is not distributed yet.
DROP VIEW sungrow_quarter_hourly, p1_quarter_hourly, sungrow_devices, p1_devices CASCADE;

-- What runs on the workers and was made before Citus was here; the rest it copies itself.
SELECT create_distributed_function(oid::regprocedure)
FROM pg_proc WHERE proowner = current_user::regrole AND pronamespace = current_schema()::regnamespace
    AND prokind IN ('f', 'a') AND proname ~ '^(counter|covered|gauge|local)_|^rollup_(start|end)$'
    AND NOT EXISTS (SELECT FROM pg_dist_object WHERE objid = pg_proc.oid)
ORDER BY oid;

-- Functions are made after tables in one transaction, over one connection to each node.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';
SELECT create_distributed_table('rollup_state', 'device_id');
SELECT create_distributed_table(pg_class.oid::regclass, 'device_id', colocate_with => 'rollup_state')
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'device_id'
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> 'rollup_state';

-- The devices of a kind can not be looked up one after the other in all shards, so whatever stores
-- their samples names them.
INSERT INTO rollup_state
SELECT DISTINCT device_id, 'sungrow', '-infinity'::timestamptz, '-infinity'::timestamptz FROM sungrow_samples
ON CONFLICT DO NOTHING;
INSERT INTO rollup_state
SELECT DISTINCT device_id, 'p1', '-infinity'::timestamptz, '-infinity'::timestamptz FROM p1_samples
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION rollup_marked(of_kind text, device text) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    marked timestamptz := (
        SELECT marked_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    );
BEGIN
    IF marked IS NULL THEN
        INSERT INTO rollup_state VALUES (device, of_kind, '-infinity', '-infinity')
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN coalesce(marked, '-infinity');
END $$;

DO $make$
DECLARE
    kind text; level record;
BEGIN
    FOREACH kind IN ARRAY ARRAY['sungrow', 'p1'] LOOP
        EXECUTE format('CREATE VIEW %1$s_devices AS'
            ' SELECT device_id FROM rollup_state WHERE kind = %1$L', kind);
        FOR level IN SELECT * FROM rollup_levels() LOOP
            PERFORM rollup_make_view(kind, level.name, level.unit);
        END LOOP;
        EXECUTE format($$
            CREATE VIEW %1$s_hourly AS
            SELECT device_id, date_trunc('hour', part.bucket, %2$L) AS bucket, %3$s
            FROM %1$s_quarter_hourly AS part GROUP BY 1, 2
        $$, kind, :'hour_zone', rollup_wider(kind));
    END LOOP;
END $make$;
