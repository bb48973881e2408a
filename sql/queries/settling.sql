-- name: unsettle
-- A projection of the dataset is new or another: all are made anew.
DELETE FROM sluice.settlements WHERE dataset = :dataset;

-- name: lock_settling
-- True for the one handler that may settle this dataset; held by the connection until it is closed.
SELECT pg_try_advisory_lock(hashtext('sluice settling'), hashtext(:dataset));

-- name: is_loading
-- Whether anything of the dataset is on its way.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
);

-- name: open_settlement
-- The settlement of a dataset that is being made.
SELECT * FROM sluice.settlements
WHERE dataset = :dataset AND settled_at IS NULL AND dissolved_at IS NULL;

-- name: settled_and_not
-- What there is to settle: published ingestions by the settlement that holds them, null for none.
SELECT settlement, array_agg(publications.ingestion ORDER BY publications.ingestion) AS ingestions,
    CAST(sum(rows_loaded) AS bigint) AS rows
FROM sluice.publications JOIN sluice.ingestions ON ingestions.id = publications.ingestion
WHERE publications.dataset = :dataset
GROUP BY settlement, CASE WHEN settlement IS NULL THEN publications.ingestion END
ORDER BY rows, ingestions;

-- name: begin_settlement
-- A new settlement of these ingestions, empty.
INSERT INTO sluice.settlements (dataset, ingestions, rows) VALUES (:dataset, :ingestions, :rows) RETURNING *;

-- name: begin_slices
-- The slices of a projection, from one bound to the next.
INSERT INTO sluice.slices (settlement, projection, first, last)
SELECT :settlement, :projection, * FROM unnest(CAST(:firsts AS text[]), CAST(:lasts AS text[]));

-- name: slices_to_make
-- The slices of a settlement that nobody has made.
SELECT * FROM sluice.slices WHERE settlement = :settlement AND made_at IS NULL ORDER BY id;

-- name: sliced_projections
-- The projections whose slices are known.
SELECT DISTINCT projection FROM sluice.slices WHERE settlement = :settlement;

-- name: is_to_make
-- Whether a slice still waits, and its settlement stands.
SELECT EXISTS (
    SELECT FROM sluice.slices JOIN sluice.settlements ON settlements.id = slices.settlement
    WHERE slices.id = :slice AND made_at IS NULL AND dissolved_at IS NULL
);

-- name: mark_made
-- A slice is made; none is returned when its settlement was dissolved meanwhile.
UPDATE sluice.slices SET made_at = now()
FROM sluice.settlements
WHERE slices.id = :slice AND made_at IS NULL AND settlements.id = slices.settlement AND dissolved_at IS NULL
RETURNING slices.id;

-- name: join_settlement
-- The published ingestions of a settlement belong to it from now on.
UPDATE sluice.publications SET settlement = :settlement WHERE ingestion = ANY (CAST(:ingestions AS integer[]));

-- name: mark_settled
-- Readers use the settlement from now on; none is returned when it was dissolved meanwhile.
UPDATE sluice.settlements SET settled_at = now() WHERE id = :settlement AND dissolved_at IS NULL RETURNING id;

-- name: dissolve_merged
-- Settlements whose ingestions all belong to another now.
UPDATE sluice.settlements SET dissolved_at = now()
WHERE dataset = :dataset AND settled_at IS NOT NULL AND dissolved_at IS NULL
    AND NOT EXISTS (SELECT FROM sluice.publications WHERE settlement = settlements.id);

-- name: dissolve
-- An ingestion is taken back: no settlement that holds its rows is right any more.
UPDATE sluice.settlements SET dissolved_at = now()
WHERE dissolved_at IS NULL AND :ingestion = ANY (ingestions);

-- name: leave_dissolved
-- What a dissolved settlement held is looked for among the rows, until it is settled anew.
UPDATE sluice.publications SET settlement = NULL
WHERE settlement IN (SELECT id FROM sluice.settlements WHERE dissolved_at IS NOT NULL);

-- name: dissolved_settlements
-- Settlements that nobody reads any more, oldest first.
SELECT id, dataset FROM sluice.settlements
WHERE dissolved_at < now() - make_interval(secs => :idle_s)
ORDER BY id
LIMIT :limit;

-- name: delete_settlement
-- Nothing is left of a dissolved settlement.
DELETE FROM sluice.settlements WHERE id = :settlement AND dissolved_at IS NOT NULL;

-- name: unsettled_datasets
-- Datasets with projections that wait for rows of which nobody may have told.
SELECT DISTINCT publications.dataset
FROM sluice.publications JOIN sluice.datasets ON datasets.name = publications.dataset
WHERE settlement IS NULL AND declaration ? 'projections'
    AND published_at < now() - make_interval(secs => :idle_s);

-- name: rows_stored
-- About how many rows a table holds, as the planner knows it; -1 when it does not.
SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST(:table AS regclass);
