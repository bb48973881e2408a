-- name: relation_number
-- The number of a relation of this session.
SELECT CAST(to_regclass(:name) AS oid);

-- name: relations_numbered
-- Relations by number: the quoted name, and of a view the parse tree.
SELECT
    pg_class.oid,
    format('%s."%s"', nspname, relname) AS name,
    CASE WHEN relkind = 'v' THEN CAST(ev_action AS text) END AS tree
FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    LEFT JOIN pg_rewrite ON ev_class = pg_class.oid AND ev_type = '1'
WHERE pg_class.oid = ANY (CAST(:oids AS oid[]));

-- name: calls_unknown_functions
-- Whether one of these functions or operators may change its result while its arguments stay the same,
-- in a session with our settings. Only functions of PostgreSQL and of extensions are trusted to be what
-- they are declared as. A stable one is trusted if it depends on settings, and not on time or tables.
SELECT EXISTS (
    SELECT FROM pg_proc
    WHERE (
        oid = ANY (CAST(:functions AS oid[]))
        OR oid IN (SELECT oprcode FROM pg_operator WHERE oid = ANY (CAST(:operators AS oid[])))
    ) AND NOT (
        (
            provolatile = 'i'
            OR provolatile = 's' AND proname ~ (
                '^('
                'to_char|to_date|to_number|to_timestamp|make_timestamptz|date_trunc|date_part|extract'
                '|date|time|timestamp|timestamptz|timezone|date_add|date_subtract|generate_series'
                '|(date|timestamp|timestamptz)_(eq|ne|lt|le|gt|ge|cmp)_(date|timestamp|timestamptz)'
                '|timestamptz_(pl|mi)_interval|interval_pl_timestamptz'
                '|concat|concat_ws|format|array_to_string'
                '|to_jsonb?|row_to_json|array_to_json|jsonb?_(build|agg|object_agg)[a-z_]*'
                '|to_tsvector|to_tsquery|plainto_tsquery|phraseto_tsquery|websearch_to_tsquery'
                '|similarity_op|(strict_)?word_similarity_(commutator_)?op'
                ')$'
            )
        ) AND (
            pronamespace = CAST('pg_catalog' AS regnamespace)
            OR EXISTS (
                SELECT FROM pg_depend
                WHERE classid = CAST('pg_proc' AS regclass) AND objid = pg_proc.oid AND deptype = 'e'
            )
        )
    )
);

-- name: datetime_types
-- Those of some types whose values may be, or hold, dates or times.
SELECT type.oid FROM pg_type AS type LEFT JOIN pg_type AS element ON element.oid = type.typelem
WHERE type.oid = ANY (CAST(:types AS oid[]))
    AND CASE WHEN type.typcategory = 'A' THEN element.typcategory ELSE type.typcategory END
        NOT IN ('B', 'E', 'G', 'I', 'N', 'S', 'T', 'U', 'V', 'X', 'Z');

-- name: microseconds_now
-- The time of the transaction, as PostgreSQL stores it: since 2000-01-01.
SELECT CAST(extract(epoch FROM now() - timestamptz '2000-01-01 00:00:00Z') * 1000000 AS bigint);
