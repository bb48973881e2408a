-- All people, by id.
SELECT id, first, last, age, github, graduated_on
FROM people
ORDER BY id
