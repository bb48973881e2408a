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

-- name: share_dataset
-- Waits until nothing is published in the dataset, and delays that until the transaction ends; see `lock_dataset`.
SELECT pg_advisory_xact_lock_shared(hashtext('sluice dataset ' || :dataset));

-- name: insert_prepared
-- Records that rows of an ingestion may be in the dataset before it is published.
INSERT INTO sluice.prepared (ingestion, dataset) VALUES (:ingestion, :dataset);

-- name: count_prepared
-- Counts what a step did; when it is repeated, it finds the rows that it left before no more.
UPDATE sluice.publish_steps
SET staged = :staged, prepared = :prepared, remaining = remaining + :remaining
WHERE ingestion = :ingestion AND number = :number;

-- name: prepared_rows
-- What the steps of an ingestion did; no row if it was not prepared.
SELECT
    CAST(sum(staged) AS bigint) AS staged, CAST(sum(prepared) AS bigint) AS prepared,
    CAST(sum(remaining) AS bigint) AS remaining, count(*) FILTER (WHERE done_at IS NULL) AS steps_left
FROM sluice.publish_steps
WHERE ingestion = :ingestion AND EXISTS (SELECT FROM sluice.prepared WHERE prepared.ingestion = publish_steps.ingestion)
HAVING count(*) > 0;

-- name: hidden_ingestions
-- The other ingestions that may have rows in a dataset which readers do not see yet, or never.
SELECT ingestion FROM sluice.prepared
WHERE dataset = :dataset AND switched_at IS NULL AND ingestion <> :ingestion;

-- name: switch_prepared
-- Readers see the prepared rows of an ingestion.
UPDATE sluice.prepared SET switched_at = clock_timestamp() WHERE ingestion = :ingestion;

-- name: repeat_preparations
-- Repeats the steps of ingestions whose prepared rows are gone.
UPDATE sluice.publish_steps SET done_at = NULL
WHERE ingestion = ANY (CAST(:ingestions AS integer[])) AND rollup = '' AND done_at IS NOT NULL;

-- name: prepared_ingestions
-- Those of the ingestions that were prepared.
SELECT ingestion FROM sluice.prepared WHERE ingestion = ANY (CAST(:ingestions AS integer[]));

-- name: delete_prepared
-- Forgets that an ingestion was prepared: none of its rows is hidden in the dataset any more.
DELETE FROM sluice.prepared WHERE ingestion = :ingestion;
