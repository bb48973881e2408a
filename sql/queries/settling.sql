-- name: unsettle
-- A projection of the dataset is new or another: all are made anew.
UPDATE sluice.publications SET settled_at = NULL, settling = '{}' WHERE dataset = :dataset;

-- name: lock_settling
-- True for the one handler that may settle this dataset; held by the connection until it is closed.
SELECT pg_try_advisory_lock(hashtext('sluice settling'), hashtext(:dataset));

-- name: is_loading
-- Whether anything of the dataset is on its way.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
);

-- name: unsettled
-- Published ingestions whose projections are not complete, the oldest first.
SELECT publications.ingestion, publications.settling, ingestions.rows_loaded
FROM sluice.publications JOIN sluice.ingestions ON ingestions.id = publications.ingestion
WHERE publications.dataset = :dataset AND settled_at IS NULL
ORDER BY publications.ingestion
LIMIT 1000;

-- name: keep_settling
-- How far a projection is; none is returned when the ingestion was taken back meanwhile.
UPDATE sluice.publications
SET settling = jsonb_set(settling, ARRAY[CAST(:projection AS text)], CAST(:progress AS jsonb))
WHERE ingestion = :ingestion AND settled_at IS NULL
RETURNING ingestion;

-- name: mark_settled
-- Readers find the ingestion's rows in its projections from now on.
UPDATE sluice.publications SET settled_at = now(), settling = '{}' WHERE ingestion = :ingestion;

-- name: unsettled_datasets
-- Datasets with projections that wait for rows of which nobody may have told.
SELECT DISTINCT publications.dataset
FROM sluice.publications JOIN sluice.datasets ON datasets.name = publications.dataset
WHERE settled_at IS NULL AND declaration ? 'projections'
    AND published_at < now() - make_interval(secs => :idle_s);

-- name: rows_stored
-- About how many rows a table holds, as the planner knows it; -1 when it does not.
SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST(:table AS regclass);
