-- Every version of each declaration: an ingestion keeps the one that it began with.
CREATE TABLE sluice.declarations (
    dataset text NOT NULL,
    version integer NOT NULL,
    declaration jsonb NOT NULL,
    CONSTRAINT declarations_pk PRIMARY KEY (dataset, version)
);
INSERT INTO sluice.declarations SELECT name, version, declaration FROM sluice.datasets;

-- The version by which the file is checked; null until its split began.
ALTER TABLE sluice.ingestions ADD COLUMN declaration_version integer;
