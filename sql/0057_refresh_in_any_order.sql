-- requires: no continuous aggregates
-- Keeps anew what the marks of a device name, and all that is not kept below `until`.

CREATE OR REPLACE FUNCTION rollup_refresh(of_kind text, device text, until timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    marks bigint[]; gaps jsonb := '{}'; gap tstzrange; level record;
BEGIN
    PERFORM FROM rollup_state WHERE device_id = device AND kind = of_kind FOR UPDATE;
    -- More may be kept already, by another refresh or before a clock went back. All marks of that
    -- are deleted, so whatever they name has to be kept anew.
    until := greatest(until, (
        SELECT kept_until FROM rollup_state WHERE device_id = device AND kind = of_kind
    ));
    -- Marks that come after this stay, though their quarters may be in the gaps as well.
    marks := ARRAY(SELECT number FROM rollup_marks WHERE device_id = device AND kind = of_kind);
    FOR level IN SELECT * FROM rollup_levels() LOOP
        gaps := gaps || jsonb_build_object(level.name, rollup_gaps(
            of_kind, device, level.unit, '-infinity', rollup_start(level.unit, until)
        )::text);
    END LOOP;
    DELETE FROM rollup_marks
    WHERE device_id = device AND kind = of_kind AND number = ANY (marks);
    UPDATE rollup_state SET kept_until = until
    WHERE device_id = device AND kind = of_kind;
    FOR level IN SELECT *, of_kind || '_kept_' || name AS kept FROM rollup_levels() LOOP
        FOR gap IN SELECT unnest((gaps ->> level.name)::tstzmultirange) LOOP
            EXECUTE format(
                'DELETE FROM %I WHERE device_id = $1 AND bucket >= $2 AND bucket < $3', level.kept
            ) USING device, lower(gap), upper(gap);
            EXECUTE format(
                'INSERT INTO %I SELECT * FROM %I($1, $2, $3)',
                level.kept, of_kind || '_live_' || level.name
            ) USING device, lower(gap), upper(gap);
        END LOOP;
    END LOOP;
END $$;
