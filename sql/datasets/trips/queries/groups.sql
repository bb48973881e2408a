-- Trips with similar origin, destination and time of day, as groups, the largest first.
-- Trips are similar when both ends round to the same cell of cell_size degrees and the time of day falls
-- in the same bucket. The default, a tenth of a degree (7 to 11 km in Europe) and six hours, keeps
-- neighbourhoods and parts of the day apart and still groups a sparse sample.
-- param region text: Only trips of this region.
-- param min_lon number (-180..180): Western edge of a box that holds the origins, in degrees.
-- param min_lat number (-90..90): Southern edge of the box, in degrees.
-- param max_lon number (-180..180): Eastern edge of the box, in degrees.
-- param max_lat number (-90..90): Northern edge of the box, in degrees.
-- param cell_size number = 0.1 (0.0001..90): Side of a cell in degrees.
-- param bucket_hours number = 6 (0.25..24): Length of a time bucket in hours.
-- param min_trips integer = 1 (1..): Least trips of a group.
-- param limit integer = 100 (1..10000): Most groups.
-- needs: | min_lon min_lat max_lon max_lat
-- draw: map x=origin_lon y=origin_lat size=trips cell=cell_size label=trips_that_begin_in_the_cell
WITH box AS (
    SELECT
        *,
        min_lon - greatest(abs(min_lon) * 1.1102230246251565e-16, CAST('5e-324' AS double precision)) AS below_lon,
        CAST(floor(min_lon * 50) AS integer) AS x0,
        CAST(floor(min_lat * 50) AS integer) AS y0,
        CAST(floor(max_lon * 50) AS integer) AS x1,
        CAST(floor(max_lat * 50) AS integer) AS y1
    FROM (SELECT
        CAST(:min_lon AS double precision) AS min_lon,
        CAST(:min_lat AS double precision) AS min_lat,
        CAST(:max_lon AS double precision) AS max_lon,
        CAST(:max_lat AS double precision) AS max_lat) AS given
    WHERE min_lon <= max_lon AND min_lat <= max_lat
),
-- The groups as they are asked for most often: cells within the box are counted, in those that its edges
-- cut each trip is looked at. The edges are those of the projection, sorted by longitude.
usual AS (
    SELECT region, origin_x, origin_y, trip_end, sum(trips) AS trips
    FROM (
        SELECT region, origin_x, origin_y, trip_end, trips
        FROM trips_flows
        WHERE CAST(:min_lon AS double precision) IS NULL
            AND (CAST(:region AS text) IS NULL OR region = :region)
        UNION ALL
        SELECT region, origin_x, origin_y, trip_end, trips
        FROM box JOIN trips_flows ON x BETWEEN x0 + 1 AND x1 - 1 AND y BETWEEN y0 + 1 AND y1 - 1
        WHERE CAST(:region AS text) IS NULL OR region = :region
        UNION ALL
        SELECT
            region,
            CAST(round(lon / CAST(0.1 AS double precision)) AS smallint),
            CAST(round(lat / CAST(0.1 AS double precision)) AS smallint),
            trip_end,
            1
        FROM (
            SELECT region, min_lat, max_lat, unnest(lons[first : last]) AS lon, unnest(lats[first : last]) AS lat,
                unnest(ends[first : last]) AS trip_end
            FROM (
                SELECT region, min_lat, max_lat, lons, lats, ends,
                    width_bucket(below_lon, lons) + 1 AS first, width_bucket(max_lon, lons) AS last
                FROM (
                    SELECT * FROM box JOIN trips_edges ON x IN (x0, x1) AND y BETWEEN y0 AND y1
                    UNION ALL
                    SELECT * FROM box JOIN trips_edges ON x BETWEEN x0 + 1 AND x1 - 1 AND y IN (y0, y1)
                ) AS cut
                WHERE CAST(:region AS text) IS NULL OR region = :region
            ) AS between_them
        ) AS looked_at
        WHERE lat BETWEEN min_lat AND max_lat
    ) AS counted
    WHERE :cell_size = 0.1 AND :bucket_hours = 6
    GROUP BY region, origin_x, origin_y, trip_end
),
-- Other groups, and what was published a moment ago, look at each trip.
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
        WHERE :cell_size = 0.1 AND :bucket_hours = 6 AND EXISTS (SELECT FROM trips_unsettled)
            AND ingestion >= (SELECT min(ingestion) FROM trips_unsettled)
            AND ingestion IN (SELECT ingestion FROM trips_unsettled)
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
            region, origin_x, origin_y, trip_end / 8192 - 1800 AS destination_x,
            trip_end / 4 % 2048 - 900 AS destination_y, trip_end % 4 AS bucket, trips
        FROM usual
        UNION ALL
        SELECT * FROM other
    ) AS counted
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(trips) >= :min_trips
    ORDER BY trips DESC, 1, 2, 3, 4, 5, 6
    LIMIT :limit
)
-- The twelfth decimal is far below any cell and hides the noise of the multiplication.
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
