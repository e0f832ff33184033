-- requires: no timescaledb, citus
-- What looks at many devices goes on while a node is away, with the devices of the others.

-- Those of some devices whose node answers.
CREATE FUNCTION reachable(devices text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    away integer[] := ARRAY(
        SELECT groupid FROM run_command_on_workers('SELECT 1') AS told
        JOIN pg_dist_node AS node USING (nodename, nodeport) WHERE NOT told.success
    );
BEGIN
    RETURN QUERY SELECT device FROM unnest(devices) AS device WHERE away = '{}' OR NOT EXISTS (
        SELECT FROM pg_dist_placement AS place WHERE groupid = ANY (away)
        AND shardid = get_shard_id_for_distribution_column('rollup_state', device)
    );
END $$;

-- Devices of a kind that have something to be kept below a time, and until when they are kept; a
-- device that is NULL stands for those of a shard that can not be asked now.
CREATE FUNCTION rollup_due(of_kind text, until timestamptz)
RETURNS TABLE (device text, kept timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    marked text[] := ARRAY(
        SELECT json_array_elements_text(result::json)
        FROM run_command_on_shards('rollup_marks', format(
            'SELECT coalesce(json_agg(DISTINCT device_id), ''[]'') FROM %%s WHERE kind = %L', of_kind
        )) WHERE success
    );
BEGIN
    RETURN QUERY
    SELECT name, kept_until::timestamptz FROM run_command_on_shards('rollup_state', format(
        'SELECT coalesce(json_object_agg(device_id, kept_until), ''{}'') FROM %%s WHERE kind = %L',
        of_kind
    )) LEFT JOIN LATERAL json_each_text(
        CASE WHEN success THEN result ELSE '{}' END::json
    ) AS state (name, kept_until) ON true
    WHERE NOT success OR kept_until::timestamptz < until OR name = ANY (marked);
END $$;
