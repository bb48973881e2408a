-- Trips of each cell (x, y) by flow, see edges: groups as the query has them unless it is told otherwise.
-- columns: region, x, y, flow, trips
-- slice: origin_lon
-- index: x, y
SELECT
    region,
    x,
    y,
    (((CAST(round(origin_lon / 0.1::double precision) AS integer) - CAST(floor(x / 10.0) AS integer)) * 2
    + CAST(round(origin_lat / 0.1::double precision) AS integer) - CAST(floor(y / 10.0) AS integer)) * 4096
    + CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
    + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
    + CAST(extract(hour FROM started_at) AS integer) / 6 AS flow,
    CAST(count(*) AS integer) AS trips
FROM (
    SELECT
        *,
        CAST(floor(origin_lon * 100) AS integer) AS x,
        CAST(floor(origin_lat * 100) AS integer) AS y
    FROM rows
) AS placed
GROUP BY 1, 2, 3, 4
