-- The most played songs, with their plays and days.
-- param from_day date: First day.
-- param to_day date: Last day.
-- param limit integer = 20 (1..10000): Maximum number of songs.
-- ascending: from_day to_day
-- draw: bar x=song y=plays
SELECT
    song,
    CAST(sum(plays) AS bigint) AS plays,
    count(DISTINCT played_on) AS days,
    min(played_on) AS first_day,
    max(played_on) AS last_day
FROM plays_totals
WHERE (CAST(:from_day AS date) IS NULL OR played_on >= :from_day)
    AND (CAST(:to_day AS date) IS NULL OR played_on <= :to_day)
GROUP BY song
ORDER BY plays DESC, song COLLATE "C"
LIMIT :limit
