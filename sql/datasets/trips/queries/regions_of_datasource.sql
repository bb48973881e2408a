-- The regions in which a datasource has appeared, with the number of its trips in each.
-- param datasource text!: Name of the datasource.
-- draw: bar x=region y=trips
SELECT region, CAST(sum(trips) AS bigint) AS trips, max(latest_at) AS latest_at
FROM trips_latest
WHERE datasource = :datasource
GROUP BY region
ORDER BY region
