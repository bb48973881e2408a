-- name: receive_ingestion
-- Inserts the ingestion of a generation; no row when there is one already.
INSERT INTO sluice.ingestions (
    dataset, bucket, object, generation, size_bytes, crc32c, content_encoding, uploaded_at, options, fixes,
    sequence
)
VALUES (
    :dataset, :bucket, :object, :generation, :size_bytes, :crc32c, :content_encoding,
    coalesce(CAST(:uploaded_at AS timestamptz), now()), CAST(:options AS jsonb), CAST(:fixes AS integer), 1
)
ON CONFLICT (bucket, object, generation) DO NOTHING
RETURNING *;

-- name: find_ingestion
-- The ingestion of one generation of an object.
SELECT * FROM sluice.ingestions
WHERE bucket = :bucket AND object = :object AND generation = :generation;

-- name: select_ingestion
-- One ingestion.
SELECT * FROM sluice.ingestions WHERE id = :ingestion;

-- name: lock_ingestion
-- One ingestion, locked until the transaction ends: its events are numbered one at a time.
SELECT * FROM sluice.ingestions WHERE id = :ingestion FOR UPDATE;

-- name: store_layout
-- Stores how the file lays out its columns, for the loaders, and by which declaration, if it had none when it began.
UPDATE sluice.ingestions
SET layout = CAST(:layout AS jsonb), declaration_version = COALESCE(declaration_version, :declaration_version),
    updated_at = now()
WHERE id = :ingestion;

-- name: store_encoding
-- Stores the encoding that was detected in the file, for the loaders.
UPDATE sluice.ingestions
SET layout = jsonb_set(
    jsonb_set(layout, '{dialect,encoding}', to_jsonb(CAST(:encoding AS text))), '{is_detected}', 'true'
)
WHERE id = :ingestion;

-- name: move_ingestion
-- A transition; no row when the ingestion is not in one of the states from which it is legal.
UPDATE sluice.ingestions
SET state = CAST(:to_state AS sluice.ingestion_state),
    sequence = sequence + 1,
    updated_at = now(),
    resends = 0,
    waiting_since = NULL,
    collected_at = NULL,
    collecting_at = NULL,
    finished_at = CASE WHEN :to_state IN ('done', 'failed', 'cancelled', 'skipped', 'undone') THEN clock_timestamp() END,
    problem = CAST(:problem AS jsonb),
    chunks_total = coalesce(CAST(:chunks_total AS integer), chunks_total),
    records_total = coalesce(CAST(:records_total AS bigint), records_total),
    content_bytes = coalesce(CAST(:content_bytes AS bigint), content_bytes),
    content_sha256 = coalesce(CAST(:content_sha256 AS bytea), content_sha256),
    warnings = warnings || CAST(:warnings AS jsonb),
    layout = coalesce(CAST(:layout AS jsonb), layout),
    declaration_version = coalesce(CAST(:declaration_version AS integer), declaration_version),
    output = coalesce(CAST(:output AS jsonb), output),
    replaced_by = coalesce(CAST(:replaced_by AS integer), replaced_by)
WHERE id = :ingestion AND CAST(state AS text) = ANY (CAST(:from_states AS text[]))
RETURNING *;

-- name: content_done
-- The published ingestion whose content is the same, if its rows make another load redundant. Where the
-- dataset has a key, it must have loaded every row or be the dataset's newest change: otherwise a row that
-- it left out might be loaded now.
SELECT id FROM sluice.ingestions
WHERE dataset = :dataset AND content_sha256 = :sha256 AND state = 'done' AND id <> :ingestion
    AND fixes IS NULL
    AND (
        NOT CAST(:is_keyed AS boolean)
        OR rows_loaded = records_read
        OR EXISTS (
            SELECT FROM sluice.freshness
            WHERE freshness.dataset = ingestions.dataset AND freshness.ingestion = ingestions.id
        ) AND NOT EXISTS (
            SELECT FROM sluice.rejects WHERE rejects.ingestion = ingestions.id AND rule = 'references'
        )
    )
ORDER BY id
LIMIT 1;

-- name: is_checksum_done
-- Whether content of the same size and checksum is published: it may be the same content.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND crc32c = :crc32c AND size_bytes = :size_bytes
        AND state = 'done' AND id <> :ingestion AND fixes IS NULL
);

-- name: later_uploads
-- The published ingestions of a dataset that were uploaded after this one, in the order of their upload.
SELECT later.id
FROM sluice.ingestions AS later JOIN sluice.ingestions AS own ON own.id = :ingestion
WHERE later.dataset = own.dataset AND later.state = 'done' AND later.uploaded_at >= own.uploaded_at
    AND (later.uploaded_at, later.generation, later.id) > (own.uploaded_at, own.generation, own.id)
ORDER BY later.uploaded_at, later.generation, later.id;

-- name: older_generations
-- The published ingestions of older generations of the same object.
SELECT id FROM sluice.ingestions
WHERE bucket = :bucket AND object = :object AND state = 'done' AND generation < :generation;

-- name: newer_generation_done
-- A newer generation of the same object that is published already.
SELECT id FROM sluice.ingestions
WHERE bucket = :bucket AND object = :object AND state = 'done' AND generation > :generation
LIMIT 1;

-- name: insert_chunk
-- Inserts a chunk before its message is sent.
INSERT INTO sluice.chunks (ingestion, number, first_byte, end_byte, first_line, first_record, records, lines)
VALUES (:ingestion, :number, :first_byte, :end_byte, :first_line, :first_record, :records, :lines)
ON CONFLICT ON CONSTRAINT chunks_pk DO NOTHING;

-- name: select_chunks
-- The chunks of an ingestion in order, each with whether it has its receipt.
SELECT chunks.*, receipts.chunk IS NOT NULL AS is_loaded
FROM sluice.chunks LEFT JOIN sluice.receipts ON receipts.ingestion = chunks.ingestion AND receipts.chunk = chunks.number
WHERE chunks.ingestion = :ingestion
ORDER BY number;

-- name: lock_split
-- True for the one split of this ingestion; the connection holds the lock until it is closed.
SELECT pg_try_advisory_lock(1, :ingestion);

-- name: lock_chunk
-- True for the one loader of this chunk while no retry of its ingestion begins; held until its
-- transaction ends.
SELECT pg_try_advisory_xact_lock_shared(3, :ingestion)
    AND pg_try_advisory_xact_lock(CAST(:ingestion AS integer), -1 - CAST(:chunk AS integer));

-- name: lock_attempt
-- Waits until no split or loader of an earlier attempt is running, and keeps new ones out until the
-- transaction ends.
SELECT pg_advisory_xact_lock(1, :ingestion), pg_advisory_xact_lock(3, :ingestion);

-- name: select_chunk_state
-- What a loader checks before it loads a chunk: the ingestion's state, whether the chunk has a receipt, and
-- whether it is current: a late message of an earlier attempt may have another range.
SELECT ingestions.state, ingestions.dataset, ingestions.declaration_version, ingestions.layout,
    EXISTS (SELECT FROM sluice.receipts WHERE ingestion = :ingestion AND chunk = :chunk) AS has_receipt,
    EXISTS (SELECT FROM sluice.observations WHERE ingestion = :ingestion AND chunk = :chunk) AS is_observed,
    EXISTS (
        SELECT FROM sluice.chunks
        WHERE ingestion = :ingestion AND number = :chunk
            AND first_byte = :first_byte AND end_byte = :end_byte
            AND first_line = :first_line AND first_record = :first_record
    ) AS is_current
FROM sluice.ingestions WHERE id = :ingestion;

-- name: insert_receipt
-- Inserts the receipt of a chunk; a second one violates the constraint receipts_pk.
INSERT INTO sluice.receipts (ingestion, chunk, records_read, rows_loaded, rows_rejected, duplicates, recovered)
VALUES (:ingestion, :chunk, :records_read, :rows_loaded, :rows_rejected, :duplicates, :recovered);

-- name: insert_observations
-- Inserts what a chunk may be; a second time violates the constraint observations_pk.
INSERT INTO sluice.observations (ingestion, chunk, observations)
VALUES (:ingestion, :chunk, :observations);

-- name: count_observed
-- Counts an observed chunk and takes the next sequence number for its event; no row when the ingestion ended.
UPDATE sluice.ingestions
SET chunks_observed = chunks_observed + 1, sequence = sequence + 1, resends = 0, updated_at = now()
WHERE id = :ingestion AND state IN ('splitting', 'loading')
RETURNING *;

-- name: select_observations
-- What the next chunks of an ingestion may be, in order: a few, as each may have megabytes.
SELECT chunk, observations FROM sluice.observations
WHERE ingestion = :ingestion AND chunk > :chunk
ORDER BY chunk
LIMIT 8;

-- name: delete_observations
-- Deletes the observations of an ingestion.
DELETE FROM sluice.observations WHERE ingestion = :ingestion;

-- name: store_decision
-- Records by which declaration a file is loaded whose types were observed, and how its columns are laid out.
UPDATE sluice.ingestions
SET layout = CAST(:layout AS jsonb), declaration_version = :declaration_version,
    warnings = warnings || CAST(:warnings AS jsonb), updated_at = now()
WHERE id = :ingestion
RETURNING *;

-- name: follow_declaration
-- Moves the other unfinished ingestions of a dataset on to its new declaration, which has wider types, or
-- further columns that their files do not have.
UPDATE sluice.ingestions
SET declaration_version = :declaration_version,
    layout = jsonb_set(layout, '{order}', (layout -> 'order') || CAST(:absent AS jsonb))
WHERE dataset = :dataset AND id <> :ingestion AND declaration_version IS NOT NULL
    AND layout ? 'order' AND state IN ('splitting', 'loading', 'publishing');

-- name: observed_event
-- The event that reported the last observed chunk.
SELECT ingestion, sequence, state, severity, body, published_at FROM sluice.events
WHERE ingestion = :ingestion AND state IN ('progress', 'loading')
ORDER BY sequence DESC
LIMIT 1;

-- name: count_chunk
-- Adds a chunk to its ingestion's account and takes the next sequence number for its event; no row when the
-- ingestion no longer accepts chunks. The last chunk of a completely split file moves it to publishing.
UPDATE sluice.ingestions
SET chunks_loaded = chunks_loaded + 1,
    bytes_loaded = bytes_loaded + :size_bytes,
    records_read = records_read + :records_read,
    rows_loaded = rows_loaded + :rows_loaded,
    rows_rejected = rows_rejected + :rows_rejected,
    duplicates = duplicates + :duplicates,
    sequence = sequence + CASE WHEN state = 'loading' AND chunks_loaded + 1 = chunks_total THEN 2 ELSE 1 END,
    state = CASE WHEN state = 'loading' AND chunks_loaded + 1 = chunks_total
        THEN 'publishing' ELSE state END,
    resends = 0,
    updated_at = now()
WHERE id = :ingestion AND state IN ('splitting', 'loading')
RETURNING *;

-- name: count_receipts
-- For each ingestion: whether its chunks tile the file, and the sums of its chunks and of their receipts,
-- which were counted independently.
SELECT
    given.ingestion,
    count(chunks.number) AS chunks,
    count(receipts.chunk) AS receipts,
    coalesce(sum(chunks.records), 0) AS records_split,
    coalesce(sum(receipts.records_read), 0) AS records_read,
    coalesce(sum(receipts.recovered), 0) AS recovered,
    coalesce(sum(receipts.rows_loaded), 0) AS rows_loaded,
    coalesce(sum(receipts.rows_rejected), 0) AS rows_rejected,
    coalesce(sum(receipts.duplicates), 0) AS duplicates,
    (SELECT count(*) FROM sluice.rejects WHERE rejects.ingestion = given.ingestion) AS rejects_kept,
    min(chunks.first_byte) AS first_byte,
    max(chunks.end_byte) AS end_byte,
    coalesce(bool_and(chunks.number = 0 OR EXISTS (
        SELECT FROM sluice.chunks AS before
        WHERE before.ingestion = chunks.ingestion AND before.number = chunks.number - 1
            AND before.end_byte = chunks.first_byte
            AND before.first_record + before.records = chunks.first_record
    )), true) AS is_tiled
FROM unnest(CAST(:ingestions AS integer[])) AS given (ingestion)
    LEFT JOIN sluice.chunks ON chunks.ingestion = given.ingestion
    LEFT JOIN sluice.receipts ON receipts.ingestion = chunks.ingestion AND receipts.chunk = chunks.number
GROUP BY given.ingestion;

-- name: lines_left
-- How many lines the chunks have that are not loaded yet: a bound of their rows.
SELECT CAST(coalesce(sum(lines), 0) AS bigint) FROM sluice.chunks
WHERE ingestion = :ingestion AND NOT EXISTS (
    SELECT FROM sluice.receipts
    WHERE receipts.ingestion = chunks.ingestion AND receipts.chunk = chunks.number
);

-- name: commonest_reject
-- Which rule of which column most rejects of an ingestion break, how many they are, and the first of them.
SELECT column_name, count(*) AS rejects, min(line) AS line, (array_agg(reason ORDER BY line))[1] AS reason
FROM sluice.rejects
WHERE ingestion = :ingestion
GROUP BY column_name, rule
ORDER BY rejects DESC, line
LIMIT 1;

-- name: first_unfitting
-- How many rows of an ingestion have a value that is not of its column's type, and the first of them.
SELECT count(*) AS rejects, min(line) AS line, (array_agg(reason ORDER BY line))[1] AS reason
FROM sluice.rejects
WHERE ingestion = :ingestion AND rule IN ('type', 'range');

-- name: adjust_account
-- Moves rows that publishing found to be rejects or duplicates out of the loaded ones.
UPDATE sluice.ingestions
SET rows_loaded = rows_loaded - :rejected - :duplicates,
    rows_rejected = rows_rejected + :rejected,
    duplicates = duplicates + :duplicates,
    warnings = warnings || CAST(:warnings AS jsonb),
    updated_at = now()
WHERE id = :ingestion AND state = 'publishing'
RETURNING *;

-- name: changed_by
-- The ingestions that this one withdrew or fixed and whose events are not published yet.
SELECT DISTINCT ingestions.id
FROM sluice.events JOIN sluice.ingestions ON ingestions.id = events.ingestion
WHERE events.published_at IS NULL AND (
    ingestions.replaced_by = :ingestion
    OR ingestions.id = (SELECT fixes FROM sluice.ingestions AS fix WHERE fix.id = :ingestion)
);

-- name: publish
-- Publishes an ingestion: readers see its rows when this commits.
INSERT INTO sluice.publications (ingestion, dataset, published_at) VALUES (:ingestion, :dataset, clock_timestamp());

-- name: withdraw
-- Withdraws an ingestion.
DELETE FROM sluice.publications WHERE ingestion = :ingestion;

-- name: touch_freshness
-- Increments the freshness of a dataset after a change that readers see.
INSERT INTO sluice.freshness (dataset, ingestion, version, changed_at)
VALUES (:dataset, :ingestion, 1, clock_timestamp())
ON CONFLICT (dataset) DO UPDATE
SET ingestion = excluded.ingestion, version = freshness.version + 1, changed_at = excluded.changed_at;

-- name: lock_relay
-- Waits until no other relay publishes this ingestion's events; held until the transaction ends.
SELECT pg_advisory_xact_lock(2, :ingestion);

-- name: unpublished_events
-- Events that are not published yet, in order.
SELECT ingestion, sequence, state, severity, body FROM sluice.events
WHERE ingestion = :ingestion AND published_at IS NULL
ORDER BY sequence
LIMIT :limit;

-- name: mark_events
-- Marks the events up to a sequence as published.
UPDATE sluice.events SET published_at = now()
WHERE ingestion = :ingestion AND sequence <= :sequence AND published_at IS NULL;

-- name: delete_rejects
-- Deletes the rejects of an earlier attempt.
DELETE FROM sluice.rejects WHERE ingestion = :ingestion;

-- name: delete_rejects_without_receipt
-- Deletes the first rejects of a chunk that had too many, before it is loaded again.
DELETE FROM sluice.rejects USING sluice.chunks
WHERE rejects.ingestion = :ingestion AND chunks.ingestion = :ingestion
    AND rejects.line >= chunks.first_line AND rejects.line < chunks.first_line + chunks.lines
    AND NOT EXISTS (
        SELECT FROM sluice.receipts
        WHERE receipts.ingestion = chunks.ingestion AND receipts.chunk = chunks.number
    );

-- name: delete_receipts
-- Deletes the receipts of an earlier attempt.
DELETE FROM sluice.receipts WHERE ingestion = :ingestion;

-- name: delete_chunks
-- Deletes the chunks of an earlier attempt.
DELETE FROM sluice.chunks WHERE ingestion = :ingestion;

-- name: reset_ingestion
-- Resets an ingestion to the state of its arrival; the sequence of its events continues.
UPDATE sluice.ingestions
SET layout = NULL, chunks_total = NULL, records_total = NULL, content_bytes = NULL, chunks_loaded = 0, bytes_loaded = 0,
    records_read = 0, rows_loaded = 0, rows_rejected = 0, duplicates = 0, warnings = '[]', problem = NULL, finished_at = NULL, resends = 0,
    output = NULL, content_sha256 = NULL, replaced_by = NULL,
    declaration_version = NULL, chunks_observed = 0,
    started_at = clock_timestamp() -- the transaction may have waited for handlers of the earlier attempt
WHERE id = :ingestion;

-- name: has_all_rows
-- Whether garbage collection has left all rows and chunks of an ended ingestion.
SELECT collecting_at IS NULL AND collected_at IS NULL FROM sluice.ingestions WHERE id = :ingestion;

-- name: resume_ingestion
-- Resets what split and finish found in an ingestion, and keeps what was loaded.
UPDATE sluice.ingestions
SET chunks_total = NULL, records_total = NULL, content_bytes = NULL, content_sha256 = NULL, warnings = '[]',
    problem = NULL, finished_at = NULL, resends = 0, output = NULL, replaced_by = NULL,
    started_at = clock_timestamp()
WHERE id = :ingestion;

-- name: owes_reject_files
-- Whether an ingestion ended with rejects, and its end is not published yet.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE id = :ingestion AND source = 'file' AND rows_rejected > 0 AND state IN ('done', 'failed')
        AND EXISTS (
            SELECT FROM sluice.events
            WHERE events.ingestion = ingestions.id AND published_at IS NULL AND events.state IN ('done', 'failed')
        )
);

-- name: page_of_reject_lines
-- The rejected records after a line, up to a megabyte; the first megabyte of the first one.
SELECT line, substring(original FROM 1 FOR 1048576) AS original, size_bytes, line_end
FROM (
    SELECT line, original, size_bytes, line_end,
        sum(size_bytes) OVER (ORDER BY line) - size_bytes AS bytes_before
    FROM (
        SELECT line, original, length(original) AS size_bytes, line_end FROM sluice.rejects
        WHERE ingestion = :ingestion AND fixed_by IS NULL AND line > CAST(:after AS bigint)
        ORDER BY line
        LIMIT 2000
    ) AS following
) AS page
WHERE bytes_before < 1048576
ORDER BY line;

-- name: piece_of_reject_line
-- A megabyte of a rejected record after its first bytes.
SELECT substring(original FROM CAST(:after AS integer) + 1 FOR 1048576)
FROM sluice.rejects
WHERE ingestion = :ingestion AND fixed_by IS NULL AND line = :line;

-- name: page_of_reject_reasons
-- The reasons of the rejects after a line, up to about a megabyte, with the first characters of value and reason.
SELECT line, record, column_name, rule, value, reason
FROM (
    SELECT line, record, column_name, rule, value, reason,
        sum(coalesce(length(value), 0) + length(reason)) OVER (ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            AS length_before
    FROM (
        SELECT line, record, column_name, rule, left(value, 65536) AS value, left(reason, 65536) AS reason
        FROM sluice.rejects
        WHERE ingestion = :ingestion AND fixed_by IS NULL AND line > CAST(:after AS bigint)
        ORDER BY line
        LIMIT 2000
    ) AS following
) AS page
WHERE coalesce(length_before, 0) < 524288
ORDER BY line;

-- name: delete_duplicates
-- Deletes the list of an ingestion's duplicates: it is made again.
DELETE FROM sluice.duplicates WHERE ingestion = :ingestion;

-- name: verified_counts
-- What the tables have of an ingestion.
SELECT
    (SELECT count(*) FROM sluice.publications WHERE publications.ingestion = :ingestion) AS published,
    (SELECT count(*) FROM sluice.rejects WHERE rejects.ingestion = :ingestion) AS rejects,
    (SELECT count(*) FROM sluice.duplicates WHERE duplicates.ingestion = :ingestion) AS duplicates,
    (SELECT count(*) FROM sluice.receipts WHERE receipts.ingestion = :ingestion) AS chunks,
    (SELECT CAST(coalesce(sum(recovered), 0) AS bigint) FROM sluice.receipts WHERE receipts.ingestion = :ingestion)
        AS recovered,
    (SELECT CAST(coalesce(sum(end_byte - first_byte), 0) AS bigint) FROM sluice.chunks
        WHERE chunks.ingestion = :ingestion) AS chunk_bytes;

-- name: obstacles_to_redo
-- Whether the rows of an undone ingestion may be deleted already, or may be among those of a restore.
SELECT
    collecting_at IS NOT NULL OR collected_at IS NOT NULL AS is_collected,
    EXISTS (
        SELECT FROM sluice.ingestions AS restore
        WHERE restore.dataset = ingestions.dataset AND restore.source = 'restore' AND restore.state = 'done'
            AND restore.finished_at >= ingestions.finished_at
    ) AS is_restored
FROM sluice.ingestions WHERE id = :ingestion;

-- name: count_redone
-- Moves rows whose keys are taken meanwhile to the duplicates, in the account of an ingestion that is redone.
UPDATE sluice.ingestions
SET rows_loaded = rows_loaded - :duplicates, duplicates = duplicates + :duplicates, replaced_by = NULL
WHERE id = :ingestion AND state = 'undone';
