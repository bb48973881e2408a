-- Trips with similar origin, destination and time of day, as groups, the largest first.
-- Trips are similar if both ends round to the same cell of cell_size degrees and the time of day is in the
-- same bucket. The default, a tenth of a degree (7 to 11 km in Europe) and six hours, keeps
-- neighbourhoods and parts of the day apart and still groups a sparse sample.
-- param region text: Only trips of this region.
-- param min_lon number (-180..180): Western edge of a box around the origins, in degrees.
-- param min_lat number (-90..90): Southern edge of the box, in degrees.
-- param max_lon number (-180..180): Eastern edge of the box, in degrees.
-- param max_lat number (-90..90): Northern edge of the box, in degrees.
-- param cell_size number = 0.1 (0.0001..90): Side of a cell in degrees.
-- param bucket_hours number = 6 (0.25..24): Length of a time bucket in hours.
-- param min_trips integer = 1 (1..): Minimum number of trips in a group.
-- param limit integer = 100 (1..10000): Maximum number of groups.
-- needs: | min_lon min_lat max_lon max_lat
-- ascending: min_lon max_lon | min_lat max_lat
-- draw: map x=origin_lon y=origin_lat size=trips cell=cell_size label=trips_that_begin_in_the_cell
WITH RECURSIVE asked AS (
    -- Without a box it is the whole world; only groups of the default size are in the tree.
    SELECT
        coalesce(CAST(:min_lon AS double precision), '-Infinity') AS min_lon,
        coalesce(CAST(:min_lat AS double precision), '-Infinity') AS min_lat,
        coalesce(CAST(:max_lon AS double precision), 'Infinity') AS max_lon,
        coalesce(CAST(:max_lat AS double precision), 'Infinity') AS max_lat,
        :cell_size = 0.1 AND :bucket_hours = 6 AS is_usual
),
found AS (
    -- The tree from its root: a node inside the box is counted, one that an edge cuts is opened.
    SELECT
        asked.*, region, level, node, flows, trips_of_flows,
        west >= min_lon AND east <= max_lon AND south >= min_lat AND north <= max_lat AS is_within
    FROM asked JOIN trips_tree ON west <= max_lon AND east >= min_lon AND south <= max_lat AND north >= min_lat
    WHERE is_usual AND level = 7 AND (CAST(:region AS text) IS NULL OR region = :region)
    UNION ALL
    SELECT
        min_lon, min_lat, max_lon, max_lat, is_usual, region, below.level, below.node, below.flows, below.trips_of_flows,
        west >= min_lon AND east <= max_lon AND south >= min_lat AND north <= max_lat
    FROM found, LATERAL (
        SELECT level, node, flows, trips_of_flows, west, south, east, north FROM trips_tree
        WHERE trips_tree.level = found.level - 1
            AND trips_tree.node BETWEEN found.node * 4 AND found.node * 4 + 3
            AND west <= max_lon AND east >= min_lon AND south <= max_lat AND north >= min_lat
        OFFSET 0
    ) AS below
    WHERE NOT is_within AND found.level > 1
),
usual AS (
    SELECT region, flow, sum(trips) AS trips
    FROM (
        SELECT region, unnest(flows) AS flow, unnest(trips_of_flows) AS trips FROM found WHERE is_within
        UNION ALL
        -- The remaining leaves are read trip by trip.
        SELECT
            region,
            ((CAST(round(lon / CAST(0.1 AS double precision)) AS bigint) + 1800) * 2048
            + CAST(round(lat / CAST(0.1 AS double precision)) AS bigint) + 900) << 25 | trip_end,
            1
        FROM (
            SELECT found.*, unnest(lons) AS lon, unnest(lats) AS lat, unnest(ends) AS trip_end
            FROM found, LATERAL (
                SELECT lons, lats, ends FROM trips_tree
                WHERE level = 0 AND trips_tree.node BETWEEN found.node * 4 AND found.node * 4 + 3
                    AND west <= max_lon AND east >= min_lon AND south <= max_lat AND north >= min_lat
                OFFSET 0
            ) AS leaf
            WHERE NOT is_within AND found.level = 1
        ) AS looked_at
        WHERE lon BETWEEN min_lon AND max_lon AND lat BETWEEN min_lat AND max_lat
    ) AS counted
    GROUP BY region, flow
),
-- Other groups, and trips that are not compacted yet, are read trip by trip.
other AS (
    SELECT
        region,
        CAST(round(origin_lon / :cell_size) AS integer) AS origin_x,
        CAST(round(origin_lat / :cell_size) AS integer) AS origin_y,
        CAST(round(destination_lon / :cell_size) AS integer) AS destination_x,
        CAST(round(destination_lat / :cell_size) AS integer) AS destination_y,
        CAST(floor(date_part('epoch', CAST(started_at AS time)) / (:bucket_hours * 3600)) AS integer) AS bucket,
        count(*) AS trips
    FROM (
        SELECT * FROM trips WHERE NOT (:cell_size = 0.1 AND :bucket_hours = 6)
        UNION ALL
        SELECT * FROM trips
        WHERE :cell_size = 0.1 AND :bucket_hours = 6 AND EXISTS (SELECT FROM trips_uncompacted)
            AND ingestion >= (SELECT min(ingestion) FROM trips_uncompacted)
            AND ingestion IN (SELECT ingestion FROM trips_uncompacted)
    ) AS trips
    WHERE (CAST(:region AS text) IS NULL OR region = :region)
        AND (CAST(:min_lon AS double precision) IS NULL
            OR (origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat))
    GROUP BY 1, 2, 3, 4, 5, 6
),
cells AS (
    SELECT
        region, origin_x, origin_y, destination_x, destination_y, bucket, CAST(sum(trips) AS bigint) AS trips
    FROM (
        SELECT
            region,
            CAST((flow >> 36) - 1800 AS integer) AS origin_x,
            CAST(((flow >> 25) & 2047) - 900 AS integer) AS origin_y,
            CAST(((flow >> 13) & 4095) - 1800 AS integer) AS destination_x,
            CAST(((flow >> 2) & 2047) - 900 AS integer) AS destination_y,
            CAST(flow & 3 AS integer) AS bucket,
            trips
        FROM usual
        UNION ALL
        SELECT * FROM other
    ) AS counted
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(trips) >= :min_trips
    ORDER BY trips DESC, 1, 2, 3, 4, 5, 6
    LIMIT :limit
)
-- Rounding to twelve decimals, far below any cell, removes the error of the multiplication.
SELECT
    region,
    CAST(round(CAST(origin_x * :cell_size AS numeric), 12) AS double precision) AS origin_lon,
    CAST(round(CAST(origin_y * :cell_size AS numeric), 12) AS double precision) AS origin_lat,
    CAST(round(CAST(destination_x * :cell_size AS numeric), 12) AS double precision) AS destination_lon,
    CAST(round(CAST(destination_y * :cell_size AS numeric), 12) AS double precision) AS destination_lat,
    bucket * :bucket_hours AS from_hour,
    trips
FROM cells
ORDER BY trips DESC, region, origin_x, origin_y, destination_x, destination_y, bucket
