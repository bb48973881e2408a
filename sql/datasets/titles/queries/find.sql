-- Titles by type, country, genre, year of release and rating, the newest first.
-- Only the given parameters filter; case is ignored. A title with several countries or genres is found by each.
-- param type text: Movie or TV Show.
-- param country text: A country of production, such as France.
-- param genre text: A genre, such as Documentaries.
-- param year integer: Year of release.
-- param from_year integer: First year of release.
-- param to_year integer: Last year of release.
-- param rating text: Age rating, such as TV-MA.
-- param limit integer = 100 (1..10000): Maximum number of titles.
-- ascending: from_year to_year
SELECT show_id, type, title, country, release_year, rating, duration, listed_in, description
FROM titles
WHERE (CAST(:type AS text) IS NULL OR casefold(type) = casefold(:type))
    AND (CAST(:country AS text) IS NULL
        OR casefold(:country COLLATE pg_unicode_fast)
            = ANY (regexp_split_to_array(casefold(country COLLATE pg_unicode_fast), '\s*,\s*')))
    AND (CAST(:genre AS text) IS NULL
        OR casefold(:genre COLLATE pg_unicode_fast)
            = ANY (regexp_split_to_array(casefold(listed_in COLLATE pg_unicode_fast), '\s*,\s*')))
    AND (CAST(:year AS integer) IS NULL OR release_year = :year)
    AND (CAST(:from_year AS integer) IS NULL OR release_year >= :from_year)
    AND (CAST(:to_year AS integer) IS NULL OR release_year <= :to_year)
    AND (CAST(:rating AS text) IS NULL OR casefold(rating) = casefold(:rating))
ORDER BY release_year DESC, title COLLATE "C", show_id
LIMIT :limit
