-- name: receive_group
-- Inserts small files, or the rows of requests, as ingestions in `publishing`, each with its chunk and
-- receipt; takes files that wait in `received`, of which no more happened. Leaves out a file that is known otherwise,
-- that has another published generation, or whose content is published where the dataset skips the same content. Rows are newer than all that is published, even if
-- the clock of Cloud Storage is ahead.
WITH files AS (
    SELECT * FROM jsonb_to_recordset(CAST(:files AS jsonb)) AS file (
        source text, bucket text, object text, generation bigint, size_bytes bigint, crc32c text, content_encoding text,
        uploaded_at timestamptz, sha256 text, layout jsonb, first_byte bigint, end_byte bigint,
        first_line bigint, records bigint, lines bigint, rows_loaded bigint, rows_rejected bigint, received_at timestamptz
    )
), wanted AS (
    SELECT files.*, known.id AS known
    FROM files LEFT JOIN sluice.ingestions AS known USING (bucket, object, generation)
    WHERE NOT EXISTS (
        SELECT FROM sluice.ingestions AS other
        WHERE CAST(:skips_same_content AS boolean) AND other.dataset = :dataset
            AND other.content_sha256 = decode(files.sha256, 'hex') AND other.state = 'done'
            AND other.fixes IS NULL
    ) AND NOT EXISTS (
        SELECT FROM sluice.ingestions AS other
        WHERE other.bucket = files.bucket AND other.object = files.object AND other.state = 'done'
    )
), received AS (
    INSERT INTO sluice.ingestions (
        dataset, source, bucket, object, generation, size_bytes, crc32c, content_encoding, uploaded_at, state,
        sequence, layout, declaration_version, chunks_total, records_total, content_bytes, content_sha256, chunks_loaded, bytes_loaded, records_read, rows_loaded,
        rows_rejected, received_at
    )
    SELECT :dataset, source, bucket, object, generation, size_bytes, crc32c, content_encoding,
        CASE source
            WHEN 'rows' THEN greatest(clock_timestamp(), (
                SELECT max(uploaded_at) + interval '1 microsecond' FROM sluice.ingestions
                WHERE dataset = :dataset AND state = 'done'
            ))
            ELSE coalesce(uploaded_at, now())
        END, 'publishing',
        CAST(:sequence AS integer), layout, CAST(:declaration_version AS integer), 1, records, end_byte, decode(sha256, 'hex'), 1, end_byte - first_byte, records,
        rows_loaded, rows_rejected, least(received_at, now()) -- clocks differ
    FROM wanted
    WHERE known IS NULL
    ORDER BY bucket, object, generation -- concurrent groups lock in this order, so they cannot deadlock
    ON CONFLICT (bucket, object, generation) DO NOTHING
    RETURNING *
), taken AS (
    UPDATE sluice.ingestions
    SET state = 'publishing', sequence = CAST(:sequence AS integer), layout = wanted.layout,
        declaration_version = CAST(:declaration_version AS integer), chunks_total = 1, records_total = wanted.records,
        content_bytes = wanted.end_byte, content_sha256 = decode(wanted.sha256, 'hex'), chunks_loaded = 1,
        bytes_loaded = wanted.end_byte - wanted.first_byte, records_read = wanted.records,
        rows_loaded = wanted.rows_loaded, rows_rejected = wanted.rows_rejected, resends = 0, waiting_since = NULL,
        updated_at = now()
    FROM wanted
    WHERE ingestions.id = wanted.known AND ingestions.state = 'received' AND ingestions.sequence = 1
    RETURNING ingestions.*
), members AS (
    SELECT *, false AS has_waited FROM received UNION ALL SELECT *, true FROM taken
), cut AS (
    INSERT INTO sluice.chunks (
        ingestion, number, first_byte, end_byte, first_line, first_record, records, lines
    )
    SELECT members.id, 0, first_byte, end_byte, first_line, 0, records, lines
    FROM members JOIN files USING (bucket, object, generation)
), loaded AS (
    INSERT INTO sluice.receipts (
        ingestion, chunk, records_read, rows_loaded, rows_rejected, duplicates, recovered
    )
    SELECT id, 0, records_read, rows_loaded, rows_rejected, 0, 0 FROM members
)
SELECT * FROM members;

-- name: insert_events
-- Events of several ingestions into the outbox, in the transaction that makes them true.
INSERT INTO sluice.events (ingestion, sequence, state, severity, body)
SELECT * FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS event (
    ingestion integer, sequence integer, state text, severity text, body jsonb
);

-- name: publish_group
-- Publishes several ingestions and increments the dataset's freshness; returns those that were in
-- `publishing`.
WITH done AS (
    UPDATE sluice.ingestions
    SET state = 'done', sequence = sequence + 1, updated_at = now(), finished_at = clock_timestamp()
    WHERE id = ANY (CAST(:ingestions AS integer[])) AND state = 'publishing'
    RETURNING *
), switched AS (
    INSERT INTO sluice.publications (ingestion, dataset) SELECT id, dataset FROM done
), refreshed AS (
    INSERT INTO sluice.freshness (dataset, ingestion, version)
    SELECT dataset, max(id), 1 FROM done GROUP BY dataset
    ON CONFLICT (dataset) DO UPDATE
    SET ingestion = excluded.ingestion, version = freshness.version + 1, changed_at = now()
)
SELECT * FROM done;

-- name: first_events
-- The events of files that have waited, where they are not published yet.
SELECT ingestion, sequence, state, severity, body FROM sluice.events
WHERE ingestion = ANY (CAST(:ingestions AS integer[])) AND sequence = 1 AND published_at IS NULL;

-- name: mark_group_events
-- Marks the events of several ingestions up to a sequence as published.
UPDATE sluice.events SET published_at = now()
WHERE ingestion = ANY (CAST(:ingestions AS integer[])) AND sequence <= :sequence AND published_at IS NULL;
