-- Total number of plays of each song on each day.
-- Songs are in the order of their first record in the files, or sorted by name (in byte order); the days of
-- a song are in order.
-- param song text: Only this song, matched exactly.
-- param from_day date: First day.
-- param to_day date: Last day.
-- param order text = first_seen (first_seen, name): Order of the songs.
-- param limit integer = 1000 (1..1000000): Maximum number of rows.
-- ascending: from_day to_day
WITH totals AS (
    SELECT
        song,
        played_on,
        sum(plays) AS plays,
        -- Records are numbered within their file: an older file comes before a newer one.
        min(CAST(ingestion AS bigint) * 1099511627776 + first_record) AS place
    FROM plays_totals
    WHERE (CAST(:song AS text) IS NULL OR song = :song)
        AND (CAST(:from_day AS date) IS NULL OR played_on >= :from_day)
        AND (CAST(:to_day AS date) IS NULL OR played_on <= :to_day)
    GROUP BY song, played_on
),
placed AS (
    SELECT
        song,
        played_on,
        plays,
        CASE :order WHEN 'first_seen' THEN min(place) OVER (PARTITION BY song) END AS place
    FROM totals
)
SELECT song, played_on AS date, CAST(plays AS bigint) AS plays
FROM placed
ORDER BY place, song COLLATE "C", played_on
LIMIT :limit
