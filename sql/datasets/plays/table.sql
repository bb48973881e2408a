-- Plays as stored; nothing asks for a single record, so the table has no index: the totals answer.
CREATE TABLE store.plays (
    plays bigint NOT NULL,
    played_on date NOT NULL,
    ingestion integer NOT NULL,
    song text NOT NULL
);
