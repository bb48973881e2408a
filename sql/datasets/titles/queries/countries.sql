-- How many titles were produced in each country; a title counts in each of its countries.
-- param type text: Only Movie, or only TV Show.
-- draw: bar x=country y=titles label=titles
SELECT place AS country, count(*) AS titles
FROM titles, regexp_split_to_table(country, '\s*,\s*') AS place
WHERE place <> '' AND (CAST(:type AS text) IS NULL OR casefold(type) = casefold(:type))
GROUP BY place
ORDER BY titles DESC, place COLLATE "C"
