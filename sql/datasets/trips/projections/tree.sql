-- The origins of the trips as a packed R-tree that counts: whoever asks for a box goes down only where
-- its edges cut a node.
-- Trips lie in the order of a Morton curve, 76 to a leaf: four of those fill a page. Eight nodes of a
-- level are one of the next, whose number is an eighth of theirs; those of different regions and slices
-- differ. A leaf, level 0, has its trips. A higher node has the trips of each week and of each flow.
-- An end is a destination to a tenth of a degree and a quarter of the day; a flow is an end with an origin
-- to a tenth of a degree.
-- columns: level, region, node, west, south, east, north, lons, lats, ends, weeks, trips_of_weeks, flows, trips_of_flows
-- slice: origin_lon
-- index: level, node
WITH spread AS (
    -- The numbers below 2048, a zero bit before each of theirs.
    SELECT array_agg(
        (SELECT CAST(sum(CAST((n >> bit) & 1 AS bigint) << (2 * bit)) AS bigint) FROM generate_series(0, 10) AS bit)
        ORDER BY n
    ) AS bits
    FROM generate_series(0, 2047) AS n
),
trips AS MATERIALIZED (
    SELECT
        (((_slice << 15) | region) << 21)
        | ((row_number() OVER (
            PARTITION BY region
            ORDER BY (bits[(x >> 11) + 1] << 23) | (bits[(y >> 11) + 1] << 22)
                | (bits[(x & 2047) + 1] << 1) | bits[(y & 2047) + 1]
        ) - 1) / 76) AS leaf,
        lon, lat, week, trip_end, origin
    FROM (
        SELECT
            _slice,
            region,
            origin_lon AS lon,
            origin_lat AS lat,
            CAST((origin_lon + 180) * 11650 AS integer) AS x,
            CAST((origin_lat + 90) * 11650 AS integer) AS y,
            CAST(date_trunc('week', started_at) AS date) AS week,
            (CAST(round(origin_lon / 0.1::double precision) AS bigint) + 1800) * 2048
            + CAST(round(origin_lat / 0.1::double precision) AS bigint) + 900 AS origin,
            (CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
            + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
            + CAST(extract(hour FROM started_at) AS integer) / 6 AS trip_end
        FROM rows
    ) AS placed, spread
),
leaves AS MATERIALIZED (
    SELECT
        leaf,
        min(lon) AS west, min(lat) AS south, max(lon) AS east, max(lat) AS north,
        array_agg(lon) AS lons, array_agg(lat) AS lats, array_agg(trip_end) AS ends, array_agg(week) AS weeks
    FROM trips
    GROUP BY leaf
),
boxes AS (
    SELECT level, leaf >> (3 * level) AS node, min(west) AS west, min(south) AS south, max(east) AS east, max(north) AS north
    FROM leaves, generate_series(1, 5) AS level
    GROUP BY 1, 2
),
by_week AS (
    SELECT level, node, array_agg(week) AS weeks, array_agg(CAST(trips AS integer)) AS trips_of_weeks
    FROM (
        SELECT level, node >> (3 * (level - 1)) AS node, week, sum(trips) AS trips
        FROM (SELECT leaf >> 3 AS node, week, count(*) AS trips FROM trips GROUP BY 1, 2) AS lowest,
            generate_series(1, 5) AS level
        GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY level, node
),
by_flow AS (
    SELECT level, node, array_agg(flow) AS flows, array_agg(CAST(trips AS integer)) AS trips_of_flows
    FROM (
        SELECT level, node >> (3 * (level - 1)) AS node, flow, sum(trips) AS trips
        FROM (
            SELECT leaf >> 3 AS node, (origin << 25) | trip_end AS flow, count(*) AS trips FROM trips GROUP BY 1, 2
        ) AS lowest, generate_series(1, 5) AS level
        GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY level, node
)
SELECT
    0 AS level, CAST((leaf >> 21) & 32767 AS smallint) AS region, leaf AS node, west, south, east, north,
    lons, lats, ends, weeks,
    CAST(NULL AS integer[]) AS trips_of_weeks, CAST(NULL AS bigint[]) AS flows, CAST(NULL AS integer[]) AS trips_of_flows
FROM leaves
UNION ALL
SELECT
    level, CAST((node >> (21 - 3 * level)) & 32767 AS smallint), node, west, south, east, north,
    NULL, NULL, NULL, weeks, trips_of_weeks, flows, trips_of_flows
FROM boxes JOIN by_week USING (level, node) JOIN by_flow USING (level, node)
ORDER BY level, node
