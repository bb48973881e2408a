-- The engine's own tables. The rows of datasets are in schema "store"; readers use the views in schema
-- "public". Forward-only: a change of the schema is a new file next to this one.

CREATE SCHEMA sluice;
CREATE SCHEMA store;
-- Tables that a restore builds, until it swaps them into "store".
CREATE SCHEMA restoring;

-- Searches that tolerate typing errors, in queries of datasets.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TYPE sluice.ingestion_state AS ENUM (
    'received',    -- the object was uploaded; failed, cancelled, skipped -> received: retried from the start
    'splitting',   -- received -> splitting: split reads the object; its first chunks already load
    'loading',     -- splitting -> loading: every chunk is known, some have no receipt yet
    'publishing',  -- loading -> publishing: every chunk has its receipt
    'done',        -- publishing -> done: readers see the rows
    'failed',      -- received, splitting, loading, publishing -> failed: readers see none of the rows
    'cancelled',   -- received, splitting, loading -> cancelled: an operator stopped it
    'skipped',     -- received, publishing -> skipped: the same content, or a newer generation, is published
    'undone'       -- done -> undone: an operator or a newer generation withdrew the rows
);

-- One row per dataset: its current declaration.
CREATE TABLE sluice.datasets (
    name text CONSTRAINT datasets_pk PRIMARY KEY,
    version integer NOT NULL,              -- incremented by each change of the declaration
    origin text NOT NULL CONSTRAINT datasets_origin_known CHECK (origin IN (
        'folder',                          -- deployed with the code
        'api',                             -- sent to the API
        'inferred',                        -- inferred from the first file
        'restored'                         -- a copy that a restore made; the next restore may replace it
    )),
    declaration jsonb NOT NULL,
    dependencies jsonb NOT NULL DEFAULT '{}',  -- by query: the datasets that it reads, and whether they
                                           -- alone decide its answer; no entry for a query that reads
                                           -- what is not declared yet
    declared_at timestamptz NOT NULL DEFAULT now()
);

-- One row per generation of an object, per request that sent rows, and per restore: its state, its
-- account, and the sequence of its newest event.
CREATE TABLE sluice.ingestions (
    id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT ingestions_pk PRIMARY KEY,
    dataset text,                          -- null when no dataset matches the prefix
    source text NOT NULL DEFAULT 'file' CONSTRAINT ingestions_source_known CHECK (source IN (
        'file',                            -- an object of the inbox
        'rows',                            -- rows of a request: there is no object to read again
        'restore'                          -- the rows of a restore; the object is the backup
    )),
    bucket text NOT NULL,
    object text NOT NULL,
    generation bigint NOT NULL,
    size_bytes bigint NOT NULL,
    crc32c text,
    content_encoding text NOT NULL DEFAULT '',  -- of the object: 'gzip', or empty
    uploaded_at timestamptz NOT NULL DEFAULT now(),  -- creation time of the object; orders updates of a key
    state sluice.ingestion_state NOT NULL DEFAULT 'received',
    layout jsonb,                          -- dialect and header of the file; null until it was opened
    chunks_total integer,                  -- null until the file is read to its end
    content_bytes bigint,                  -- decompressed size; null until the file is read to its end
    content_sha256 bytea,                  -- digest of the decompressed content; null until the file is read
                                           -- to its end, and where there is no file
    records_total bigint,                  -- as split counts them, independently of the parser
    chunks_loaded integer NOT NULL DEFAULT 0,
    bytes_loaded bigint NOT NULL DEFAULT 0,
    records_read bigint NOT NULL DEFAULT 0,
    rows_loaded bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    sequence integer NOT NULL DEFAULT 0,   -- of the newest event
    problem jsonb,                         -- problem document of a failure
    warnings jsonb NOT NULL DEFAULT '[]',  -- for readers of the rows: [{rule, column, rows, message}, ...]
    output jsonb,                          -- the output in the outbox: bucket, object, generation, size_bytes
    replaced_by integer,                   -- the ingestion whose publication withdrew or skipped this one
    resends integer NOT NULL DEFAULT 0,    -- how often recovery sent its messages again
    received_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    collected_at timestamptz,              -- when garbage collection removed what it left over
    CONSTRAINT ingestions_object_generation_once UNIQUE (bucket, object, generation),
    -- What is published balances, whichever function wrote it.
    CONSTRAINT ingestions_account_balances
        CHECK (state <> 'done' OR records_read = rows_loaded + rows_rejected + duplicates)
);
-- "Was this content loaded before?"
CREATE INDEX ingestions_content ON sluice.ingestions (dataset, content_sha256) WHERE state = 'done';
-- "May this content have been loaded before?", asked before the file is read.
CREATE INDEX ingestions_checksum ON sluice.ingestions (dataset, crc32c, size_bytes) WHERE state = 'done';
-- "Which ingestions were uploaded after this one?"
CREATE INDEX ingestions_uploaded ON sluice.ingestions (dataset, uploaded_at) WHERE state = 'done';
-- "Which ingestion does a newer generation replace?"
CREATE INDEX ingestions_object ON sluice.ingestions (bucket, object) WHERE state = 'done';
-- "Which ingestions have stalled?", asked by recovery.
CREATE INDEX ingestions_unfinished ON sluice.ingestions (updated_at)
    WHERE state IN ('received', 'splitting', 'loading', 'publishing');
-- "Which ended ingestions may have left something over?", asked by garbage collection.
CREATE INDEX ingestions_uncollected ON sluice.ingestions (finished_at)
    WHERE collected_at IS NULL AND state IN ('done', 'failed', 'cancelled', 'skipped', 'undone');

-- Empties the staging table of an ingestion that will not be published. It runs after the update that
-- locks the ingestion's row: a loader either committed before, and its rows are deleted here, or finds
-- the new state and rolls back. SECURITY DEFINER, because any function may end an ingestion.
CREATE FUNCTION sluice.discard_staged() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    staging regclass := to_regclass(format('store.%I', NEW.dataset || '__staging'));
BEGIN
    IF staging IS NOT NULL THEN
        EXECUTE format('DELETE FROM %s WHERE ingestion = $1', staging) USING NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ingestions_discard_staged AFTER UPDATE OF state ON sluice.ingestions
    FOR EACH ROW WHEN (NEW.state IN ('failed', 'cancelled', 'skipped') AND NEW.dataset IS NOT NULL)
    EXECUTE FUNCTION sluice.discard_staged();

-- The chunks of an ingestion as split cut them: half-open byte ranges that tile the file after its header.
CREATE TABLE sluice.chunks (
    ingestion integer NOT NULL CONSTRAINT chunks_ingestion REFERENCES sluice.ingestions (id),
    number integer NOT NULL,
    first_byte bigint NOT NULL,
    end_byte bigint NOT NULL,
    first_line bigint NOT NULL,
    first_record bigint NOT NULL,
    records bigint NOT NULL,
    lines bigint NOT NULL,
    CONSTRAINT chunks_pk PRIMARY KEY (ingestion, number),
    CONSTRAINT chunks_range_not_empty CHECK (first_byte < end_byte)
);

-- The receipt of a chunk, written in the transaction of its rows: a second delivery finds it.
CREATE TABLE sluice.receipts (
    ingestion integer NOT NULL,
    chunk integer NOT NULL,
    records_read bigint NOT NULL,
    rows_loaded bigint NOT NULL,
    rows_rejected bigint NOT NULL,
    duplicates bigint NOT NULL,
    recovered bigint NOT NULL,             -- of the records read, those found after an unclosed quote,
                                           -- which split counted as the rest of one record
    loaded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT receipts_pk PRIMARY KEY (ingestion, chunk),
    CONSTRAINT receipts_chunk FOREIGN KEY (ingestion, chunk) REFERENCES sluice.chunks (ingestion, number),
    CONSTRAINT receipts_account_balances CHECK (records_read = rows_loaded + rows_rejected + duplicates)
);

-- Refused rows, kept in full.
CREATE TABLE sluice.rejects (
    ingestion integer NOT NULL,
    line bigint NOT NULL,                  -- physical line of the file where the record starts, from 1
    record bigint NOT NULL,                -- record of the file, from 0, header not counted
    column_name text,                      -- null where the complete record is rejected
    rule text NOT NULL,
    value text,
    reason text NOT NULL,
    original bytea NOT NULL,               -- the record's bytes in the file
    CONSTRAINT rejects_pk PRIMARY KEY (ingestion, record)
);

-- The outbox: an event is written in the transaction that makes it true and published after it.
CREATE TABLE sluice.events (
    ingestion integer NOT NULL CONSTRAINT events_ingestion REFERENCES sluice.ingestions (id),
    sequence integer NOT NULL,
    state text NOT NULL,                   -- a state, or 'progress'
    severity text NOT NULL CONSTRAINT events_severity_known CHECK (severity IN ('INFO', 'WARNING', 'ERROR')),
    body jsonb NOT NULL,                   -- the CloudEvent
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- not now(): a chunk's transaction is long
    published_at timestamptz,
    CONSTRAINT events_pk PRIMARY KEY (ingestion, sequence)
);
-- "Which events must still be published, in order?", asked by the relay.
CREATE INDEX events_unpublished ON sluice.events (ingestion, sequence) WHERE published_at IS NULL;

-- Wakes the streams of server-sent events when an event's transaction commits.
CREATE FUNCTION sluice.notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sluice_events', NEW.ingestion || ':' || NEW.sequence);
    RETURN NULL;
END $$;
CREATE TRIGGER events_notify AFTER INSERT ON sluice.events
    FOR EACH ROW EXECUTE FUNCTION sluice.notify_event();

-- A segment: ingestions whose rows are in the projections together. Compaction makes one of many small
-- ingestions, and a larger one of several segments of similar size, so that a query reads a handful.
CREATE TABLE sluice.segments (
    id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT segments_pk PRIMARY KEY,
    dataset text NOT NULL,
    ingestions integer[] NOT NULL,         -- every ingestion whose rows it contains
    rows bigint NOT NULL,
    compacted_at timestamptz,              -- when it was complete and readers began to use it
    retired_at timestamptz                 -- when readers stopped using it; garbage collection deletes it
);
-- "Which segments does a dataset have?", asked by compaction and by the views of projections.
CREATE INDEX segments_dataset ON sluice.segments (dataset);

-- A slice: a range of a segment's rows in one projection, made in one transaction. Its id orders the
-- rows of the projection, so ids are never reused.
CREATE TABLE sluice.slices (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT slices_pk PRIMARY KEY,
    segment integer NOT NULL
        CONSTRAINT slices_segment REFERENCES sluice.segments (id) ON DELETE CASCADE,
    projection text NOT NULL,
    first text,                            -- lower bound, inclusive; null: none
    last text,                             -- upper bound, exclusive; null: none
    made_at timestamptz                    -- null until its rows are in the projection
);
-- "Which slices of a segment are left to make?"
CREATE INDEX slices_of_segment ON sluice.slices (segment);

-- The ingestions whose rows readers see: publishing inserts here, withdrawing deletes.
CREATE TABLE sluice.publications (
    ingestion integer CONSTRAINT publications_pk PRIMARY KEY
        CONSTRAINT publications_ingestion REFERENCES sluice.ingestions (id),
    dataset text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    segment integer                        -- where readers find its rows in the projections; null: not there
        CONSTRAINT publications_segment REFERENCES sluice.segments (id) ON DELETE SET NULL
);
-- "Which ingestion was published last?", asked for each answer.
CREATE INDEX publications_newest ON sluice.publications (dataset, published_at DESC, ingestion DESC);
-- "Which rows are in no projection yet?", asked by queries and by compaction.
CREATE INDEX publications_uncompacted ON sluice.publications (dataset, ingestion) WHERE segment IS NULL;
-- "Does any publication still use this segment?"
CREATE INDEX publications_of_segment ON sluice.publications (segment);

-- One row per dataset: its newest publication or withdrawal, for ETags.
CREATE TABLE sluice.freshness (
    dataset text CONSTRAINT freshness_pk PRIMARY KEY,
    ingestion integer NOT NULL,
    version bigint NOT NULL,               -- incremented by every change of what readers see
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Summarizes the block range indexes of a table, for a role that may maintain the table without owning it.
-- Summarizing and autovacuum exclude each other, and a session that waits for autovacuum has it cancelled
-- after a second. A cancelled autovacuum leaves a placeholder for the block range that it was summarizing,
-- after which PostgreSQL 18 excludes no range: a scan then reads everything that follows. So this never
-- waits for the lock; it polls for it. Null: it did not get the lock in 200 seconds.
CREATE FUNCTION sluice.summarize(stored regclass) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT has_table_privilege(session_user, stored, 'MAINTAIN') THEN
        RETURN 0;
    END IF;
    FOR second IN 1..200 LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', stored);
            RETURN (
                SELECT coalesce(sum(brin_summarize_new_values(indexrelid)), 0)
                FROM pg_index
                    JOIN pg_class ON pg_class.oid = indexrelid
                    JOIN pg_am ON pg_am.oid = relam
                WHERE indrelid = stored AND amname = 'brin'
            );
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(1);
        END;
    END LOOP;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION sluice.summarize(regclass) FROM public;

-- Push subscriptions made through the API; the Pub/Sub subscription has the id as its name.
CREATE TABLE sluice.subscriptions (
    id text CONSTRAINT subscriptions_pk PRIMARY KEY,
    endpoint text NOT NULL,
    dataset text,
    states text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The answer to a request with an Idempotency-Key, written in the transaction of the request's effect.
CREATE TABLE sluice.idempotency_keys (
    key text CONSTRAINT idempotency_keys_pk PRIMARY KEY,
    fingerprint text NOT NULL,             -- of the request: another request may not use the key
    answer json,                           -- as it was sent; null only inside the transaction that makes it
    created_at timestamptz NOT NULL DEFAULT now()
);
-- "Which keys have expired?"
CREATE INDEX idempotency_keys_created ON sluice.idempotency_keys (created_at);

-- Multipart uploads, by the protocol of dropzone.js.
CREATE TABLE sluice.uploads (
    id text CONSTRAINT uploads_pk PRIMARY KEY,  -- chosen by the client
    dataset text NOT NULL,
    name text NOT NULL,                    -- of the file
    size_bytes bigint NOT NULL CONSTRAINT uploads_size_not_zero CHECK (size_bytes > 0),
    ingestion integer                      -- null until the file is complete and in the inbox
        CONSTRAINT uploads_ingestion REFERENCES sluice.ingestions (id),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The parts of an upload, each an object of the outbox: half-open byte ranges that do not overlap.
CREATE TABLE sluice.upload_parts (
    upload text NOT NULL CONSTRAINT upload_parts_upload REFERENCES sluice.uploads (id),
    first_byte bigint NOT NULL,
    end_byte bigint NOT NULL,
    checksum text NOT NULL,
    CONSTRAINT upload_parts_pk PRIMARY KEY (upload, first_byte),
    CONSTRAINT upload_parts_range_not_empty CHECK (first_byte < end_byte)
);
