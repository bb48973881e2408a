-- name: lock_tables_shared
-- Waits until no restore swaps tables, and keeps them from it until the session lets go.
SELECT pg_advisory_lock_shared(4, 0);

-- name: unlock_tables_shared
-- Lets restores swap tables again.
SELECT pg_advisory_unlock_shared(4, 0);

-- name: lock_tables
-- Waits until no backup reads; keeps new ones waiting until the transaction ends.
SELECT pg_advisory_xact_lock(4, 0);

-- name: lock_backup
-- Says that a backup is being made, for as long as the transaction lives.
SELECT pg_advisory_xact_lock(hashtextextended('sluice backup ' || :backup, 0));

-- name: is_backup_running
-- Whether somebody is making a backup at this moment.
SELECT NOT pg_try_advisory_xact_lock_shared(hashtextextended('sluice backup ' || :backup, 0));

-- name: lock_restore
-- Lets one restore at a time work on a dataset.
SELECT pg_advisory_xact_lock(hashtextextended('sluice restore ' || :dataset, 0));

-- name: export_snapshot
-- What other sessions need to see exactly what this one sees.
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
-- The columns of a stored table that hold values of their own.
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable
FROM pg_attribute
WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum;

-- name: constraints_of_table
-- The constraints of a stored table; those that only say NOT NULL come with the columns.
SELECT conname AS name, pg_get_constraintdef(oid) AS sql
FROM pg_constraint
WHERE conrelid = CAST(:table AS regclass) AND contype IN ('p', 'u', 'c', 'x')
ORDER BY conname;

-- name: indexes_of_table
-- The indexes of a stored table that belong to no constraint.
SELECT CAST(CAST(indexrelid AS regclass) AS text) AS name, pg_get_indexdef(indexrelid) AS sql
FROM pg_index
WHERE indrelid = CAST(:table AS regclass)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
ORDER BY 1;

-- name: size_of_table
-- Pages of a stored table, and its bytes with what is stored beside it.
SELECT pg_relation_size(CAST(:table AS regclass)) / CAST(current_setting('block_size') AS bigint) AS pages,
    pg_table_size(CAST(:table AS regclass)) AS size_bytes;

-- name: begin_restored_ingestion
-- The ingestion that stands for what a restore brings.
INSERT INTO sluice.ingestions (dataset, bucket, object, generation, size_bytes, source, state, chunks_total)
VALUES (:dataset, :bucket, :object, :generation, :size_bytes, 'restore', 'publishing', 0)
RETURNING id;

-- name: count_restored_rows
-- The account of what a restore brought.
UPDATE sluice.ingestions SET records_read = :rows, records_total = :rows, rows_loaded = :rows
WHERE id = :ingestion;

-- name: unfinished_of_dataset
-- The ingestions of a dataset that load at this moment.
SELECT id FROM sluice.ingestions
WHERE dataset = :dataset AND state IN ('received', 'splitting', 'loading', 'publishing') AND id <> :ingestion
ORDER BY id;

-- name: delete_dataset
-- Forgets a declaration.
DELETE FROM sluice.datasets WHERE name = :dataset;
