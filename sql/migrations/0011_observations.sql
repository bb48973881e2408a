-- What each chunk of a file may be whose types are not declared: finish merges these and decides.
CREATE TABLE sluice.observations (
    ingestion integer NOT NULL,
    chunk integer NOT NULL,
    observations text NOT NULL,
    CONSTRAINT observations_pk PRIMARY KEY (ingestion, chunk),
    CONSTRAINT observations_chunk FOREIGN KEY (ingestion, chunk) REFERENCES sluice.chunks (ingestion, number)
);

-- How many chunks of a file are observed; 0 where its types are declared.
ALTER TABLE sluice.ingestions ADD COLUMN chunks_observed integer NOT NULL DEFAULT 0;

-- How the uploader says that the file is written: keys of a dialect, from the object's metadata.
ALTER TABLE sluice.ingestions ADD COLUMN options jsonb NOT NULL DEFAULT '{}';

-- An inferred declaration as a dataset.toml, with its evidence in comments.
ALTER TABLE sluice.declarations ADD COLUMN toml text;
