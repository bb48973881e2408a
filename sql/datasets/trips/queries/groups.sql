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
    -- As in weekly_average: the cells in which its edges lie, those between them, and the areas of such.
    SELECT
        *,
        area_x0 <= area_x1 AND area_y0 <= area_y1 AS has_areas
    FROM (
        SELECT
            *,
            min_lon - greatest(abs(min_lon) * 1.1102230246251565e-16, CAST('5e-324' AS double precision)) AS below_lon,
            min_lat - greatest(abs(min_lat) * 1.1102230246251565e-16, CAST('5e-324' AS double precision)) AS below_lat,
            CAST(floor(x0 / 10.0) AS integer) + 1 AS area_x0,
            CAST(floor(x1 / 10.0) AS integer) - 1 AS area_x1,
            CAST(floor(y0 / 10.0) AS integer) + 1 AS area_y0,
            CAST(floor(y1 / 10.0) AS integer) - 1 AS area_y1
        FROM (
            SELECT
                *,
                CAST(floor(min_lon * 100) AS integer) AS x0,
                CAST(floor(min_lat * 100) AS integer) AS y0,
                CAST(floor(max_lon * 100) AS integer) AS x1,
                CAST(floor(max_lat * 100) AS integer) AS y1
            FROM (SELECT
                CAST(:min_lon AS double precision) AS min_lon,
                CAST(:min_lat AS double precision) AS min_lat,
                CAST(:max_lon AS double precision) AS max_lon,
                CAST(:max_lat AS double precision) AS max_lat) AS given
        ) AS cells
    ) AS areas
    WHERE min_lon <= max_lon AND min_lat <= max_lat
),
within AS (
    SELECT strips.* FROM box, LATERAL (VALUES
        (x0 + 1, CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END - 1, y0 + 1, y1 - 1),
        (CASE WHEN has_areas THEN area_x1 * 10 + 10 ELSE x1 END, x1 - 1, y0 + 1, y1 - 1),
        (CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END, area_x1 * 10 + 9, y0 + 1, area_y0 * 10 - 1),
        (CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END, area_x1 * 10 + 9, area_y1 * 10 + 10, y1 - 1)
    ) AS strips (from_x, to_x, from_y, to_y)
),
-- The groups as they are asked for most often. Areas and cells within the box are counted; in cells that
-- its edges cut, the flows between two places of a sorted list are.
usual AS (
    SELECT region, area_x, area_y, flow, sum(trips) AS trips
    FROM (
        SELECT region, area_x, area_y, flow, trips
        FROM trips_area_flows
        WHERE CAST(:min_lon AS double precision) IS NULL
        UNION ALL
        SELECT region, area_x, area_y, flow, trips
        FROM box
            JOIN trips_area_flows ON area_x BETWEEN area_x0 AND area_x1 AND area_y BETWEEN area_y0 AND area_y1
        UNION ALL
        SELECT region, CAST(floor(x / 10.0) AS integer), CAST(floor(y / 10.0) AS integer), flow, trips
        FROM within JOIN trips_flows ON x BETWEEN from_x AND to_x AND y BETWEEN from_y AND to_y
        UNION ALL
        SELECT region, CAST(floor(x / 10.0) AS integer), CAST(floor(y / 10.0) AS integer), flow, count(*)
        FROM (
            -- Between the western and the eastern edge.
            SELECT region, x, y, unnest(flows[
                CASE WHEN x > x0 THEN 1 ELSE width_bucket(below_lon, lons) + 1 END
                : CASE WHEN x < x1 THEN trips ELSE width_bucket(max_lon, lons) END
            ]) AS flow
            FROM box JOIN trips_edges ON x IN (x0, x1) AND y BETWEEN y0 + 1 AND y1 - 1
            UNION ALL
            -- Between the southern and the northern edge.
            SELECT region, x, y, unnest(flows_by_lat[
                CASE WHEN y > y0 THEN 1 ELSE width_bucket(below_lat, sorted_lats) + 1 END
                : CASE WHEN y < y1 THEN trips ELSE width_bucket(max_lat, sorted_lats) END
            ])
            FROM box JOIN trips_edges ON x BETWEEN x0 + 1 AND x1 - 1 AND y IN (y0, y1)
            UNION ALL
            -- The corners.
            SELECT region, x, y, flow
            FROM (
                SELECT region, x, y, min_lat, max_lat,
                    unnest(lats[first_place : last_place]) AS lat, unnest(flows[first_place : last_place]) AS flow
                FROM (
                    SELECT region, x, y, min_lat, max_lat, lats, flows,
                        CASE WHEN x > x0 THEN 1 ELSE width_bucket(below_lon, lons) + 1 END AS first_place,
                        CASE WHEN x < x1 THEN trips ELSE width_bucket(max_lon, lons) END AS last_place
                    FROM box JOIN trips_edges ON x IN (x0, x1) AND y IN (y0, y1)
                ) AS between_them
            ) AS looked_at
            WHERE lat BETWEEN min_lat AND max_lat
        ) AS cut
        GROUP BY 1, 2, 3, 4
    ) AS counted
    WHERE :cell_size = 0.1 AND :bucket_hours = 6 AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY region, area_x, area_y, flow
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
            region, area_x + flow / 67108864 AS origin_x, area_y + flow / 33554432 % 2 AS origin_y,
            flow / 8192 % 4096 - 1800 AS destination_x, flow / 4 % 2048 - 900 AS destination_y,
            flow % 4 AS bucket, trips
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
