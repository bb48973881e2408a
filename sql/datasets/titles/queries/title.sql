-- The titles with this title; case and surrounding white space are ignored.
-- param title text!: The title, such as "Ganglands".
-- verb: title
-- output: description
-- heading: {title} ({type}, {release_year}, {show_id})
-- near: search title
SELECT show_id, type, title, director, "cast", country, date_added, release_year, rating, duration, listed_in, description
FROM titles
WHERE casefold(title COLLATE pg_unicode_fast)
    -- The white space that loading trims from a cell, including no-break spaces.
    = casefold(btrim(:title, U&' \0009\000A\000B\000C\000D\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\202F\205F\3000\FEFF') COLLATE pg_unicode_fast)
ORDER BY release_year, CAST(nullif(regexp_replace(show_id, '\D', '', 'g'), '') AS numeric), show_id
