-- What regions has the datasource "cheap_mobile" appeared in, and how often?
--   psql "$DATABASE" -f sql/by-hand/regions_of_cheap_mobile.sql
-- For any datasource there is the named query `regions_of_datasource`.
SELECT region, count(*) AS trips
FROM trips
WHERE datasource = 'cheap_mobile'
GROUP BY region
ORDER BY region;
