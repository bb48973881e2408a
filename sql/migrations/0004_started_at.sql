-- When the newest attempt of an ingestion started; null for the first one, which starts at the arrival.
ALTER TABLE sluice.ingestions ADD COLUMN started_at timestamptz;
