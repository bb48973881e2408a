-- Trips of each region and datasource, and when the latest of them began.
-- key: region, datasource
-- measure trips: sum
-- measure latest_at: max
SELECT region, datasource, count(*) AS trips, max(started_at) AS latest_at
FROM rows
GROUP BY ALL
