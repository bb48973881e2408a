-- name: same_fix
-- The ingestion that fixed rejects of the same ingestion with the same content.
SELECT id FROM sluice.ingestions
WHERE fixes = :fixes AND content_sha256 = :sha256 AND state = 'done' AND id <> :ingestion
ORDER BY id
LIMIT 1;

-- name: settle_rejects
-- Marks the rejects of an ingestion that a file fixed: those whose place among the remaining ones is that of a
-- row that it did not reject again. Only where the file has a row for each remaining reject: otherwise which row
-- fixes which reject is unknown.
WITH remaining AS (
    SELECT line, row_number() OVER (ORDER BY line) - 1 AS place, count(*) OVER () AS rejects
    FROM sluice.rejects
    WHERE ingestion = :fixed AND fixed_by IS NULL
)
UPDATE sluice.rejects SET fixed_by = :fix
FROM remaining
WHERE rejects.ingestion = :fixed AND rejects.line = remaining.line AND remaining.rejects = :records
    AND NOT EXISTS (
        SELECT FROM sluice.rejects AS again WHERE again.ingestion = :fix AND again.record = remaining.place
    );

-- name: count_fixes
-- Moves rows in the account of an ingestion from the rejects to the loaded ones and the duplicates, and takes the
-- next sequence number for the event of it.
UPDATE sluice.ingestions
SET rows_loaded = rows_loaded + :loaded,
    rows_rejected = rows_rejected - :settled,
    duplicates = duplicates + :duplicates,
    rows_fixed = rows_fixed + :settled,
    sequence = sequence + 1,
    updated_at = now()
WHERE id = :ingestion AND state = 'done'
RETURNING *;
