-- Who may call the API: keys, of which only a salted hash is stored, and Google identities.
CREATE TABLE sluice.api_keys (
    id text CONSTRAINT api_keys_pk PRIMARY KEY
        CONSTRAINT api_keys_id_plain CHECK (id ~ '^[0-9a-z]{10}$'),
    name text NOT NULL,                    -- for people
    role text NOT NULL CONSTRAINT api_keys_role_known CHECK (role IN (
        'reader',                          -- reads rows, answers and states
        'loader',                          -- also loads, and commands ingestions
        'admin'                            -- also declares, backs up, and manages keys
    )),
    datasets text[],                       -- those that it applies to; null: all
    pii boolean NOT NULL DEFAULT false,    -- whether it sees the values of columns with personal data
    identity text,                         -- e-mail of a Google identity; null: a key with a secret
    salt bytea,
    hash bytea,                            -- SHA-256 of the salt and the secret
    earlier_salt bytea,                    -- of the secret before the last rotation
    earlier_hash bytea,
    earlier_until timestamptz,             -- until when that one is valid, too
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz,                -- null: never
    revoked_at timestamptz,
    last_used_at timestamptz,              -- to the minute
    CONSTRAINT api_keys_secret_or_identity CHECK (
        (identity IS NULL) = (hash IS NOT NULL) AND (hash IS NULL) = (salt IS NULL)
    ),
    -- An administrator declares SQL and makes keys, which no list of datasets limits.
    CONSTRAINT api_keys_admin_unlimited CHECK (role <> 'admin' OR (datasets IS NULL AND pii))
);
-- "What may this identity do?", and one grant for each.
CREATE UNIQUE INDEX api_keys_identity ON sluice.api_keys (identity) WHERE revoked_at IS NULL;

-- One key by its id, to check a secret. SECURITY DEFINER, because the functions that check keys may neither
-- list them nor change them.
CREATE FUNCTION sluice.find_api_key(wanted text) RETURNS SETOF sluice.api_keys
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT * FROM sluice.api_keys WHERE id = wanted;
$$;

-- What is granted to a Google identity, if anything is.
CREATE FUNCTION sluice.find_identity(wanted text) RETURNS SETOF sluice.api_keys
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT * FROM sluice.api_keys WHERE identity = wanted AND revoked_at IS NULL;
$$;

-- Records that a key is used, at most once a minute.
CREATE FUNCTION sluice.touch_api_key(used text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    UPDATE sluice.api_keys SET last_used_at = now()
    WHERE id = used AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute');
END;

REVOKE EXECUTE ON FUNCTION sluice.find_api_key(text), sluice.find_identity(text), sluice.touch_api_key(text)
    FROM public;

-- Who did what: a row is written in the transaction of what it records, and never changed.
CREATE TABLE sluice.audit (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pk PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,                   -- 'key:<id>', 'identity:<e-mail>', 'bootstrap', 'anonymous', 'bucket'
    action text NOT NULL,                  -- such as 'dataset.declare'
    dataset text,
    subject text,                          -- what it was done to: an ingestion, a key, a backup, an object
    details jsonb NOT NULL DEFAULT '{}'
);
-- "What was done to this dataset?"
CREATE INDEX audit_dataset ON sluice.audit (dataset, id) WHERE dataset IS NOT NULL;
-- "Who opened the upload of this object?"
CREATE INDEX audit_uploads ON sluice.audit (subject, id) WHERE action = 'upload.open';

-- Adds a row to the audit log. SECURITY DEFINER, because the functions may add to it and do nothing else.
CREATE FUNCTION sluice.record(actor text, action text, dataset text, subject text, details jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    INSERT INTO sluice.audit (actor, action, dataset, subject, details)
    VALUES (record.actor, record.action, record.dataset, record.subject, record.details);
END;
REVOKE EXECUTE ON FUNCTION sluice.record(text, text, text, text, jsonb) FROM public;

-- Records who loaded a file: who opened its upload through the API, or else whoever may write to the bucket.
CREATE FUNCTION sluice.record_load() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    address text := format('gs://%s/%s', NEW.bucket, NEW.object);
BEGIN
    INSERT INTO sluice.audit (actor, action, dataset, subject, details)
    VALUES (
        coalesce((
            SELECT actor FROM sluice.audit
            WHERE action = 'upload.open' AND subject = address
            ORDER BY id DESC LIMIT 1
        ), 'bucket'),
        'file.load', NEW.dataset, NEW.id::text,
        jsonb_build_object('object', address, 'generation', NEW.generation, 'size_bytes', NEW.size_bytes)
    );
    RETURN NULL;
END $$;
CREATE TRIGGER ingestions_record_load AFTER INSERT ON sluice.ingestions
    FOR EACH ROW WHEN (NEW.source = 'file') EXECUTE FUNCTION sluice.record_load();
