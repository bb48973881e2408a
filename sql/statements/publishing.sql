-- name: insert_publish_steps
-- The steps that merge a roll-up of an ingestion, each from one bucket to another.
INSERT INTO sluice.publish_steps (ingestion, number, rollup, first_bucket, last_bucket)
SELECT :ingestion, (SELECT count(*) FROM sluice.publish_steps WHERE ingestion = :ingestion) + place, :rollup, first, last
FROM unnest(CAST(:firsts AS integer[]), CAST(:lasts AS integer[])) WITH ORDINALITY AS range (first, last, place);

-- name: has_publish_steps
-- Whether the steps of publishing an ingestion are known.
SELECT EXISTS (SELECT FROM sluice.publish_steps WHERE ingestion = :ingestion);

-- name: claim_publish_step
-- A step that nobody works on, locked until the transaction ends; none where the ingestion is not in
-- `publishing`, or is published by another version of its declaration than the handler knows.
SELECT steps.number, rollup, first_bucket, last_bucket
FROM sluice.publish_steps AS steps JOIN sluice.ingestions ON ingestions.id = steps.ingestion
WHERE steps.ingestion = :ingestion AND done_at IS NULL AND state = 'publishing'
    AND declaration_version IS NOT DISTINCT FROM CAST(:declaration_version AS integer)
ORDER BY steps.number
LIMIT 1
FOR UPDATE OF steps SKIP LOCKED;

-- name: complete_publish_step
-- Marks a step as done.
UPDATE sluice.publish_steps SET done_at = clock_timestamp() WHERE ingestion = :ingestion AND number = :number;

-- name: note_progress
-- An ingestion that makes progress has not stalled.
UPDATE sluice.ingestions SET updated_at = clock_timestamp(), resends = 0
WHERE id = :ingestion AND state = 'publishing';

-- name: publish_steps_left
-- How many steps of an ingestion are not done.
SELECT count(*) FROM sluice.publish_steps WHERE ingestion = :ingestion AND done_at IS NULL;

-- name: merged_rollups
-- The roll-ups of an ingestion that steps have merged.
SELECT rollup FROM sluice.publish_steps
WHERE ingestion = :ingestion
GROUP BY rollup
HAVING bool_and(done_at IS NOT NULL);

-- name: lock_output
-- True for the one handler that writes this ingestion's output; held until its transaction ends.
SELECT pg_try_advisory_xact_lock(4, :ingestion);

-- name: insert_output
-- Records that the output of an ingestion is written.
INSERT INTO sluice.written_outputs (ingestion, output) VALUES (:ingestion, CAST(:output AS jsonb));

-- name: select_output
-- The output of an ingestion that is written and not published.
SELECT output FROM sluice.written_outputs WHERE ingestion = :ingestion;

-- name: delete_publish_steps
-- Deletes what the steps of an ingestion recorded; waits for those that handlers work on.
WITH output AS (DELETE FROM sluice.written_outputs WHERE ingestion = :ingestion)
DELETE FROM sluice.publish_steps WHERE ingestion = :ingestion;
