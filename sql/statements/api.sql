-- name: dataset_versions_named
-- What readers see of the datasets of some names.
SELECT
    datasets.name, datasets.version, datasets.origin, datasets.declared_at,
    coalesce(freshness.version, 0) AS freshness,
    freshness.changed_at,
    (
        SELECT publications.ingestion FROM sluice.publications
        WHERE publications.dataset = datasets.name
        ORDER BY published_at DESC, publications.ingestion DESC
        LIMIT 1
    ) AS ingestion,
    NULL AS rows_loaded
FROM sluice.datasets LEFT JOIN sluice.freshness ON freshness.dataset = datasets.name
WHERE datasets.name = ANY (CAST(:names AS text[]))
ORDER BY datasets.name;

-- name: list_declarations
-- Every dataset by the version of its declaration.
SELECT name, version, declared_at FROM sluice.datasets ORDER BY name;

-- name: list_dataset_versions
-- What readers see of one dataset or of all, with the rows that were loaded.
SELECT
    datasets.name, datasets.version, datasets.origin, datasets.declared_at,
    coalesce(freshness.version, 0) AS freshness,
    freshness.changed_at,
    newest.ingestion,
    coalesce(newest.rows_loaded, 0) AS rows_loaded
FROM sluice.datasets
LEFT JOIN sluice.freshness ON freshness.dataset = datasets.name
LEFT JOIN LATERAL (
    SELECT
        (array_agg(publications.ingestion ORDER BY published_at DESC, publications.ingestion DESC))[1]
            AS ingestion,
        CAST(sum(ingestions.rows_loaded) AS bigint) AS rows_loaded
    FROM sluice.publications JOIN sluice.ingestions ON ingestions.id = publications.ingestion
    WHERE publications.dataset = datasets.name
) AS newest ON true
WHERE CAST(:dataset AS text) IS NULL OR datasets.name = CAST(:dataset AS text)
ORDER BY datasets.name;

-- name: list_ingestions
-- A page of ingestions, the newest first.
SELECT * FROM sluice.ingestions
WHERE (CAST(:dataset AS text) IS NULL OR dataset = CAST(:dataset AS text))
    AND (CAST(:datasets AS text[]) IS NULL OR dataset = ANY (CAST(:datasets AS text[])))
    AND (CAST(:states AS text[]) IS NULL OR CAST(state AS text) = ANY (CAST(:states AS text[])))
    AND (CAST(:before AS integer) IS NULL OR id < CAST(:before AS integer))
ORDER BY id DESC
LIMIT CAST(:limit AS integer);

-- name: events_after
-- The events of an ingestion after a sequence, in order.
SELECT sequence, body FROM sluice.events
WHERE ingestion = :ingestion AND sequence > CAST(:sequence AS bigint)
ORDER BY sequence;

-- name: events_named
-- Events by ingestion and sequence.
SELECT ingestion, sequence, body FROM sluice.events
WHERE (ingestion, sequence) IN (
    SELECT * FROM unnest(CAST(:ingestions AS integer[]), CAST(:sequences AS integer[]))
)
    AND (CAST(:datasets AS text[]) IS NULL OR EXISTS (
        SELECT FROM sluice.ingestions
        WHERE ingestions.id = events.ingestion AND ingestions.dataset = ANY (CAST(:datasets AS text[]))
    ))
ORDER BY created_at, ingestion, sequence;

-- name: events_since
-- The events of all ingestions since a time; the client may have some of them already.
SELECT events.ingestion, events.sequence, events.body
FROM sluice.events JOIN sluice.ingestions ON ingestions.id = events.ingestion
WHERE ingestions.updated_at >= CAST(:since AS timestamptz)
    AND events.created_at >= CAST(:since AS timestamptz)
    AND (CAST(:datasets AS text[]) IS NULL OR ingestions.dataset = ANY (CAST(:datasets AS text[])))
ORDER BY events.created_at, events.ingestion, events.sequence;

-- name: events_missed
-- The events of all ingestions that were not committed when an event was written, and the later ones of its
-- transaction; the client may have some of them already. Without such an event there are none.
SELECT events.ingestion, events.sequence, events.body
FROM sluice.events AS seen
JOIN sluice.ingestions ON ingestions.updated_at >= seen.created_at - CAST(:margin AS interval)
JOIN sluice.events ON events.ingestion = ingestions.id
    AND events.created_at >= seen.created_at - CAST(:margin AS interval)
WHERE seen.ingestion = CAST(:ingestion AS bigint) AND seen.sequence = CAST(:sequence AS bigint)
    AND CASE
        WHEN events.transaction = seen.transaction THEN events.created_at >= seen.created_at
        ELSE NOT pg_visible_in_snapshot(events.transaction, seen.snapshot)
    END
    AND (CAST(:datasets AS text[]) IS NULL OR ingestions.dataset = ANY (CAST(:datasets AS text[])))
ORDER BY events.created_at, events.ingestion, events.sequence;

-- name: insert_subscription
-- Stores a push subscription made through the API.
INSERT INTO sluice.subscriptions (id, endpoint, dataset, states)
VALUES (:id, :endpoint, :dataset, CAST(:states AS text[]))
RETURNING *;

-- name: list_subscriptions
-- The push subscriptions, the oldest first; one of them when an id is given.
SELECT * FROM sluice.subscriptions
WHERE CAST(:id AS text) IS NULL OR id = CAST(:id AS text)
ORDER BY created_at, id;

-- name: delete_subscription
-- Deletes a push subscription.
DELETE FROM sluice.subscriptions WHERE id = :id;

-- name: page_of_duplicates
-- A page of the duplicates of an ingestion, each with the row that counts. The line of a record follows from its
-- chunk where each record is one line; split did not count the records that were recovered in earlier chunks.
WITH placed AS (
    SELECT first_line, lines, records,
        first_record + CAST(sum(recovered) OVER (ORDER BY number) AS bigint) - recovered AS first_record
    FROM sluice.chunks JOIN sluice.receipts ON receipts.ingestion = chunks.ingestion AND chunk = number
    WHERE chunks.ingestion = :ingestion
)
SELECT duplicates.record, duplicates.key, won_by, won_record,
    own.first_line + duplicates.record - own.first_record AS line,
    winner.first_line + won_record - winner.first_record AS won_line
FROM sluice.duplicates
LEFT JOIN placed AS own ON own.lines = own.records
    AND duplicates.record >= own.first_record AND duplicates.record < own.first_record + own.records
LEFT JOIN placed AS winner ON winner.lines = winner.records
    AND won_by = duplicates.ingestion
    AND won_record >= winner.first_record AND won_record < winner.first_record + winner.records
WHERE duplicates.ingestion = :ingestion AND duplicates.record > CAST(:after AS bigint)
ORDER BY duplicates.record
LIMIT CAST(:limit AS integer);
