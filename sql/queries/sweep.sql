-- name: claim_idle
-- An ingestion without progress for too long, held until the transaction ends. Each time the sweep waits
-- twice as long: in a long backlog messages are late without being lost.
UPDATE sluice.ingestions SET sweeps = sweeps + 1
WHERE id = (
    SELECT id FROM sluice.ingestions
    WHERE state IN ('received', 'splitting', 'loading', 'publishing')
        AND updated_at < now() - make_interval(secs => :idle_s * power(2, least(sweeps, 8)))
        AND NOT id = ANY (CAST(:passed AS integer[]))
    ORDER BY updated_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: publishing_event
-- The event by which finish is called.
SELECT ingestion, sequence, state, severity, body FROM sluice.events
WHERE ingestion = :ingestion AND state = 'publishing'
ORDER BY sequence DESC
LIMIT 1;

-- name: untold_ingestions
-- Ingestions with events that nobody is about to publish any more.
SELECT DISTINCT ingestion FROM sluice.events
WHERE published_at IS NULL AND created_at < now() - interval '1 minute'
ORDER BY ingestion;

-- name: uncleared_ingestions
-- Ingestions that ended a while ago, with what they may have left.
SELECT * FROM sluice.ingestions
WHERE cleared_at IS NULL AND state IN ('done', 'failed', 'cancelled', 'skipped', 'undone')
    AND finished_at < now() - make_interval(secs => :idle_s)
ORDER BY id
LIMIT :limit;

-- name: hold_ended
-- Those of the ingestions that nothing befell since they were found; none begins anew before the
-- transaction ends.
SELECT id FROM sluice.ingestions
WHERE (id, sequence) IN (
    SELECT * FROM unnest(CAST(:ingestions AS integer[]), CAST(:sequences AS integer[]))
)
FOR SHARE;

-- name: tables_of
-- The tables of a dataset that have a column: `ingestion`, as its own, its roll-ups' and its staging do, or
-- `settlement`, as its projections'.
SELECT relname, pg_relation_size(pg_class.oid) / current_setting('block_size')::integer AS pages
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' AND attname = :column
    AND (relname = :dataset OR starts_with(relname, :dataset || '__'))
ORDER BY relname;

-- name: mark_cleared
-- Nothing superfluous is left of an ingestion, unless it went on meanwhile.
UPDATE sluice.ingestions SET cleared_at = now()
WHERE id = :ingestion AND sequence = :sequence;
