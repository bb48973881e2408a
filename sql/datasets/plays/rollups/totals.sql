-- Plays of each song on each day, and the first record of the song on that day in the file.
-- key: song, played_on
-- measure plays: sum
-- measure first_record: min
-- index: song, played_on
-- index: played_on
SELECT song, played_on, sum(plays) AS plays, min(_record) AS first_record
FROM rows
GROUP BY ALL
