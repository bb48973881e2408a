-- The roles of the database: one that owns everything, one for each function that needs fewer rights, and one for the
-- SQL of declarations. Runs before the migrations, as a member of cloudsqlsuperuser or, outside Cloud SQL, as a
-- superuser or as the owner of the database with the attribute CREATEROLE; safe to repeat.

DO $$
DECLARE
    wanted text;
BEGIN
    IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
        -- A membership grants rights, but not the attribute CREATEROLE.
        SET ROLE cloudsqlsuperuser;
    END IF;
    FOREACH wanted IN ARRAY ARRAY[
        'sluice_owner', 'sluice_split', 'sluice_load', 'sluice_finish', 'sluice_query', 'sluice_status',
        'sluice_reader'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO sluice_owner', current_database());
    -- Earlier versions set the owner's role for every login, which breaks exports and upgrades of the server.
    EXECUTE format('ALTER DATABASE %I RESET role', current_database());
END $$;

GRANT USAGE, CREATE ON SCHEMA public TO sluice_owner;

-- Reads published rows and nothing else. Declared queries run as sluice_reader, also when intake serves them as
-- aliases or finish makes outputs.
GRANT sluice_reader TO sluice_query, sluice_finish, sluice_owner;

-- Earlier versions of the local cloud created everything as the superuser.
DO $$
DECLARE
    what text;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    FOR what IN
        SELECT format('SCHEMA %I', nspname)
        FROM pg_namespace
        WHERE nspname IN ('sluice', 'store', 'restoring') AND nspowner <> 'sluice_owner'::regrole
        UNION ALL
        -- Indexes, and sequences of columns, follow their table.
        SELECT format('TABLE %I.%I', nspname, relname)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname IN ('sluice', 'store', 'restoring', 'public') AND relkind IN ('r', 'p', 'v', 'm', 'S')
            AND relowner <> 'sluice_owner'::regrole
            AND NOT EXISTS (
                SELECT FROM pg_depend WHERE pg_depend.objid = pg_class.oid AND deptype IN ('a', 'i', 'e')
                    AND classid = 'pg_class'::regclass AND (deptype = 'e' OR relkind = 'S')
            )
        UNION ALL
        SELECT format('ROUTINE %s', pg_proc.oid::regprocedure)
        FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
        WHERE nspname IN ('sluice', 'store', 'restoring', 'public') AND proowner <> 'sluice_owner'::regrole
            AND NOT EXISTS (
                SELECT FROM pg_depend WHERE objid = pg_proc.oid AND classid = 'pg_proc'::regclass AND deptype = 'e'
            )
        UNION ALL
        -- Types of rows and arrays follow theirs.
        SELECT format('TYPE %I.%I', nspname, typname)
        FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
        WHERE nspname IN ('sluice', 'store', 'restoring', 'public') AND typtype IN ('e', 'd')
            AND typowner <> 'sluice_owner'::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO sluice_owner', what);
    END LOOP;
END $$;
