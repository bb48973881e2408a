-- The titles with a text in their title, whatever its case.
-- param text text!: A part of the title, such as "gang".
-- param limit integer = 100 (1..10000): Maximum number of titles.
SELECT show_id, type, title, release_year, listed_in, description
FROM titles
WHERE casefold(title COLLATE pg_unicode_fast)
    LIKE '%' || regexp_replace(casefold(:text COLLATE pg_unicode_fast), '([\\%_])', '\\\1', 'g') || '%'
ORDER BY CAST(nullif(regexp_replace(show_id, '\D', '', 'g'), '') AS numeric), show_id
LIMIT :limit
