-- People as stored.
CREATE TABLE store.people (
    id integer NOT NULL CONSTRAINT people_pk PRIMARY KEY,
    age integer,
    graduated_on date,
    ingestion integer NOT NULL,
    first text,
    last text,
    github text
);
-- The query `ids_by_lastname`.
CREATE INDEX people_last ON store.people (last);
