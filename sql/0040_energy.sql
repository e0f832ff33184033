-- The energy of counters for whoever reads the database without the API, by the rule of
-- api_server/data/counters.py.

-- The readings of a counter that matter: of each rollup whose readings follow one another and
-- those before, the first and the last; of the others all.
CREATE FUNCTION rollup_points(
    of_kind text, device text, counter text, level text, since timestamptz, until timestamptz,
    last counter_span DEFAULT NULL
) RETURNS TABLE (at timestamptz, kwh double precision) LANGUAGE plpgsql STABLE AS $$
DECLARE
    part record;
BEGIN
    IF level = 'samples' THEN
        RETURN QUERY EXECUTE (
            SELECT string_agg(format(
                'SELECT ts, %1$I FROM %2$I WHERE device_id = $1 AND ts >= $2 AND ts < $3'
                ' AND %1$I IS NOT NULL', counter || '_kwh', of_kind || table_name), ' UNION ')
            FROM unnest(ARRAY['_samples', '_kept_readings']) AS table_name
        ) || ' ORDER BY ts' USING device, since, until;
        RETURN;
    END IF;
    FOR part IN EXECUTE format($query$
        SELECT bucket, span, before,
            steady AND coalesce(lag(steady) OVER (ORDER BY bucket), true) AS steady
        FROM (
            SELECT *, (span).state < 2 AND coalesce(
                (span).first_kwh - (before).last_kwh BETWEEN 0
                    AND counter_limit((before).last_ts, (span).first_ts, %2$s), true
            ) AS steady
            FROM (
                SELECT bucket, %1$I AS span, coalesce(lag(%1$I) OVER (ORDER BY bucket), $4) AS before
                FROM %3$I($1, $2, $3) WHERE %1$I IS NOT NULL
            ) AS pair
        ) AS judged ORDER BY bucket
    $query$, counter, (SELECT rule FROM rollup_counters(of_kind) WHERE name = counter),
        of_kind || '_read_' || level) USING device, since, until, last
    LOOP
        IF part.steady THEN
            RETURN QUERY VALUES ((part.span).first_ts, (part.span).first_kwh),
                ((part.span).last_ts, (part.span).last_kwh);
        ELSE
            RETURN QUERY SELECT * FROM rollup_points(
                of_kind, device, counter,
                CASE level WHEN 'daily' THEN 'quarter_hourly' ELSE 'samples' END, part.bucket,
                rollup_end(CASE level WHEN 'daily' THEN 'day' ELSE 'quarter' END, part.bucket),
                part.before
            );
        END IF;
    END LOOP;
END $$;

-- A counter as it would read if it had never fallen or jumped, from 0 on.
CREATE FUNCTION rollup_line(
    of_kind text, device text, counter text, since timestamptz, until timestamptz
) RETURNS TABLE (at timestamptz, kwh double precision) LANGUAGE plpgsql STABLE AS $$
DECLARE
    rule double precision[] := (
        SELECT string_to_array(one.rule, ', ') FROM rollup_counters(of_kind) AS one
        WHERE name = counter
    );
    base_at timestamptz; base double precision; risen double precision := 0;
    times timestamptz[] := '{}'; readings double precision[] := '{}';  -- the candidate
    point record; number integer;
BEGIN
    FOR point IN SELECT * FROM rollup_points(of_kind, device, counter, 'daily', since, until) LOOP
        IF base IS NULL OR point.kwh - base
            BETWEEN 0 AND counter_limit(base_at, point.at, rule[1], rule[2]) THEN
            risen := risen + coalesce(point.kwh - base, 0);
            base := point.kwh; base_at := point.at; times := '{}'; readings := '{}';
            at := point.at; kwh := risen;
            RETURN NEXT;
            CONTINUE;
        END IF;
        number := cardinality(times);
        IF number > 0 AND point.kwh - readings[number]
            NOT BETWEEN 0 AND counter_limit(times[number], point.at, rule[1], rule[2]) THEN
            times := '{}'; readings := '{}';
        END IF;
        times := times || point.at; readings := readings || point.kwh;
        CONTINUE WHEN point.at - times[1] < interval '15 minutes'
            OR point.kwh = readings[1] AND readings[1] >= 0.9 * base;
        IF readings[1] < 0.9 * base
            AND readings[1] <= counter_limit(base_at, times[1], rule[1], rule[2]) THEN
            risen := risen + readings[1];  -- it began anew
        END IF;
        FOR number IN 1 .. cardinality(times) LOOP
            at := times[number]; kwh := risen + readings[number] - readings[1];
            RETURN NEXT;
        END LOOP;
        risen := kwh; base := point.kwh; base_at := point.at; times := '{}'; readings := '{}';
    END LOOP;
END $$;

-- The energy of each local day or month that begins before `until`, from that of `since` on, where
-- it is known. The counter is followed from the months before to the first reading afterwards.
CREATE FUNCTION rollup_energy(
    of_kind text, device text, counter text, unit text, since timestamptz, until timestamptz
) RETURNS TABLE (bucket timestamptz, kwh double precision) LANGUAGE plpgsql STABLE AS $$
DECLARE
    edges timestamptz[] := ARRAY[rollup_start(unit, since)];
    months timestamptz[]; later timestamptz[];
BEGIN
    WHILE edges[cardinality(edges)] < until LOOP
        edges := edges || rollup_end(unit, edges[cardinality(edges)]);
    END LOOP;
    -- A month in which the range begins or ends may have no reading outside of it: two are enough.
    EXECUTE format($query$
        SELECT array_agg(bucket ORDER BY bucket DESC) FILTER (WHERE bucket < $2),
            array_agg(bucket ORDER BY bucket) FILTER (WHERE bucket >= rollup_start('month', $3))
        FROM %I($1, '-infinity', 'infinity')
    $query$, of_kind || '_read_monthly') INTO months, later
    USING device, edges[1], edges[cardinality(edges)];
    RETURN QUERY
    WITH line AS MATERIALIZED (
        SELECT point.at, point.kwh, lead(point.at) OVER ordered AS next_at,
            lead(point.kwh) OVER ordered AS next_kwh
        FROM rollup_line(
            of_kind, device, counter, coalesce(months[2], months[1], edges[1]),
            coalesce(rollup_end('month', coalesce(later[2], later[1])), edges[cardinality(edges)])
        ) AS point
        WINDOW ordered AS (ORDER BY point.at, point.kwh)
    ), ends AS (
        SELECT min(line.at) AS first_at, max(line.at) AS last_at, min(line.kwh) AS first_kwh,
            max(line.kwh) AS last_kwh FROM line
    ), value AS (
        SELECT edge, CASE WHEN edge < first_at THEN first_kwh WHEN edge >= last_at THEN last_kwh
            ELSE (
                SELECT line.kwh + (line.next_kwh - line.kwh)
                    * (extract(epoch FROM edge - line.at) / extract(epoch FROM next_at - line.at))
                FROM line WHERE line.at <= edge AND line.next_at > edge
            ) END AS kwh
        FROM unnest(edges) AS edge, ends
    ), passed AS (
        SELECT edge, lead(edge) OVER (ORDER BY edge) AS next_edge,
            lead(value.kwh) OVER (ORDER BY edge) - value.kwh AS kwh
        FROM value
    )
    SELECT edge, greatest(0, round(passed.kwh::numeric, 6))::double precision
    FROM passed, ends WHERE next_edge > first_at AND edge <= last_at ORDER BY edge;
END $$;

-- What a house took and gave in each local day or month, as its balance says. An inverter that
-- never told of a battery has none; what is not known of all others is not known of the house.
CREATE FUNCTION house_energy(
    meter text, inverters text[], unit text, since timestamptz, until timestamptz
) RETURNS TABLE (
    bucket timestamptz, pv_kwh double precision, grid_import_kwh double precision,
    grid_export_kwh double precision, charge_kwh double precision,
    discharge_kwh double precision, consumption_kwh double precision
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    batteries text[] := ARRAY(
        SELECT one FROM unnest(inverters) AS one WHERE EXISTS (
            SELECT FROM sungrow_read_monthly(one, '-infinity', 'infinity')
            WHERE charge_total IS NOT NULL OR discharge_total IS NOT NULL
        )
    );
    nothing double precision := CASE WHEN batteries = '{}' THEN 0 END;
BEGIN
    RETURN QUERY
    WITH told AS (
        SELECT energy.bucket, counter, kwh FROM (
            SELECT 'p1' AS kind, meter AS device, unnest(ARRAY['energy_import', 'energy_export'])
            UNION ALL SELECT 'sungrow', unnest(inverters), 'pv_total'
            UNION ALL SELECT 'sungrow', unnest(batteries), 'charge_total'
            UNION ALL SELECT 'sungrow', unnest(batteries), 'discharge_total'
        ) AS line (kind, device, counter),
            rollup_energy(kind, device, counter, unit, since, until) AS energy
    ), sums AS (
        SELECT told.bucket, sum(kwh) FILTER (WHERE counter = 'energy_import') AS bought,
            sum(kwh) FILTER (WHERE counter = 'energy_export') AS sold,
            CASE count(*) FILTER (WHERE counter = 'pv_total') WHEN cardinality(inverters)
                THEN sum(kwh) FILTER (WHERE counter = 'pv_total') END AS pv,
            CASE count(*) FILTER (WHERE counter = 'charge_total') WHEN cardinality(batteries)
                THEN coalesce(sum(kwh) FILTER (WHERE counter = 'charge_total'), nothing)
            END AS charge,
            CASE count(*) FILTER (WHERE counter = 'discharge_total') WHEN cardinality(batteries)
                THEN coalesce(sum(kwh) FILTER (WHERE counter = 'discharge_total'), nothing)
            END AS discharge
        FROM told GROUP BY 1
    ), taken AS (
        SELECT *, pv + bought + discharge - sold - charge AS kwh FROM sums
    )
    SELECT taken.bucket, pv, bought, sold, charge, discharge, CASE WHEN kwh < 0 THEN 0 ELSE kwh END
    FROM taken ORDER BY 1;
END $$;
