-- name: files_in_flight
-- How many files of a dataset are in flight, up to a limit. One without progress does not keep others waiting.
SELECT count(*) FROM (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
        AND updated_at > now() - interval '5 minutes'
    LIMIT :limit
) AS in_flight;

-- name: waiting_for
-- The file of a dataset that has waited longest, for the handler that has ended a file of it to notify split of.
-- While several are in flight, only every fourth end does, as one notification lets several files begin.
SELECT * FROM sluice.ingestions
WHERE dataset = :dataset AND state = 'received' AND waiting_since IS NOT NULL
    AND EXISTS (SELECT FROM sluice.ingestions AS ended WHERE ended.id = :ended AND ended.source = 'file')
    AND (
        mod(CAST(:ended AS integer), 4) = 0
        OR (
            SELECT count(*) FROM sluice.ingestions
            WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
                AND updated_at > now() - interval '5 minutes'
        ) <= 4
    )
ORDER BY id
LIMIT 1;

-- name: keep_waiting
-- A file waits for others of its dataset: it has not stalled.
UPDATE sluice.ingestions SET waiting_since = coalesce(waiting_since, now()), updated_at = now(), resends = 0
WHERE id = :ingestion AND state = 'received';

-- name: next_waiting
-- The file of a dataset that has waited longest.
SELECT * FROM sluice.ingestions
WHERE dataset = :dataset AND state = 'received' AND waiting_since IS NOT NULL
ORDER BY id
LIMIT 1;

-- name: take_waiting
-- The files of a dataset that have waited longest and that nobody splits, locked as by lock_split until the session
-- releases them. The limit of the inner query keeps the planner from locking others.
SELECT * FROM (
    SELECT * FROM sluice.ingestions
    WHERE dataset = :dataset AND state = 'received' AND waiting_since IS NOT NULL
        AND NOT id = ANY (CAST(:passed AS integer[]))
    ORDER BY id
    LIMIT 1000
) AS oldest
WHERE pg_try_advisory_lock(1, id)
LIMIT :limit;

-- name: release_taken
-- Releases the locks of the session.
SELECT pg_advisory_unlock_all();
