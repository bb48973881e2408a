-- The failed attempts of a step of an ingestion that raised no permanent error: after a bounded number
-- of them the ingestion fails with the last problem. Retrying an ingestion deletes its rows.
CREATE TABLE sluice.failed_attempts (
    ingestion integer NOT NULL,
    step text NOT NULL,                    -- 'split', 'load of chunk N', 'finish' or 'recovery'
    progress integer NOT NULL,             -- chunks that split had recorded; attempts count from 1 after progress
    attempts integer NOT NULL DEFAULT 1,
    problem jsonb NOT NULL,                -- problem document of the last attempt
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT failed_attempts_pk PRIMARY KEY (ingestion, step)
);
