-- From the two most commonly appearing regions, which is the latest datasource?
--   psql "$DATABASE" -f sql/by-hand/latest_datasource_of_top_regions.sql
-- Both readings: a line for each region, and the latest of all marked. The same is the named query
-- `latest_datasource_of_top_regions`, which asks a roll-up and so need not look at each trip.
WITH top_regions AS (
    SELECT region, count(*) AS trips
    FROM trips
    GROUP BY region
    ORDER BY trips DESC, region
    LIMIT 2
),
latest AS (
    SELECT DISTINCT ON (region) region, datasource, started_at AS latest_at
    FROM trips
    WHERE datasource IS NOT NULL AND region IN (SELECT region FROM top_regions)
    ORDER BY region, started_at DESC, datasource
)
SELECT
    region,
    trips,
    datasource,
    latest_at,
    row_number() OVER (ORDER BY latest_at DESC NULLS LAST, region) = 1 AS latest_of_all
FROM top_regions LEFT JOIN latest USING (region)
ORDER BY trips DESC, region;
