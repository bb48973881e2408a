-- Rows that were left out because another row has their key, as publishing finds them; at most some ten thousand of
-- an ingestion, whose account counts all of them.
CREATE TABLE sluice.duplicates (
    ingestion integer NOT NULL,
    record bigint NOT NULL,                -- record of the file, from 0, header not counted
    key jsonb NOT NULL,                    -- the columns of the key with their values
    won_by integer NOT NULL,               -- the ingestion of the row that counts
    won_record bigint,                     -- its record; null where that is a row of another ingestion
    CONSTRAINT duplicates_pk PRIMARY KEY (ingestion, record)
);
