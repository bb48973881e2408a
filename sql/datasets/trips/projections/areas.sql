-- Trips of each area of a fifth of a degree, ten cells by ten, by week.
-- columns: region, area_x, area_y, week, trips
-- slice: origin_lon
-- index: area_x, area_y
SELECT
    region,
    CAST(floor(floor(origin_lon * 50) / 10) AS integer) AS area_x,
    CAST(floor(floor(origin_lat * 50) / 10) AS integer) AS area_y,
    CAST(date_trunc('week', started_at) AS date) AS week,
    count(*) AS trips
FROM rows
GROUP BY 1, 2, 3, 4
