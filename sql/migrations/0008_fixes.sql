-- Files that fix rejects: an ingestion with `fixes` gives its rows to the ingestion whose rejects it fixes.
ALTER TABLE sluice.ingestions
    ADD COLUMN fixes integer,                          -- whose rejects the file fixes; null for any other file
    ADD COLUMN rows_fixed bigint NOT NULL DEFAULT 0;   -- of the rows read, those that were rejects until they were fixed
ALTER TABLE sluice.rejects ADD COLUMN fixed_by integer;  -- the ingestion that fixed it; null while it is a reject
-- "Was this fix loaded before?"
CREATE INDEX ingestions_fixes ON sluice.ingestions (fixes) WHERE fixes IS NOT NULL;
