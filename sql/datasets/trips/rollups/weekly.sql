-- Trips of each region in each Monday-based week.
-- key: region, week
-- measure trips: sum
SELECT region, CAST(date_trunc('week', started_at) AS date) AS week, count(*) AS trips
FROM rows
GROUP BY ALL
