-- Trips of each area of a tenth of a degree by flow: flows, added up for boxes that hold whole areas.
-- columns: region, area_x, area_y, flow, trips
-- slice: origin_lon
-- index: area_x, area_y
SELECT
    region,
    area_x,
    area_y,
    (((CAST(round(origin_lon / 0.1::double precision) AS integer) - area_x) * 2
    + CAST(round(origin_lat / 0.1::double precision) AS integer) - area_y) * 4096
    + CAST(round(destination_lon / 0.1::double precision) AS integer) + 1800) * 8192
    + (CAST(round(destination_lat / 0.1::double precision) AS integer) + 900) * 4
    + CAST(extract(hour FROM started_at) AS integer) / 6 AS flow,
    CAST(count(*) AS integer) AS trips
FROM (
    SELECT
        *,
        CAST(floor(floor(origin_lon * 100) / 10) AS integer) AS area_x,
        CAST(floor(floor(origin_lat * 100) / 10) AS integer) AS area_y
    FROM rows
) AS placed
GROUP BY 1, 2, 3, 4
