-- Total number of plays of each song on each day in one file: the file's output.
-- Songs are in the order of their first record in the file, days in order.
-- param ingestion integer!: The ingestion of the file.
SELECT song AS "Song", played_on AS "Date", CAST(plays AS bigint) AS "Total Number of Plays for Date"
FROM (
    SELECT song, played_on, sum(plays) AS plays, min(min(first_record)) OVER (PARTITION BY song) AS place
    FROM plays_totals
    WHERE ingestion = :ingestion
    GROUP BY song, played_on
) AS totals
ORDER BY place, song, played_on
