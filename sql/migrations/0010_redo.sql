-- When garbage collection began to delete the rows of an ended ingestion: from then on it cannot be redone, nor
-- resumed by a retry.
ALTER TABLE sluice.ingestions ADD COLUMN collecting_at timestamptz;
