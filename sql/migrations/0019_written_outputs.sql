-- The output of an ingestion that is not published yet, so that a handler that is killed after it does not write it
-- again. Deleted when the ingestion is published or retried.
CREATE TABLE sluice.written_outputs (
    ingestion integer CONSTRAINT written_outputs_pk PRIMARY KEY
        CONSTRAINT written_outputs_ingestion REFERENCES sluice.ingestions (id),
    output jsonb NOT NULL,                 -- as in sluice.ingestions
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
