-- How many titles of each type were released in each year.
-- param from_year integer: First year.
-- param to_year integer: Last year.
-- ascending: from_year to_year
-- draw: line x=release_year y=titles series=type label=titles
SELECT release_year, type, count(*) AS titles
FROM titles
WHERE (CAST(:from_year AS integer) IS NULL OR release_year >= :from_year)
    AND (CAST(:to_year AS integer) IS NULL OR release_year <= :to_year)
GROUP BY release_year, type
ORDER BY release_year, type
