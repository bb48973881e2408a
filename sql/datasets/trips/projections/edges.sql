-- Trips of each cell of a fiftieth of a degree (x, y: its origins' degrees times 50, rounded down), by
-- week, with the origins sorted: how many lie on one side of a line is a binary search.
-- `lons` has the longitudes in order, `lats` and `ends` the latitude and the end of the same trips, and
-- `sorted_lats` the latitudes in order. An end is a destination to a tenth of a degree and a quarter of
-- the day, as `flows` has them.
-- columns: region, x, y, week, trips, lons, lats, ends, sorted_lats
-- slice: origin_lon
-- index: x, y
SELECT
    region,
    x,
    y,
    week,
    CAST(count(*) AS integer) AS trips,
    array_agg(origin_lon ORDER BY origin_lon, origin_lat, trip_end) AS lons,
    array_agg(origin_lat ORDER BY origin_lon, origin_lat, trip_end) AS lats,
    array_agg(trip_end ORDER BY origin_lon, origin_lat, trip_end) AS ends,
    array_agg(origin_lat ORDER BY origin_lat) AS sorted_lats
FROM (
    SELECT
        region,
        origin_lon,
        origin_lat,
        CAST(floor(origin_lon * 50) AS integer) AS x,
        CAST(floor(origin_lat * 50) AS integer) AS y,
        CAST(date_trunc('week', started_at) AS date) AS week,
        (CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
        + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
        + CAST(extract(hour FROM started_at) AS integer) / 6 AS trip_end
    FROM rows
) AS trips
GROUP BY region, x, y, week
