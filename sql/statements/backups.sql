-- name: lock_tables_shared
-- Keeps restores from swapping tables until the session unlocks them; waits for one that does.
SELECT pg_advisory_lock_shared(4, 0);

-- name: unlock_tables_shared
-- Allows restores to swap tables again.
SELECT pg_advisory_unlock_shared(4, 0);

-- name: lock_tables
-- Waits until no backup is reading, and keeps new backups waiting until the transaction ends.
SELECT pg_advisory_xact_lock(4, 0);

-- name: lock_backup
-- Marks a backup as running until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('sluice backup ' || :backup, 0));

-- name: is_backup_running
-- Whether a backup is running.
SELECT NOT pg_try_advisory_xact_lock_shared(hashtextextended('sluice backup ' || :backup, 0));

-- name: lock_restore
-- Serializes the restores of a dataset.
SELECT pg_advisory_xact_lock(hashtextextended('sluice restore ' || :dataset, 0));

-- name: export_snapshot
-- The id with which other sessions use the snapshot of this one.
SELECT pg_export_snapshot();

-- name: select_datasets
-- The declared datasets.
SELECT name, version, origin, declaration FROM sluice.datasets ORDER BY name;

-- name: published_sources
-- The ingestions whose rows readers of a dataset see.
SELECT ingestions.id AS ingestion, ingestions.bucket, ingestions.object, ingestions.generation
FROM sluice.publications JOIN sluice.ingestions ON ingestions.id = publications.ingestion
WHERE publications.dataset = :dataset
ORDER BY ingestions.id;

-- name: columns_of_table
-- The columns of a stored table, without generated ones.
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable
FROM pg_attribute
WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum;

-- name: constraints_of_table
-- The constraints of a stored table, except NOT NULL, which is a property of the columns.
SELECT conname AS name, pg_get_constraintdef(oid) AS sql
FROM pg_constraint
WHERE conrelid = CAST(:table AS regclass) AND contype IN ('p', 'u', 'c', 'x')
ORDER BY conname;

-- name: indexes_of_table
-- The indexes of a stored table that do not belong to a constraint.
SELECT CAST(CAST(indexrelid AS regclass) AS text) AS name, pg_get_indexdef(indexrelid) AS sql
FROM pg_index
WHERE indrelid = CAST(:table AS regclass)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
ORDER BY 1;

-- name: is_plain_type
-- Whether a text is the name of a type that PostgreSQL has itself and that is no row type or pseudo-type.
SELECT EXISTS (
    SELECT FROM pg_type
    WHERE oid = to_regtype(:type) AND typtype = 'b' AND typnamespace = CAST('pg_catalog' AS regnamespace)
);

-- name: size_of_table
-- The pages of a stored table, and its size in bytes with its TOAST data.
SELECT pg_relation_size(CAST(:table AS regclass)) / CAST(current_setting('block_size') AS bigint) AS pages,
    pg_table_size(CAST(:table AS regclass)) AS size_bytes;

-- name: begin_restored_ingestion
-- The ingestion of a restore.
INSERT INTO sluice.ingestions (dataset, bucket, object, generation, size_bytes, source, state, chunks_total)
VALUES (:dataset, :bucket, :object, :generation, :size_bytes, 'restore', 'publishing', 0)
RETURNING id;

-- name: count_restored_rows
-- The account of a restore.
UPDATE sluice.ingestions SET records_read = :rows, records_total = :rows, rows_loaded = :rows
WHERE id = :ingestion;

-- name: unfinished_of_dataset
-- The ingestions of a dataset that are loading.
SELECT id FROM sluice.ingestions
WHERE dataset = :dataset AND state IN ('received', 'splitting', 'loading', 'publishing') AND id <> :ingestion
ORDER BY id;

-- name: in_order_of_uploads
-- Ingestions in the order of their uploads.
SELECT id FROM sluice.ingestions
WHERE id = ANY (CAST(:ingestions AS integer[]))
ORDER BY uploaded_at, generation, id;

-- name: delete_dataset
-- Deletes a declaration.
WITH versions AS (DELETE FROM sluice.declarations WHERE dataset = :dataset)
DELETE FROM sluice.datasets WHERE name = :dataset;
