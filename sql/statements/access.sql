-- name: find_api_key
-- The key of an id.
SELECT * FROM sluice.find_api_key(:id);

-- name: find_identity
-- What is granted to a Google identity.
SELECT * FROM sluice.find_identity(:identity);

-- name: touch_api_key
-- Records that a key is used.
SELECT sluice.touch_api_key(:id);

-- name: insert_api_key
-- Inserts a key or a grant to an identity.
INSERT INTO sluice.api_keys (
    id, name, role, datasets, pii, identity, salt, hash, expires_at, created_by, requests_per_minute
)
VALUES (
    :id, :name, :role, CAST(:datasets AS text[]), :pii, CAST(:identity AS text), CAST(:salt AS bytea),
    CAST(:hash AS bytea), CAST(:expires_at AS timestamptz), :created_by,
    CAST(:requests_per_minute AS integer)
)
RETURNING *;

-- name: list_api_keys
-- Every key, the newest first.
SELECT * FROM sluice.api_keys ORDER BY created_at DESC, id;

-- name: lock_api_key
-- One key, locked until the transaction ends.
SELECT * FROM sluice.api_keys WHERE id = :id FOR UPDATE;

-- name: rotate_api_key
-- Replaces the secret of a key; the earlier one stays valid for a while, or not at all.
UPDATE sluice.api_keys
SET earlier_salt = CASE WHEN :grace_s > 0 THEN salt END,
    earlier_hash = CASE WHEN :grace_s > 0 THEN hash END,
    earlier_until = CASE WHEN :grace_s > 0 THEN now() + make_interval(secs => :grace_s) END,
    salt = :salt,
    hash = :hash
WHERE id = :id
RETURNING *;

-- name: revoke_api_key
-- Revokes a key.
UPDATE sluice.api_keys SET revoked_at = now() WHERE id = :id RETURNING *;

-- name: take_tokens
-- Takes tokens from the bucket of a subject and puts some back; how many it got, and how many are left.
SELECT granted, remaining FROM sluice.take_tokens(
    :subject, CAST(:per_minute AS integer), CAST(:wanted AS integer), CAST(:returned AS integer)
);

-- name: record
-- Adds rows to the audit log.
SELECT sluice.record(actor, action, dataset, subject, details)
FROM jsonb_to_recordset(CAST(:entries AS jsonb)) AS entry (
    actor text, action text, dataset text, subject text, details jsonb
);

-- name: list_audit
-- A page of the audit log, the newest first.
SELECT * FROM sluice.audit
WHERE (CAST(:before AS bigint) IS NULL OR id < CAST(:before AS bigint))
    AND (CAST(:dataset AS text) IS NULL OR dataset = CAST(:dataset AS text))
    AND (CAST(:actor AS text) IS NULL OR actor = CAST(:actor AS text))
    AND (CAST(:action AS text) IS NULL OR action = CAST(:action AS text))
ORDER BY id DESC
LIMIT CAST(:limit AS integer);
