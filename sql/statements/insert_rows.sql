-- name: receive_rows
-- An ingestion of rows from a request; its object name is unique, so it replaces no other. It is newer than
-- all that is published, even if the clock of Cloud Storage is ahead.
INSERT INTO sluice.ingestions (dataset, bucket, object, generation, size_bytes, uploaded_at, source, sequence)
VALUES (
    :dataset, '', :dataset || '/rows/' || gen_random_uuid(), 0, :size_bytes,
    greatest(clock_timestamp(), (
        SELECT max(uploaded_at) + interval '1 microsecond' FROM sluice.ingestions
        WHERE dataset = :dataset AND state = 'done'
    )), 'rows', 1
)
RETURNING *;

-- name: rejects_of_rows
-- The rejects of a request.
SELECT record, line, column_name, rule, value, reason, original FROM sluice.rejects WHERE ingestion = :ingestion;

-- name: claim_idempotency_key
-- True for the one request that owns a key; another request with the same key waits until it ends.
INSERT INTO sluice.idempotency_keys (key, fingerprint) VALUES (:key, :fingerprint)
ON CONFLICT (key) DO NOTHING
RETURNING true;

-- name: find_idempotency_key
-- The fingerprint of the request that owns a key, and its answer.
SELECT fingerprint, answer FROM sluice.idempotency_keys WHERE key = :key;

-- name: store_answer
-- Stores the answer that every repetition of a request gets.
UPDATE sluice.idempotency_keys SET answer = CAST(:answer AS json) WHERE key = :key;

-- name: delete_expired_keys
-- Deletes the idempotency keys that have expired.
DELETE FROM sluice.idempotency_keys WHERE created_at < now() - interval '7 days';
