-- Jobs as stored.
CREATE TABLE store.jobs (
    id integer NOT NULL CONSTRAINT jobs_pk PRIMARY KEY,
    ingestion integer NOT NULL,
    job text NOT NULL
);
