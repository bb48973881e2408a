-- name: delete_segments
-- Deletes a dataset's segments: a projection is new or changed, so all of them are built again.
DELETE FROM sluice.segments WHERE dataset = :dataset;

-- name: lock_compaction
-- True for the one compactor of a dataset; the connection holds the lock until it is closed.
SELECT pg_try_advisory_lock(hashtext('sluice compaction'), hashtext(:dataset));

-- name: is_loading
-- Whether any ingestion of the dataset is in progress.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
);

-- name: unchanged_s
-- For how many seconds nothing of a dataset was published or withdrawn.
SELECT extract(epoch FROM clock_timestamp() - changed_at) FROM sluice.freshness WHERE dataset = :dataset;

-- name: unfinished_segment
-- The segment that an earlier compactor left incomplete.
SELECT id, ingestions, rows FROM sluice.segments
WHERE dataset = :dataset AND compacted_at IS NULL AND retired_at IS NULL;

-- name: compaction_candidates
-- The published ingestions of a dataset: one row per segment, and one per ingestion that is in none and
-- was published until a time, if one is given.
SELECT segment, array_agg(publications.ingestion ORDER BY publications.ingestion) AS ingestions,
    CAST(sum(rows_loaded) AS bigint) AS rows
FROM sluice.publications JOIN sluice.ingestions ON ingestions.id = publications.ingestion
WHERE publications.dataset = :dataset
    AND (segment IS NOT NULL OR published_at <= coalesce(CAST(:until AS timestamptz), 'infinity'))
GROUP BY segment, CASE WHEN segment IS NULL THEN publications.ingestion END
ORDER BY rows, ingestions;

-- name: begin_segment
-- A new segment of these ingestions, empty.
INSERT INTO sluice.segments (dataset, ingestions, rows) VALUES (:dataset, :ingestions, :rows)
RETURNING id, ingestions, rows;

-- name: begin_slices
-- The slices of a projection, each from one bound to the next.
INSERT INTO sluice.slices (segment, projection, first, last)
SELECT :segment, :projection, * FROM unnest(CAST(:firsts AS text[]), CAST(:lasts AS text[]));

-- name: pending_slices
-- The remaining slices of a segment.
SELECT id, projection, first, last FROM sluice.slices WHERE segment = :segment AND made_at IS NULL ORDER BY id;

-- name: sliced_projections
-- The projections for which a segment has its slices.
SELECT DISTINCT projection FROM sluice.slices WHERE segment = :segment;

-- name: is_slice_pending
-- Whether a slice is still to be made and its segment is not retired.
SELECT EXISTS (
    SELECT FROM sluice.slices JOIN sluice.segments ON segments.id = slices.segment
    WHERE slices.id = :slice AND made_at IS NULL AND retired_at IS NULL
);

-- name: complete_slice
-- Marks a slice as made; no row when its segment was retired meanwhile.
UPDATE sluice.slices SET made_at = now()
FROM sluice.segments
WHERE slices.id = :slice AND made_at IS NULL AND segments.id = slices.segment AND retired_at IS NULL
RETURNING slices.id;

-- name: assign_segment
-- From now on readers find the rows of these ingestions in the segment.
UPDATE sluice.publications SET segment = :segment WHERE ingestion = ANY (CAST(:ingestions AS integer[]));

-- name: complete_segment
-- From now on readers use the segment; no row when it was retired meanwhile.
UPDATE sluice.segments SET compacted_at = now() WHERE id = :segment AND retired_at IS NULL RETURNING id;

-- name: retire_unfinished
-- Retires a segment that cannot be completed, unless another compactor completed it.
UPDATE sluice.segments SET retired_at = now()
WHERE id = :segment AND compacted_at IS NULL AND retired_at IS NULL;

-- name: retire_merged_segments
-- Retires the segments whose ingestions have all moved to another one.
UPDATE sluice.segments SET retired_at = now()
WHERE dataset = :dataset AND compacted_at IS NOT NULL AND retired_at IS NULL
    AND NOT EXISTS (SELECT FROM sluice.publications WHERE segment = segments.id);

-- name: retire_segments
-- Retires the segments that contain a withdrawn ingestion.
UPDATE sluice.segments SET retired_at = now()
WHERE retired_at IS NULL AND :ingestion = ANY (ingestions);

-- name: detach_retired_segments
-- Until it is compacted again, readers find the content of a retired segment among the stored rows.
UPDATE sluice.publications SET segment = NULL
WHERE segment IN (SELECT id FROM sluice.segments WHERE retired_at IS NOT NULL);

-- name: uncompacted_datasets
-- Datasets with projections that have waited for rows for so long that the message may be lost.
SELECT DISTINCT publications.dataset
FROM sluice.publications JOIN sluice.datasets ON datasets.name = publications.dataset
WHERE segment IS NULL AND declaration ? 'projections'
    AND published_at < now() - make_interval(secs => :idle_s);

-- name: estimated_rows
-- The planner's estimate of the number of rows in a table; -1 when it has none.
SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST(:table AS regclass);
