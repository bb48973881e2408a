-- name: relation_named
-- The quoted name of a relation, with the schema that the session finds it in.
SELECT format('%s."%s"', nspname, relname) AS name
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass(:name);

-- name: relations_numbered
-- Relations by number, with their quoted names.
SELECT format('%s."%s"', nspname, relname) AS name, nspname AS schema, relname AS relation
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = ANY (CAST(:oids AS oid[]))
ORDER BY name;

-- name: functions_numbered
-- Functions by number, with their quoted names.
SELECT CAST(pg_proc.oid AS bigint) AS oid, format('%s."%s"', nspname, proname) AS name
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE pg_proc.oid = ANY (CAST(:functions AS oid[])) AND pg_proc.oid >= 16384 AND prokind = 'f';

-- name: refused_functions
-- Those of some functions and operators that declared SQL may not call, and why. Functions of PostgreSQL have
-- numbers below 16384; those of pg_trgm are the only others. What is not volatile cannot change anything, but
-- some report settings, the catalog or other sessions, or read relations by their names.
SELECT proname AS name, reason
FROM pg_proc, LATERAL (
    SELECT CASE
        WHEN oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend JOIN pg_extension ON pg_extension.oid = refobjid
            WHERE classid = CAST('pg_proc' AS regclass) AND objid = pg_proc.oid AND deptype = 'e'
                AND refclassid = CAST('pg_extension' AS regclass) AND extname = 'pg_trgm'
        ) THEN 'is no function of PostgreSQL'
        WHEN provolatile = 'v' THEN 'is volatile: it may change something, or its result without a change of data'
        WHEN proname ~ (
            '^(_?pg_.*|txid_.*|mxid_age|has_.*_privilege|(database|schema|table)_to_xml.*|to_reg.*|regclass'
            '|(col|obj|shobj)_description|current_(setting|database|schemas?)|getpgusername|getdatabaseencoding'
            '|inet_(client|server)_.*|row_security_active|format_type|version|aclexplode|fmgr_.*|oidvectortypes'
            '|ts_(debug|parse|token_type|typanalyze))$'
        ) AND proname !~ '^pg_(typeof|size_(pretty|bytes)|column_size|input_is_valid|lsn.*)$'
        THEN 'reports settings, the catalog or other sessions'
    END AS reason
) AS judged
WHERE reason IS NOT NULL AND (
    oid = ANY (CAST(:functions AS oid[]))
    OR oid IN (SELECT oprcode FROM pg_operator WHERE oid = ANY (CAST(:operators AS oid[])))
)
ORDER BY name;

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

-- name: tree_of_view
-- The parse tree of a view of this session.
SELECT CAST(ev_action AS text) FROM pg_rewrite WHERE ev_class = to_regclass(:name) AND ev_type = '1';

-- name: columns_of_view
-- The columns of relations that the query of a view reads.
SELECT DISTINCT format('%s."%s"', nspname, relname) AS name, attname AS column
FROM pg_rewrite
    JOIN pg_depend ON classid = CAST('pg_rewrite' AS regclass) AND objid = pg_rewrite.oid
    JOIN pg_class ON refclassid = CAST('pg_class' AS regclass) AND pg_class.oid = refobjid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
WHERE ev_class = to_regclass(:name) AND refobjsubid > 0 AND pg_class.oid <> ev_class;
