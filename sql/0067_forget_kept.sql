-- requires: no continuous aggregates
-- What is older than a device's samples can not be made anew, so it stays: they may have been dropped.

CREATE OR REPLACE FUNCTION rollup_forget(since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    level record; state record; oldest timestamptz; anew timestamptz;
BEGIN
    FOR state IN SELECT device_id, kind FROM rollup_state WHERE kept_until > since LOOP
        EXECUTE format('SELECT min(ts) FROM %I WHERE device_id = $1', state.kind || '_samples')
        INTO oldest USING state.device_id;
        CONTINUE WHEN oldest IS NULL;
        anew := rollup_start('quarter', greatest(since, oldest));
        UPDATE rollup_state SET kept_until = least(kept_until, anew)
        WHERE device_id = state.device_id AND kind = state.kind;
        FOR level IN SELECT *, state.kind || '_kept_' || name AS kept FROM rollup_levels() LOOP
            EXECUTE format('DELETE FROM %I WHERE device_id = $1 AND bucket >= $2', level.kept)
            USING state.device_id, rollup_start(level.unit, anew);
        END LOOP;
    END LOOP;
END $$;
