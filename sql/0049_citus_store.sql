-- requires: no timescaledb, citus
-- Samples are stored where the device is: one command of the coordinator, in place of one for each
-- statement. So the lock of a device is there too, and who needs it alone has to go there.

-- Runs a statement about one device while nobody stores samples of it.
CREATE FUNCTION run_alone(lock integer, device text, statement text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(lock, hashtext(device));
    EXECUTE statement;
END $$;

-- Distributes what is not yet of all tables with a device, and the functions that run where it is:
-- called after each migration.
CREATE FUNCTION distribute_tables() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    -- Functions may have been made before in the transaction, over one connection to each node.
    SET LOCAL citus.multi_shard_modify_mode = 'sequential';
    PERFORM create_distributed_table(
        pg_class.oid::regclass, 'device_id', colocate_with => 'rollup_state'
    ) FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'device_id'
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
        AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = pg_class.oid);
    PERFORM create_distributed_function(oid::regprocedure) FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace
        AND proname IN ('rollup_marked', 'p1_forget_peaks')
        AND NOT EXISTS (SELECT FROM pg_dist_object WHERE objid = pg_proc.oid);
    PERFORM create_distributed_function(
        oid::regprocedure, 'device', colocate_with => 'rollup_state'
    ) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
        AND proname IN ('store_sungrow_samples', 'store_p1_samples', 'run_alone')
        AND NOT EXISTS (
            SELECT FROM pg_dist_object
            WHERE objid = pg_proc.oid AND distribution_argument_index IS NOT NULL
        );
END $$;
