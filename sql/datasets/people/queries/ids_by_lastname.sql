-- The ids of the people who bear a last name; an empty one asks for those without.
-- param lastname text!: The last name, written exactly so.
SELECT id
FROM people
WHERE last IS NOT DISTINCT FROM nullif(:lastname, '')
ORDER BY id
