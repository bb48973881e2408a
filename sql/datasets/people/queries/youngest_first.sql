-- All people from the youngest to the oldest, people of unknown age last.
SELECT id, first, last, age, github, graduated_on
FROM people
ORDER BY age NULLS LAST, id
