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
-- draw: map x=origin_lon y=origin_lat size=trips
SELECT
    region,
    CAST(round(CAST(origin_lon AS numeric) / CAST(:cell_size AS numeric)) * CAST(:cell_size AS numeric) AS double precision) AS origin_lon,
    CAST(round(CAST(origin_lat AS numeric) / CAST(:cell_size AS numeric)) * CAST(:cell_size AS numeric) AS double precision) AS origin_lat,
    CAST(round(CAST(destination_lon AS numeric) / CAST(:cell_size AS numeric)) * CAST(:cell_size AS numeric) AS double precision) AS destination_lon,
    CAST(round(CAST(destination_lat AS numeric) / CAST(:cell_size AS numeric)) * CAST(:cell_size AS numeric) AS double precision) AS destination_lat,
    CAST(floor(extract(epoch FROM CAST(started_at AS time)) / (CAST(:bucket_hours AS numeric) * 3600)) * CAST(:bucket_hours AS numeric) AS double precision) AS from_hour,
    count(*) AS trips
FROM trips
WHERE (CAST(:region AS text) IS NULL OR region = :region)
    AND (CAST(:min_lon AS double precision) IS NULL
        OR (origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat))
GROUP BY 1, 2, 3, 4, 5, 6
HAVING count(*) >= :min_trips
ORDER BY trips DESC, 1, 2, 3, 4, 5, 6
LIMIT :limit
