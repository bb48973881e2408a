-- Backups live in the outbox; the database only knows the tables that a restore builds, until they are
-- swapped in, and which datasets are copies that a restore made.

CREATE SCHEMA restoring;

-- 'restored': a copy beside a dataset, which the next restore may replace.
ALTER TABLE sluice.datasets DROP CONSTRAINT datasets_origin_known;
ALTER TABLE sluice.datasets ADD CONSTRAINT datasets_origin_known
    CHECK (origin IN ('folder', 'api', 'inferred', 'restored'));

-- 'restore': an ingestion that stands for what a restore brought; its object is the backup.
ALTER TABLE sluice.ingestions DROP CONSTRAINT ingestions_source_known;
ALTER TABLE sluice.ingestions ADD CONSTRAINT ingestions_source_known
    CHECK (source IN ('file', 'rows', 'restore'));
