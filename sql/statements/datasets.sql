-- name: lock_dataset
-- Serializes declaring, publishing and withdrawing for a dataset; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('sluice dataset ' || :dataset));

-- name: share_columns
-- Keeps the types of a dataset's stored columns as they are until the transaction ends.
SELECT pg_advisory_xact_lock_shared(hashtext('sluice columns ' || :dataset));

-- name: lock_columns
-- Waits for the loaders of a dataset before its stored columns get other types; held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('sluice columns ' || :dataset));

-- name: has_rows_to_keep
-- Whether a dataset has rows that are published, or will be.
SELECT EXISTS (SELECT FROM sluice.publications WHERE dataset = :dataset)
    OR EXISTS (
        SELECT FROM sluice.ingestions
        WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing')
    );

-- name: is_loading
-- Whether files of a dataset are being loaded by its current declaration or an earlier one.
SELECT EXISTS (
    SELECT FROM sluice.ingestions
    WHERE dataset = :dataset AND state IN ('splitting', 'loading', 'publishing') AND layout ? 'order'
);

-- name: become_owner
-- Gives the transaction the rights of the owner of all tables.
SET LOCAL ROLE sluice_owner;

-- name: lock_declarations
-- Lets one transaction at a time declare: a declaration may change what queries of other datasets read.
SELECT pg_advisory_xact_lock(hashtext('sluice declarations'));

-- name: declared_version
-- The version of a dataset's current declaration.
SELECT name, version, declared_at FROM sluice.datasets WHERE name = :dataset;

-- name: select_declaration
-- The current declaration of a dataset.
SELECT version, declaration, dependencies FROM sluice.datasets WHERE name = :dataset;

-- name: origin_of_dataset
-- Where the current declaration of a dataset came from.
SELECT origin FROM sluice.datasets WHERE name = :dataset;

-- name: select_declaration_version
-- One version of the declaration of a dataset.
SELECT declaration FROM sluice.declarations WHERE dataset = :dataset AND version = :version;

-- name: upsert_declaration
-- Stores a new version of a declaration, and keeps the earlier ones. A dataset that was deleted begins again.
WITH stored AS (
    INSERT INTO sluice.datasets (name, version, origin, declaration, dependencies)
    VALUES (:dataset, 1, :origin, CAST(:declaration AS jsonb), CAST(:dependencies AS jsonb))
    ON CONFLICT (name) DO UPDATE
    SET version = datasets.version + 1, origin = excluded.origin,
        declaration = excluded.declaration, dependencies = excluded.dependencies, declared_at = now()
    RETURNING name, version, declaration
)
INSERT INTO sluice.declarations (dataset, version, declaration, toml)
SELECT name, version, declaration, nullif(:toml, '') FROM stored
ON CONFLICT ON CONSTRAINT declarations_pk
DO UPDATE SET declaration = excluded.declaration, toml = excluded.toml;

-- name: every_version
-- The declarations that a dataset has had.
SELECT declaration FROM sluice.declarations WHERE dataset = :dataset;

-- name: toml_of_declaration
-- The text of an inferred declaration; null where it is another one.
SELECT toml FROM sluice.declarations WHERE dataset = :dataset AND version = :version;

-- name: update_dependencies
-- Stores what the queries of a dataset depend on, where that changed.
UPDATE sluice.datasets SET dependencies = CAST(:dependencies AS jsonb), declared_at = now()
WHERE name = :dataset AND dependencies <> CAST(:dependencies AS jsonb);

-- name: columns_of_store_table
-- The columns of a stored table with their full type names.
SELECT attname AS name, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = to_regclass('store.' || quote_ident(:table)) AND attnum > 0 AND NOT attisdropped;

-- name: has_unique_key
-- Whether a stored table has a unique index on exactly these columns and on all rows.
SELECT EXISTS (
    SELECT FROM pg_index
    WHERE indrelid = to_regclass('store.' || quote_ident(:table)) AND indisunique AND indpred IS NULL
        AND CAST(:columns AS text[]) = (
            SELECT array_agg(CAST(attname AS text) ORDER BY CAST(attname AS text) COLLATE "C")
            FROM unnest(CAST(indkey AS int2[])) WITH ORDINALITY AS part (number, place)
            JOIN pg_attribute ON attrelid = indrelid AND attnum = part.number
            WHERE part.place <= indnkeyatts
        )
);

-- name: names_in_use
-- Those of some quoted names of tables and views that a relation or type has already.
SELECT wanted FROM unnest(CAST(:names AS text[])) AS wanted
WHERE to_regclass(wanted) IS NOT NULL OR to_regtype(wanted) IS NOT NULL
ORDER BY wanted;

-- name: facts_of_store_table
-- What a statement of `table.sql`, or of a manifest, made: the columns, what no such table may have, the names of
-- its indexes and constraints, and the parse trees of all their expressions.
SELECT
    ARRAY(
        SELECT CAST(attname AS text) FROM pg_attribute
        WHERE attrelid = made.oid AND attnum > 0 AND NOT attisdropped
    ) AS columns,
    ARRAY(
        SELECT 'a generated column' FROM pg_attribute
        WHERE attrelid = made.oid AND (attgenerated <> '' OR attidentity <> '')
        UNION ALL
        SELECT CAST(conname AS text) FROM pg_constraint
        WHERE conrelid = made.oid AND contype NOT IN ('p', 'u', 'c', 'n')
        UNION ALL
        SELECT 'INHERITS' FROM pg_inherits WHERE inhrelid = made.oid OR inhparent = made.oid
        UNION ALL
        SELECT 'a partitioned table' WHERE made.relkind <> 'r'
        UNION ALL
        SELECT 'TABLESPACE' FROM pg_class
        WHERE reltablespace <> 0 AND (
            oid = made.oid OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = made.oid)
        )
    ) AS unusual,
    ARRAY(
        SELECT CAST(relname AS text) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = made.oid
        UNION
        SELECT CAST(conname AS text) FROM pg_constraint WHERE conrelid = made.oid AND contype <> 'n'
    ) AS names,
    concat_ws(
        ' ',
        (SELECT string_agg(CAST(adbin AS text), ' ') FROM pg_attrdef WHERE adrelid = made.oid),
        (SELECT string_agg(CAST(conbin AS text), ' ') FROM pg_constraint WHERE conrelid = made.oid),
        (
            SELECT string_agg(concat_ws(' ', CAST(indexprs AS text), CAST(indpred AS text)), ' ')
            FROM pg_index WHERE indrelid = made.oid
        )
    ) AS tree
FROM pg_class AS made
WHERE made.oid = to_regclass(:table);
