-- What comes in by HTTP: rows without a file, and requests that may come again.

-- An ingestion of rows has no object to read again: it is loaded and published by the request itself.
ALTER TABLE sluice.ingestions
    ADD COLUMN source text NOT NULL DEFAULT 'file'
        CONSTRAINT ingestions_source_known CHECK (source IN ('file', 'rows'));

-- The answer of a request with an Idempotency-Key, written in the transaction of its effect.
CREATE TABLE sluice.idempotency_keys (
    key text CONSTRAINT idempotency_keys_pk PRIMARY KEY,
    fingerprint text NOT NULL,         -- of the request: the key may not come with another one
    answer json,                       -- as it was sent; null inside the transaction that makes it, and never outside
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Keys that are old enough to be forgotten.
CREATE INDEX idempotency_keys_created ON sluice.idempotency_keys (created_at);
