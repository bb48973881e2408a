-- What answers to readers need: the newest publication of a dataset at once, and the output of a file.

-- "Which ingestion was published last?", asked with every answer.
CREATE INDEX publications_newest ON sluice.publications (dataset, published_at DESC, ingestion DESC);

-- The file that was made of this one, in the outbox: bucket, object, generation, size_bytes; null where
-- the dataset declares none.
ALTER TABLE sluice.ingestions ADD COLUMN output jsonb;
