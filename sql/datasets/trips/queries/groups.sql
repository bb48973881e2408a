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
WITH cells AS (
    SELECT
        region,
        CAST(round(origin_lon / :cell_size) AS integer) AS origin_x,
        CAST(round(origin_lat / :cell_size) AS integer) AS origin_y,
        CAST(round(destination_lon / :cell_size) AS integer) AS destination_x,
        CAST(round(destination_lat / :cell_size) AS integer) AS destination_y,
        CAST(floor(date_part('epoch', CAST(started_at AS time)) / (:bucket_hours * 3600)) AS integer) AS bucket,
        count(*) AS trips
    FROM trips
    WHERE (CAST(:region AS text) IS NULL OR region = :region)
        AND (CAST(:min_lon AS double precision) IS NULL
            OR (origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat))
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING count(*) >= :min_trips
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
