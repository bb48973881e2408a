-- Trips of each cell (x, y), by origin to a tenth of a degree and by end (see edges): groups as the query
-- has them unless it is told otherwise.
-- columns: region, x, y, origin_x, origin_y, trip_end, trips
-- slice: origin_lon
-- index: x, y
SELECT
    region,
    CAST(floor(origin_lon * 50) AS integer) AS x,
    CAST(floor(origin_lat * 50) AS integer) AS y,
    CAST(round(origin_lon / 0.1::double precision) AS smallint) AS origin_x,
    CAST(round(origin_lat / 0.1::double precision) AS smallint) AS origin_y,
    (CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
    + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
    + CAST(extract(hour FROM started_at) AS integer) / 6 AS trip_end,
    CAST(count(*) AS integer) AS trips
FROM rows
GROUP BY 1, 2, 3, 4, 5, 6
