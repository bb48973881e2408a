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
WITH cells AS (
    SELECT *
    FROM trips_places_groups(
        :cell_size, :bucket_hours, :min_lon, :min_lat, :max_lon, :max_lat, partition_value => :region
    )
    WHERE rows >= :min_trips
    ORDER BY rows DESC, region, origin_x, origin_y, destination_x, destination_y, bucket
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
    rows AS trips
FROM cells
ORDER BY rows DESC, region, origin_x, origin_y, destination_x, destination_y, bucket
