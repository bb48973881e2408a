-- Titles as stored. Case is folded by Unicode's rules, independently of the database's collation.
CREATE TABLE store.titles (
    ingestion integer NOT NULL,
    release_year integer NOT NULL,
    date_added date,
    show_id text NOT NULL CONSTRAINT titles_pk PRIMARY KEY,
    type text NOT NULL,
    title text NOT NULL,
    director text,
    "cast" text,
    country text,
    rating text,
    duration text,
    listed_in text,
    description text
);
-- The query `title`: one title, ignoring case.
CREATE INDEX titles_title ON store.titles (casefold(title COLLATE pg_unicode_fast));
-- The query `contains`: a part of a title.
CREATE INDEX titles_title_parts ON store.titles
    USING gin (casefold(title COLLATE pg_unicode_fast) gin_trgm_ops);
-- The query `search`: words in title, cast and description; matches in the title rank highest.
CREATE INDEX titles_words ON store.titles USING gin ((
    setweight(to_tsvector('english', title), 'A')
    || setweight(to_tsvector('english', coalesce("cast", '')), 'B')
    || setweight(to_tsvector('english', coalesce(description, '')), 'C')
));
-- The query `search`: similar spellings.
CREATE INDEX titles_names ON store.titles USING gin ((title || ' ' || coalesce("cast", '')) gin_trgm_ops);
-- The query `find`: ranges of years.
CREATE INDEX titles_release_year ON store.titles (release_year);
