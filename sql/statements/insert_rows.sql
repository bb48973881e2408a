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
-- The rejects of requests.
SELECT ingestion, record, line, column_name, rule, value, reason, original FROM sluice.rejects
WHERE ingestion = ANY (CAST(:ingestions AS integer[]));

-- name: claim_idempotency_keys
-- The keys that nobody has used before; another request with one of them waits until this one ends. All
-- requests claim in the order of the keys, so that they cannot deadlock.
INSERT INTO sluice.idempotency_keys (key, fingerprint)
SELECT key, fingerprint
FROM unnest(CAST(:keys AS text[]), CAST(:fingerprints AS text[])) AS request (key, fingerprint)
ORDER BY key
ON CONFLICT (key) DO NOTHING
RETURNING key;

-- name: find_idempotency_keys
-- The fingerprints of the requests that own keys, and their answers.
SELECT key, fingerprint, answer FROM sluice.idempotency_keys WHERE key = ANY (CAST(:keys AS text[]));

-- name: store_answers
-- Stores the answers that every repetition of the requests gets.
UPDATE sluice.idempotency_keys SET answer = CAST(given.answer AS json)
FROM unnest(CAST(:keys AS text[]), CAST(:answers AS text[])) AS given (key, answer)
WHERE idempotency_keys.key = given.key;

-- name: delete_expired_keys
-- Deletes the idempotency keys that have expired.
DELETE FROM sluice.idempotency_keys WHERE created_at < now() - interval '7 days';
