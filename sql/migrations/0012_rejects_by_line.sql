-- Records that are recovered after an unclosed quote have numbers that records of the next chunk have too; their
-- lines are their own.
ALTER TABLE sluice.rejects DROP CONSTRAINT rejects_pk;
ALTER TABLE sluice.rejects ADD CONSTRAINT rejects_pk PRIMARY KEY (ingestion, line);
