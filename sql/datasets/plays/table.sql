-- Plays as stored. The roll-up answers all queries and none reads a single record, so there is no index.
CREATE TABLE store.plays (
    plays bigint NOT NULL,
    played_on date NOT NULL,
    ingestion integer NOT NULL,
    song text NOT NULL
);
