-- name: receive_rows
-- An ingestion of rows that came with a request; its name is its own, so it replaces no other.
INSERT INTO sluice.ingestions (dataset, bucket, object, generation, size_bytes, source, sequence)
VALUES (:dataset, '', :dataset || '/rows/' || gen_random_uuid(), 0, :size_bytes, 'rows', 1)
RETURNING *;

-- name: rejects_of_rows
-- The refused rows of a request.
SELECT record, column_name, rule, value, reason FROM sluice.rejects WHERE ingestion = :ingestion;

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

-- name: open_upload
-- An upload whose first piece comes; nothing happens when another piece came before.
INSERT INTO sluice.uploads (id, dataset, name, size_bytes) VALUES (:upload, :dataset, :name, :size_bytes)
ON CONFLICT (id) DO NOTHING;

-- name: lock_upload
-- An upload, held until the transaction ends: its pieces are counted one after the other.
SELECT * FROM sluice.uploads WHERE id = :upload FOR UPDATE;

-- name: overlapping_pieces
-- The pieces that have bytes of a range.
SELECT first_byte, end_byte, checksum FROM sluice.upload_pieces
WHERE upload = :upload AND first_byte < :end_byte AND end_byte > :first_byte;

-- name: insert_piece
-- A piece that is in the outbox.
INSERT INTO sluice.upload_pieces (upload, first_byte, end_byte, checksum)
VALUES (:upload, :first_byte, :end_byte, :checksum)
ON CONFLICT ON CONSTRAINT upload_pieces_pk DO NOTHING;

-- name: arrived_bytes
-- How many bytes of an upload have arrived: pieces never overlap, so all of them make it whole.
SELECT CAST(coalesce(sum(end_byte - first_byte), 0) AS bigint) FROM sluice.upload_pieces WHERE upload = :upload;

-- name: list_pieces
-- The pieces of an upload in the order of the file.
SELECT first_byte, end_byte, checksum FROM sluice.upload_pieces WHERE upload = :upload ORDER BY first_byte;

-- name: end_upload
-- The file is whole, in the inbox, and an ingestion.
UPDATE sluice.uploads SET ingestion = :ingestion WHERE id = :upload;
