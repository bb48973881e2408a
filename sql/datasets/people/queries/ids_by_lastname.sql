-- The ids of the people with a last name; an empty one finds people without a last name.
-- param lastname text!: The last name, matched exactly.
SELECT id
FROM people
WHERE last IS NOT DISTINCT FROM nullif(:lastname, '')
ORDER BY id
