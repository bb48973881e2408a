-- name: claim_stalled
-- An ingestion without progress for too long, locked until the transaction ends. The wait doubles with
-- each resend: in a long backlog messages are late without being lost.
UPDATE sluice.ingestions SET resends = resends + 1
WHERE id = (
    SELECT id FROM sluice.ingestions
    WHERE state IN ('received', 'splitting', 'loading', 'publishing')
        AND updated_at < now() - make_interval(secs => :idle_s * power(2, least(resends, 8)))
        AND NOT id = ANY (CAST(:passed AS integer[]))
    ORDER BY updated_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: publishing_event
-- The event that triggers finish.
SELECT ingestion, sequence, state, severity, body FROM sluice.events
WHERE ingestion = :ingestion AND state = 'publishing'
ORDER BY sequence DESC
LIMIT 1;

-- name: unpublished_ingestions
-- Ingestions with events that their handler has not published within a minute.
SELECT DISTINCT ingestion FROM sluice.events
WHERE published_at IS NULL AND created_at < now() - interval '1 minute'
ORDER BY ingestion;
