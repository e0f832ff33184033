-- requires: no timescaledb, citus
-- Messages that wait for a channel, of the nodes that answer.

CREATE FUNCTION alert_messages_waiting(channel text, since timestamptz)
RETURNS TABLE (message_id uuid, title text, text text, created_ts timestamptz, device_id text)
LANGUAGE plpgsql AS $$ BEGIN
    RETURN QUERY SELECT waiting.* FROM run_command_on_shards('alert_messages', format(
        'SELECT coalesce(json_agg(message), ''[]'') FROM %%s AS message
        WHERE waiting <> ''{}'' AND %L = ANY (waiting) AND created_ts > %L', channel, since
    )), json_to_recordset(CASE WHEN success THEN result ELSE '[]' END::json) AS waiting (
        message_id uuid, title text, text text, created_ts timestamptz, device_id text
    );
END $$;
