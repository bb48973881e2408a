-- Plays of each song on each day, and which record of the file names the song first on that day.
-- key: song, played_on
-- measure plays: sum
-- measure first_record: min
-- index: song, played_on
-- index: played_on
SELECT song, played_on, sum(plays) AS plays, min(_record) AS first_record
FROM rows
GROUP BY ALL
