-- The titles that match some words best, in title, cast or description.
-- All words must occur, in any form ("robber" finds "robbers"); matches in the title rank highest. The syntax
-- includes "a phrase", or, and -not. Titles and names with similar spelling follow.
-- param text text!: Words to search for, such as "drug lord robbers" or "Kristen Jonson".
-- param limit integer = 20 (1..1000): Maximum number of titles.
WITH asked AS (
    SELECT websearch_to_tsquery('english', :text) AS words
),
found AS (
    SELECT
        titles.*,
        ts_rank_cd(
            setweight(to_tsvector('english', title), 'A')
            || setweight(to_tsvector('english', coalesce("cast", '')), 'B')
            || setweight(to_tsvector('english', coalesce(description, '')), 'C'),
            words
        ) AS by_words,
        greatest(
            strict_word_similarity(:text, title),
            0.9 * strict_word_similarity(:text, coalesce("cast", ''))
        ) + 0.5 * similarity(:text, title) AS by_spelling
    FROM titles CROSS JOIN asked
    WHERE (
            setweight(to_tsvector('english', title), 'A')
            || setweight(to_tsvector('english', coalesce("cast", '')), 'B')
            || setweight(to_tsvector('english', coalesce(description, '')), 'C')
        ) @@ words
        OR :text <% (title || ' ' || coalesce("cast", ''))
        OR :text <<% (title || ' ' || coalesce("cast", ''))
)
SELECT
    show_id, type, title, "cast", release_year, description,
    round(CAST(by_words + by_spelling AS numeric), 3) AS score
FROM found
ORDER BY by_words > 0 DESC, by_words + by_spelling DESC, release_year DESC, show_id
LIMIT :limit
