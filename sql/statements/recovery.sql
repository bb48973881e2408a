-- name: claim_stalled
-- An ingestion without progress for too long, locked until the transaction ends. The wait doubles with
-- each resend: in a long backlog messages are late without being lost. Of the files of a dataset that wait, only the
-- first may have stalled: who handles it takes the others.
UPDATE sluice.ingestions SET resends = resends + 1
WHERE id = (
    SELECT id FROM sluice.ingestions
    WHERE state IN ('received', 'splitting', 'loading', 'publishing')
        AND updated_at < now() - make_interval(secs => :idle_s * power(2, least(resends, 8)))
        AND NOT id = ANY (CAST(:passed AS integer[]))
        AND NOT (state = 'received' AND waiting_since IS NOT NULL AND EXISTS (
            SELECT FROM sluice.ingestions AS before
            WHERE before.dataset = ingestions.dataset AND before.state = 'received' AND before.waiting_since IS NOT NULL
                AND before.id < ingestions.id
        ))
    ORDER BY updated_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: publishing_event
-- The event that triggers finish.
SELECT ingestion, sequence, state, severity, body, published_at FROM sluice.events
WHERE ingestion = :ingestion AND state = 'publishing'
ORDER BY sequence DESC
LIMIT 1;

-- name: unpublished_ingestions
-- Ingestions with events that their handler has not published within a minute; in any order, so that one whose
-- events Pub/Sub refuses does not delay the same others in each run.
SELECT ingestion FROM sluice.events
WHERE published_at IS NULL AND created_at < now() - interval '1 minute'
GROUP BY ingestion
ORDER BY random();

-- name: record_failed_attempt
-- Counts a failed attempt of a step. The attempts of split count from 1 again once it has recorded a chunk, those of
-- finish once a step of it is done.
-- An attempt whose start was counted is no longer unanswered.
INSERT INTO sluice.failed_attempts AS known (ingestion, step, progress, problem)
VALUES (
    :ingestion, :step,
    CASE :step
        WHEN 'split' THEN (SELECT count(*) FROM sluice.chunks WHERE chunks.ingestion = :ingestion)
        WHEN 'finish' THEN (SELECT count(done_at) FROM sluice.publish_steps WHERE publish_steps.ingestion = :ingestion)
        ELSE 0
    END,
    CAST(:problem AS jsonb)
)
ON CONFLICT ON CONSTRAINT failed_attempts_pk DO UPDATE
SET attempts = CASE WHEN known.progress = excluded.progress THEN known.attempts + 1 ELSE 1 END,
    first_at = CASE WHEN known.progress = excluded.progress AND known.attempts > 0 THEN known.first_at ELSE now() END,
    unanswered = CASE WHEN known.progress = excluded.progress
        THEN greatest(known.unanswered - CAST(:started AS integer), 0) ELSE 0 END,
    progress = excluded.progress, problem = excluded.problem, last_at = now()
RETURNING attempts, CAST(extract(epoch FROM now() - first_at) AS double precision) AS age_s;

-- name: count_start
-- Counts the start of an attempt as unanswered, if the ingestion has the step to do; those of split count from 1
-- again once it has recorded a chunk, those of finish once a step of it is done.
INSERT INTO sluice.failed_attempts AS known (ingestion, step, progress, attempts, unanswered)
SELECT id, :step,
    CASE :step
        WHEN 'split' THEN (SELECT count(*) FROM sluice.chunks WHERE chunks.ingestion = :ingestion)
        WHEN 'finish' THEN (SELECT count(done_at) FROM sluice.publish_steps WHERE publish_steps.ingestion = :ingestion)
        ELSE 0
    END,
    0, 1
FROM sluice.ingestions
WHERE id = :ingestion AND CAST(state AS text) = ANY (CAST(:states AS text[]))
ON CONFLICT ON CONSTRAINT failed_attempts_pk DO UPDATE
SET unanswered = CASE WHEN known.progress = excluded.progress THEN known.unanswered + 1 ELSE 1 END,
    attempts = CASE WHEN known.progress = excluded.progress THEN known.attempts ELSE 0 END,
    progress = excluded.progress, last_at = now()
RETURNING unanswered;

-- name: count_answer
-- An attempt whose start was counted has ended without an error.
UPDATE sluice.failed_attempts SET unanswered = greatest(unanswered - 1, 0)
WHERE ingestion = :ingestion AND step = :step;

-- name: newest_failed_attempt
-- The last recorded error of an ingestion.
SELECT step, problem FROM sluice.failed_attempts
WHERE ingestion = :ingestion AND problem IS NOT NULL
ORDER BY last_at DESC
LIMIT 1;

-- name: delete_failed_attempts
-- Deletes the failed attempts of an ingestion that is retried.
DELETE FROM sluice.failed_attempts WHERE ingestion = :ingestion;
