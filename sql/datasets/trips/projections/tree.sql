-- The origins of the trips as a packed R-tree with counts: a search for a box descends only where an edge
-- of the box cuts a node.
-- Trips are in the order of a Hilbert curve, 76 to a leaf, so four leaves fill a page. Four nodes of a level
-- make one of the next, whose number is a quarter of theirs; regions and slices have separate numbers. A
-- leaf, level 0, has its trips. A higher node has the number of trips of each week and of each flow. An end
-- is a destination to a tenth of a degree and a quarter of the day; a flow is an end with an origin to a
-- tenth of a degree.
-- columns: level, region, node, west, south, east, north, lons, lats, ends, weeks, trips_of_weeks, flows, trips_of_flows
-- slice: origin_lon
-- index: level, node
WITH RECURSIVE step (start, depth, x, y, place, state) AS (
    -- The next six levels of a Hilbert curve: the place of a cell on it, and the state for the next level.
    SELECT start, 0, 0, 0, 0, start FROM generate_series(0, 3) AS start
    UNION ALL
    SELECT
        start, depth + 1, 2 * x + bit_x, 2 * y + bit_y, 4 * place + ((3 * turned_x) # turned_y),
        CASE WHEN turned_y = 0 THEN state # (2 * turned_x + 1) ELSE state END
    FROM step, (VALUES (0, 0), (0, 1), (1, 0), (1, 1)) AS bits (bit_x, bit_y), LATERAL (SELECT
        (CASE WHEN state & 1 = 0 THEN bit_x ELSE bit_y END) # (state >> 1) AS turned_x,
        (CASE WHEN state & 1 = 0 THEN bit_y ELSE bit_x END) # (state >> 1) AS turned_y) AS turned
    WHERE depth < 6
),
curve AS MATERIALIZED (
    SELECT array_agg(4 * place + state ORDER BY start, x, y) AS steps FROM step WHERE depth = 6
),
placed AS MATERIALIZED (
    SELECT
        _slice,
        region,
        origin_lon AS lon,
        origin_lat AS lat,
        CAST(date_trunc('week', started_at) AS date) AS week,
        (CAST(round(origin_lon / 0.1::double precision) AS bigint) + 1800) * 2048
        + CAST(round(origin_lat / 0.1::double precision) AS bigint) + 900 AS origin,
        (CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
        + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
        + CAST(extract(hour FROM started_at) AS integer) / 6 AS trip_end
    FROM rows
),
extent AS MATERIALIZED (
    SELECT west, south, 262143 / greatest(east - west, north - south, 1e-9) AS scale
    FROM (
        SELECT min(lon) AS west, min(lat) AS south, max(lon) AS east, max(lat) AS north FROM placed
    ) AS edges
),
trips AS MATERIALIZED (
    SELECT
        (((_slice << 15) | region) << 21) | ((row_number() OVER (
            PARTITION BY region
            ORDER BY (CAST(first >> 2 AS bigint) << 24) | ((second >> 2) << 12)
                | (steps[((second & 3) << 12) + ((x & 63) << 6) + (y & 63) + 1] >> 2)
        ) - 1) / 76) AS leaf,
        lon, lat, week, trip_end, origin
    FROM (
        SELECT
            *,
            steps[((first & 3) << 12) + (((x >> 6) & 63) << 6) + ((y >> 6) & 63) + 1] AS second
        FROM (
            SELECT *, steps[((x >> 12) << 6) + (y >> 12) + 1] AS first
            FROM (
                SELECT
                    placed.*, steps,
                    CAST((lon - west) * scale AS integer) AS x, CAST((lat - south) * scale AS integer) AS y
                FROM placed, extent, curve
            ) AS cells
        ) AS begun
        OFFSET 0
    ) AS turned
),
leaves AS MATERIALIZED (
    SELECT
        leaf,
        min(lon) AS west, min(lat) AS south, max(lon) AS east, max(lat) AS north,
        array_agg(lon) AS lons, array_agg(lat) AS lats, array_agg(trip_end) AS ends, array_agg(week) AS weeks
    FROM trips
    GROUP BY leaf
),
by_week AS (
    SELECT level, node, array_agg(week) AS weeks, array_agg(CAST(trips AS integer)) AS trips_of_weeks
    FROM (
        SELECT level, node >> (2 * (level - 1)) AS node, week, sum(trips) AS trips
        FROM (SELECT leaf >> 2 AS node, week, count(*) AS trips FROM trips GROUP BY 1, 2) AS lowest,
            generate_series(1, 7) AS level
        GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY level, node
),
by_flow AS (
    SELECT level, node, array_agg(flow) AS flows, array_agg(CAST(trips AS integer)) AS trips_of_flows
    FROM (
        SELECT level, node >> (2 * (level - 1)) AS node, flow, sum(trips) AS trips
        FROM (
            SELECT leaf >> 2 AS node, (origin << 25) | trip_end AS flow, count(*) AS trips FROM trips GROUP BY 1, 2
        ) AS lowest, generate_series(1, 7) AS level
        GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY level, node
),
-- The facts of each node, each kind in a row; aggregated below, because the planner misestimates a join.
parts AS (
    SELECT
        level, leaf >> (2 * level) AS node,
        min(west) AS west, min(south) AS south, max(east) AS east, max(north) AS north,
        CAST(NULL AS date[]) AS weeks, CAST(NULL AS integer[]) AS trips_of_weeks,
        CAST(NULL AS bigint[]) AS flows, CAST(NULL AS integer[]) AS trips_of_flows
    FROM leaves, generate_series(1, 7) AS level
    GROUP BY 1, 2
    UNION ALL
    SELECT level, node, NULL, NULL, NULL, NULL, weeks, trips_of_weeks, NULL, NULL FROM by_week
    UNION ALL
    SELECT level, node, NULL, NULL, NULL, NULL, NULL, NULL, flows, trips_of_flows FROM by_flow
)
SELECT
    0 AS level, CAST((leaf >> 21) & 32767 AS smallint) AS region, leaf AS node, west, south, east, north,
    lons, lats, ends, weeks,
    CAST(NULL AS integer[]) AS trips_of_weeks, CAST(NULL AS bigint[]) AS flows, CAST(NULL AS integer[]) AS trips_of_flows
FROM leaves
UNION ALL
SELECT
    level, CAST((node >> (21 - 2 * level)) & 32767 AS smallint), node, min(west), min(south), max(east), max(north),
    NULL, NULL, NULL, max(weeks), max(trips_of_weeks), max(flows), max(trips_of_flows)
FROM parts
GROUP BY level, node
ORDER BY level, node
