-- Attempts of a step that started and did not end: their handler was killed, or ran out of memory or time.
-- Only those of messages that are delivered again are counted.
ALTER TABLE sluice.failed_attempts
    ADD COLUMN unanswered integer NOT NULL DEFAULT 0,
    ALTER COLUMN problem DROP NOT NULL;    -- null while no attempt has failed with an error
