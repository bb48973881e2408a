-- name: receive_rows
-- An ingestion of rows that came with a request; its name is its own, so it replaces no other.
INSERT INTO sluice.ingestions (dataset, bucket, object, generation, size_bytes, source, sequence)
VALUES (:dataset, '', :dataset || '/rows/' || gen_random_uuid(), 0, :size_bytes, 'rows', 1)
RETURNING *;

-- name: claim_key
-- True for the one request that answers for a key; another with the same key waits for its end.
INSERT INTO sluice.idempotency_keys (key, fingerprint) VALUES (:key, :fingerprint)
ON CONFLICT (key) DO NOTHING
RETURNING true;

-- name: find_key
-- The request that came with a key, and its answer.
SELECT fingerprint, answer FROM sluice.idempotency_keys WHERE key = :key;

-- name: keep_answer
-- The answer that every repetition of a request gets.
UPDATE sluice.idempotency_keys SET answer = CAST(:answer AS json) WHERE key = :key;

-- name: forget_keys
-- Keys that no client repeats any more.
DELETE FROM sluice.idempotency_keys WHERE created_at < now() - interval '7 days';
