-- The latest datasource of the most commonly appearing regions: of each of them, and of all together.
-- The result answers both readings of "which is the latest datasource of the top regions?": a row for each
-- region, and overall = true in the row with the latest of all.
-- param regions integer = 2 (1..1000): Number of the most common regions.
-- draw: bar x=region y=trips
WITH top_regions AS (
    SELECT region, CAST(sum(trips) AS bigint) AS trips
    FROM trips_latest
    GROUP BY region
    ORDER BY trips DESC, region
    LIMIT :regions
),
latest AS (
    SELECT DISTINCT ON (region) region, datasource, latest_at
    FROM trips_latest
    WHERE datasource IS NOT NULL AND region IN (SELECT region FROM top_regions)
    ORDER BY region, latest_at DESC, datasource
)
SELECT
    region,
    top_regions.trips,
    datasource,
    latest_at,
    row_number() OVER (ORDER BY latest_at DESC NULLS LAST, region) = 1 AS overall
FROM top_regions LEFT JOIN latest USING (region)
ORDER BY top_regions.trips DESC, region
