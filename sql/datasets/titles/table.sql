-- Titles as stored. Case is folded as Unicode says, whatever the database's own collation is.
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
-- The query `title`: one title, whatever its case.
CREATE INDEX titles_title ON store.titles (casefold(title COLLATE pg_unicode_fast));
-- The query `contains`: a part of a title.
CREATE INDEX titles_title_parts ON store.titles
    USING gin (casefold(title COLLATE pg_unicode_fast) gin_trgm_ops);
-- The query `search`: words of title, cast and description, a match in the title weighing most.
CREATE INDEX titles_words ON store.titles USING gin ((
    setweight(to_tsvector('english', title), 'A')
    || setweight(to_tsvector('english', coalesce("cast", '')), 'B')
    || setweight(to_tsvector('english', coalesce(description, '')), 'C')
));
-- The query `search`: names that are nearly written so.
CREATE INDEX titles_names ON store.titles USING gin ((title || ' ' || coalesce("cast", '')) gin_trgm_ops);
-- The query `find`: lists of years.
CREATE INDEX titles_release_year ON store.titles (release_year);
