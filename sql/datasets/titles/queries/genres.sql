-- How many titles each genre has; a title counts in each of its genres.
-- param type text: Only Movie, or only TV Show.
-- draw: bar x=genre y=titles label=titles
SELECT genre, count(*) AS titles
FROM titles, regexp_split_to_table(listed_in, '\s*,\s*') AS genre
WHERE genre <> '' AND (CAST(:type AS text) IS NULL OR casefold(type) = casefold(:type))
GROUP BY genre
ORDER BY titles DESC, genre COLLATE "C"
