-- name: delete_full_buckets
-- Deletes the buckets of rate limits that are full again.
DELETE FROM sluice.rate_buckets WHERE at < now() - interval '1 hour';

-- name: uncollected_ingestions
-- Ingestions that ended a while ago and may have left something over.
SELECT * FROM sluice.ingestions
WHERE collected_at IS NULL AND state IN ('done', 'failed', 'cancelled', 'skipped', 'undone')
    AND finished_at < now() - make_interval(secs => :idle_s)
ORDER BY id
LIMIT :limit;

-- name: lock_ended
-- Those of the ingestions that have not changed since they were found; none is retried before the
-- transaction ends.
SELECT id FROM sluice.ingestions
WHERE (id, sequence) IN (
    SELECT * FROM unnest(CAST(:ingestions AS integer[]), CAST(:sequences AS integer[]))
)
FOR SHARE;

-- name: tables_with_column
-- The tables of a dataset that have a column: `ingestion` is in the stored rows, the roll-ups and the
-- staging table, `segment` is in the projections.
SELECT relname, pg_relation_size(pg_class.oid) / current_setting('block_size')::integer AS pages
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' AND attname = :column
    AND (relname = :dataset OR starts_with(relname, :dataset || '__'))
ORDER BY relname;

-- name: begin_collection
-- From now on the ingestions, unless they changed meanwhile, cannot be redone or resumed.
UPDATE sluice.ingestions SET collecting_at = coalesce(collecting_at, now())
WHERE state <> 'done' AND (id, sequence) IN (
    SELECT * FROM unnest(CAST(:ingestions AS integer[]), CAST(:sequences AS integer[]))
);

-- name: mark_collected
-- Nothing of an ingestion remains to be deleted, unless it changed meanwhile.
WITH steps AS (
    DELETE FROM sluice.publish_steps USING sluice.ingestions
    WHERE ingestions.id = :ingestion AND sequence = :sequence AND publish_steps.ingestion = ingestions.id
), outputs AS (
    DELETE FROM sluice.written_outputs USING sluice.ingestions
    WHERE ingestions.id = :ingestion AND sequence = :sequence AND written_outputs.ingestion = ingestions.id
), prepared AS (
    DELETE FROM sluice.prepared USING sluice.ingestions
    WHERE ingestions.id = :ingestion AND sequence = :sequence AND prepared.ingestion = ingestions.id
)
UPDATE sluice.ingestions SET collected_at = now()
WHERE id = :ingestion AND sequence = :sequence;

-- name: retired_segments
-- Segments that readers stopped using a while ago, oldest first.
SELECT id, dataset FROM sluice.segments
WHERE retired_at < now() - make_interval(secs => :idle_s)
ORDER BY id
LIMIT :limit;

-- name: delete_retired_segment
-- Deletes a retired segment whose rows are deleted.
DELETE FROM sluice.segments WHERE id = :segment AND retired_at IS NOT NULL;
