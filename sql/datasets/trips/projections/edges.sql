-- Trips of each cell of a hundredth of a degree (x, y: its origins' degrees times 100, rounded down), by
-- week, with the origins sorted: how many lie on one side of a line is a binary search.
-- `lons` has the longitudes in order, `lats` and `flows` the latitude and the flow of the same trips;
-- `sorted_lats` has the latitudes in order, `flows_by_lat` the flows of those. A flow is origin and
-- destination to a tenth of a degree, the origin counted from the cell's own, and the quarter of the day.
-- columns: region, x, y, week, trips, lons, lats, flows, sorted_lats, flows_by_lat
-- slice: origin_lon
-- index: x, y
SELECT
    region,
    x,
    y,
    week,
    CAST(count(*) AS integer) AS trips,
    array_agg(origin_lon ORDER BY origin_lon, origin_lat, flow) AS lons,
    array_agg(origin_lat ORDER BY origin_lon, origin_lat, flow) AS lats,
    array_agg(flow ORDER BY origin_lon, origin_lat, flow) AS flows,
    array_agg(origin_lat ORDER BY origin_lat, flow) AS sorted_lats,
    array_agg(flow ORDER BY origin_lat, flow) AS flows_by_lat
FROM (
    SELECT
        region,
        origin_lon,
        origin_lat,
        x,
        y,
        CAST(date_trunc('week', started_at) AS date) AS week,
        (((CAST(round(origin_lon / 0.1::double precision) AS integer) - CAST(floor(x / 10.0) AS integer)) * 2
        + CAST(round(origin_lat / 0.1::double precision) AS integer) - CAST(floor(y / 10.0) AS integer)) * 4096
        + CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
        + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
        + CAST(extract(hour FROM started_at) AS integer) / 6 AS flow
    FROM (
        SELECT
            *,
            CAST(floor(origin_lon * 100) AS integer) AS x,
            CAST(floor(origin_lat * 100) AS integer) AS y
        FROM rows
    ) AS placed
) AS trips
GROUP BY region, x, y, week
