-- name: open_upload
-- Opens an upload at its first part; has no effect for the parts that follow.
INSERT INTO sluice.uploads (id, dataset, name, size_bytes) VALUES (:upload, :dataset, :name, :size_bytes)
ON CONFLICT (id) DO NOTHING;

-- name: lock_upload
-- An upload, locked until the transaction ends: its parts are counted one at a time.
SELECT * FROM sluice.uploads WHERE id = :upload FOR UPDATE;

-- name: overlapping_parts
-- The parts that overlap a range of bytes.
SELECT first_byte, end_byte, checksum FROM sluice.upload_parts
WHERE upload = :upload AND first_byte < :end_byte AND end_byte > :first_byte;

-- name: insert_part
-- Records a part that is in the outbox.
INSERT INTO sluice.upload_parts (upload, first_byte, end_byte, checksum)
VALUES (:upload, :first_byte, :end_byte, :checksum)
ON CONFLICT ON CONSTRAINT upload_parts_pk DO NOTHING;

-- name: received_bytes
-- How many bytes of an upload were received; parts never overlap, so the sum shows when it is complete.
SELECT CAST(coalesce(sum(end_byte - first_byte), 0) AS bigint) FROM sluice.upload_parts WHERE upload = :upload;

-- name: list_parts
-- The parts of an upload in the order of the file.
SELECT first_byte, end_byte, checksum FROM sluice.upload_parts WHERE upload = :upload ORDER BY first_byte;

-- name: complete_upload
-- The file is complete, in the inbox, and has an ingestion.
UPDATE sluice.uploads SET ingestion = :ingestion WHERE id = :upload;
