-- Plays of each day, of one song or of all.
-- param song text: Only this song, matched exactly.
-- param from_day date: First day.
-- param to_day date: Last day.
-- ascending: from_day to_day
-- draw: line x=date y=plays
SELECT played_on AS date, CAST(sum(plays) AS bigint) AS plays, count(DISTINCT song) AS songs
FROM plays_totals
WHERE (CAST(:song AS text) IS NULL OR song = :song)
    AND (CAST(:from_day AS date) IS NULL OR played_on >= :from_day)
    AND (CAST(:to_day AS date) IS NULL OR played_on <= :to_day)
GROUP BY played_on
ORDER BY played_on
