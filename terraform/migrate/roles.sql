-- The roles of the database: one that owns everything, and one for each function that needs fewer rights.
-- Runs before the migrations, as a user that is a member of cloudsqlsuperuser; safe to repeat.

-- A membership grants rights, but not the attribute CREATEROLE.
SET ROLE cloudsqlsuperuser;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'sluice_owner', 'sluice_split', 'sluice_load', 'sluice_finish', 'sluice_query', 'sluice_status'
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
