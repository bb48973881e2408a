-- The engine's own tables: datasets, the life of each file, receipts, rejects, events.
-- Rows of datasets live in schema "store"; readers use the views in schema "public".

CREATE SCHEMA sluice;
CREATE SCHEMA store;

CREATE TYPE sluice.ingestion_state AS ENUM (
    'received',    -- the object was announced; failed, cancelled -> received: retried from its start
    'splitting',   -- received -> splitting: the object is being read and cut; chunks already load
    'loading',     -- splitting -> loading: every chunk is known, some have no receipt yet
    'publishing',  -- loading -> publishing: every chunk has its receipt
    'done',        -- publishing -> done: readers see the rows
    'failed',      -- any of the five above -> failed: nothing of it is visible
    'cancelled',   -- received, splitting, loading -> cancelled: a person stopped it
    'skipped',     -- received or publishing -> skipped: the same content was loaded before
    'undone'       -- done -> undone: a person or a newer file took the rows back
);

-- Each dataset with its current declaration.
CREATE TABLE sluice.datasets (
    name text CONSTRAINT datasets_pk PRIMARY KEY,
    version integer NOT NULL,          -- grows by one with each change of the declaration
    origin text NOT NULL CONSTRAINT datasets_origin_known CHECK (origin IN ('folder', 'api', 'inferred')),
    declaration jsonb NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now()
);

-- One row for one generation of one object: its state, its account, its place in the event sequence.
CREATE TABLE sluice.ingestions (
    id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT ingestions_pk PRIMARY KEY,
    dataset text,                      -- null when no dataset fits the prefix
    bucket text NOT NULL,
    object text NOT NULL,
    generation bigint NOT NULL,
    size_bytes bigint NOT NULL,
    crc32c text,
    state sluice.ingestion_state NOT NULL DEFAULT 'received',
    layout jsonb,                      -- dialect and header of the file, once it was opened
    chunks_total integer,              -- null until the file is read to its end
    content_bytes bigint,              -- size of the content, decompressed; null until it is read to its end
    records_total bigint,              -- records as counted by split, independent of the parser
    chunks_loaded integer NOT NULL DEFAULT 0,
    bytes_loaded bigint NOT NULL DEFAULT 0,
    records_read bigint NOT NULL DEFAULT 0,
    rows_loaded bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    sequence integer NOT NULL DEFAULT 0,  -- of the newest event
    problem jsonb,                     -- problem document of a failure
    replaced_by integer,               -- the ingestion whose publication took these rows back
    received_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT ingestions_object_generation_once UNIQUE (bucket, object, generation)
);
-- "Was this content loaded before?" and "which ingestion does a newer generation replace?"
CREATE INDEX ingestions_content ON sluice.ingestions (dataset, crc32c, size_bytes) WHERE state = 'done';
CREATE INDEX ingestions_object ON sluice.ingestions (bucket, object) WHERE state = 'done';
-- The sweep for ingestions that stand still.
CREATE INDEX ingestions_unfinished ON sluice.ingestions (updated_at)
    WHERE state IN ('received', 'splitting', 'loading', 'publishing');

-- The ingestions whose rows readers see: the one switch that publishing, replacing and undoing turn.
CREATE TABLE sluice.publications (
    ingestion integer CONSTRAINT publications_pk PRIMARY KEY
        CONSTRAINT publications_ingestion REFERENCES sluice.ingestions (id),
    dataset text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
-- The freshness of a dataset: its newest publication or withdrawal, for ETags.
CREATE TABLE sluice.freshness (
    dataset text CONSTRAINT freshness_pk PRIMARY KEY,
    ingestion integer NOT NULL,
    version bigint NOT NULL,           -- grows with every change of what readers see
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Chunks as split cut them: half-open byte ranges that tile the file behind its header.
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

-- The receipt of a chunk: written in the transaction of its rows, so a second delivery finds it.
CREATE TABLE sluice.receipts (
    ingestion integer NOT NULL,
    chunk integer NOT NULL,
    records_read bigint NOT NULL,
    rows_loaded bigint NOT NULL,
    rows_rejected bigint NOT NULL,
    duplicates bigint NOT NULL,
    recovered bigint NOT NULL,         -- of the records read, those saved from behind an unclosed quote,
                                       -- which split took for the rest of one record
    loaded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT receipts_pk PRIMARY KEY (ingestion, chunk),
    CONSTRAINT receipts_chunk FOREIGN KEY (ingestion, chunk) REFERENCES sluice.chunks (ingestion, number),
    CONSTRAINT receipts_account_balances CHECK (records_read = rows_loaded + rows_rejected + duplicates)
);

-- Refused rows, kept whole.
CREATE TABLE sluice.rejects (
    ingestion integer NOT NULL,
    line bigint NOT NULL,              -- physical line of the file where the record starts, from 1
    record bigint NOT NULL,            -- record of the file, from 0, header not counted
    column_name text,                  -- null where the record as a whole is refused
    rule text NOT NULL,
    value text,
    reason text NOT NULL,
    original bytea NOT NULL,           -- the record's bytes as they stand in the file
    CONSTRAINT rejects_pk PRIMARY KEY (ingestion, record)
);

-- The outbox: events are written in the transaction that makes them true and published after it.
CREATE TABLE sluice.events (
    ingestion integer NOT NULL CONSTRAINT events_ingestion REFERENCES sluice.ingestions (id),
    sequence integer NOT NULL,
    state text NOT NULL,               -- a state, or 'progress'
    severity text NOT NULL CONSTRAINT events_severity_known CHECK (severity IN ('INFO', 'WARNING', 'ERROR')),
    body jsonb NOT NULL,               -- the CloudEvent
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- a chunk's transaction began long before
    published_at timestamptz,
    CONSTRAINT events_pk PRIMARY KEY (ingestion, sequence)
);
-- The relay: events that still have to go out, in order.
CREATE INDEX events_unpublished ON sluice.events (ingestion, sequence) WHERE published_at IS NULL;

-- Wakes the server-sent event streams when the event's transaction commits.
CREATE FUNCTION sluice.notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sluice_events', NEW.ingestion || ':' || NEW.sequence);
    RETURN NULL;
END $$;
CREATE TRIGGER events_notify AFTER INSERT ON sluice.events
    FOR EACH ROW EXECUTE FUNCTION sluice.notify_event();

-- Push subscriptions made through the API; the Pub/Sub subscription bears the name.
CREATE TABLE sluice.subscriptions (
    id text CONSTRAINT subscriptions_pk PRIMARY KEY,
    endpoint text NOT NULL,
    dataset text,
    states text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
