-- Uploads in pieces, by the protocol of dropzone.js: what has arrived of each file.

CREATE TABLE sluice.uploads (
    id text CONSTRAINT uploads_pk PRIMARY KEY,             -- the client's own
    dataset text NOT NULL,
    name text NOT NULL,                                    -- of the file
    size_bytes bigint NOT NULL CONSTRAINT uploads_size_not_zero CHECK (size_bytes > 0),
    ingestion integer CONSTRAINT uploads_ingestion REFERENCES sluice.ingestions (id),
                                                           -- null until the file is whole and in the inbox
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The pieces, each an object of the outbox: half-open byte ranges that do not overlap.
CREATE TABLE sluice.upload_pieces (
    upload text NOT NULL CONSTRAINT upload_pieces_upload REFERENCES sluice.uploads (id),
    first_byte bigint NOT NULL,
    end_byte bigint NOT NULL,
    checksum text NOT NULL,
    CONSTRAINT upload_pieces_pk PRIMARY KEY (upload, first_byte),
    CONSTRAINT upload_pieces_range_not_empty CHECK (first_byte < end_byte)
);
