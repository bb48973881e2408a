-- The rights of each function in the database; docs/operations.md summarizes them.
-- Runs after the migrations, as the owner of everything; safe to repeat.

-- A new table or function is for the owner alone until a line below says otherwise; so is what an earlier version granted.
REVOKE ALL ON ALL TABLES IN SCHEMA sluice, store, public
    FROM sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status, sluice_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM sluice_query, sluice_finish;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sluice FROM PUBLIC;

GRANT USAGE ON SCHEMA sluice
    TO sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status;

-- All: find the declarations, and which ingestions are published.
GRANT SELECT ON sluice.datasets, sluice.declarations, sluice.freshness, sluice.ingestions, sluice.publications
    TO sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status;
-- split, load, finish: read what they and the others have done for an ingestion.
GRANT SELECT ON
    sluice.chunks, sluice.events, sluice.failed_attempts, sluice.observations, sluice.publish_steps, sluice.receipts,
    sluice.rejects
    TO sluice_split, sluice_load, sluice_finish;
GRANT SELECT ON sluice.duplicates, sluice.prepared, sluice.segments, sluice.slices TO sluice_finish;
-- status: shows ingestions with their rejects, duplicates and events, and subscriptions.
GRANT SELECT ON
    sluice.chunks, sluice.duplicates, sluice.events, sluice.receipts, sluice.rejects, sluice.subscriptions
    TO sluice_status;

-- split: inserts ingestions and chunks, writes events and marks published ones.
GRANT INSERT, UPDATE ON sluice.ingestions, sluice.chunks, sluice.events TO sluice_split;
-- split: loads and publishes small files by group commit.
GRANT INSERT ON sluice.receipts, sluice.rejects, sluice.publications TO sluice_split;
GRANT INSERT, UPDATE ON sluice.freshness TO sluice_split;

-- load: writes rows, rejects, receipts; counts them in the ingestion.
GRANT INSERT ON sluice.receipts, sluice.rejects TO sluice_load;
GRANT INSERT, UPDATE ON sluice.events TO sluice_load;
GRANT UPDATE ON sluice.ingestions TO sluice_load;

-- load: reports what the chunks of undeclared files may be.
GRANT INSERT ON sluice.observations TO sluice_load;

-- finish: decides their types; it declares them as sluice_owner, which it becomes for that transaction.
GRANT DELETE ON sluice.observations TO sluice_finish;

-- finish: publishes ingestions, merges roll-ups and prepares rows, in steps.
GRANT INSERT, UPDATE, DELETE ON sluice.publish_steps, sluice.prepared TO sluice_finish;
GRANT SELECT, INSERT, DELETE ON sluice.written_outputs TO sluice_finish;
GRANT INSERT, DELETE ON sluice.publications TO sluice_finish;
GRANT INSERT, UPDATE ON sluice.rejects TO sluice_finish;
GRANT INSERT, DELETE ON sluice.duplicates TO sluice_finish;
GRANT INSERT, UPDATE ON sluice.freshness, sluice.events TO sluice_finish;
GRANT UPDATE ON sluice.ingestions TO sluice_finish;
-- finish: compacts, which fills projections.
GRANT UPDATE ON sluice.publications TO sluice_finish;
GRANT INSERT, UPDATE, DELETE ON sluice.segments, sluice.slices TO sluice_finish;
GRANT EXECUTE ON FUNCTION sluice.summarize(regclass) TO sluice_finish;

-- split, load, finish: record failed attempts.
GRANT INSERT, UPDATE ON sluice.failed_attempts TO sluice_split, sluice_load, sluice_finish;

-- status: stores push subscriptions.
GRANT INSERT, DELETE ON sluice.subscriptions TO sluice_status;

-- query, status: check keys one by one. Nobody but the owner lists them, or reads the audit log, to which all add.
GRANT EXECUTE ON FUNCTION
    sluice.find_api_key(text), sluice.find_identity(text), sluice.touch_api_key(text),
    sluice.take_tokens(text, integer, integer, integer)
    TO sluice_query, sluice_status;
-- The buckets of rate limits are changed by that function only; finish deletes those that are full again.
GRANT SELECT, DELETE ON sluice.rate_buckets TO sluice_finish;
GRANT EXECUTE ON FUNCTION sluice.record(text, text, text, text, jsonb)
    TO sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status;

-- Stored rows: load and split insert, finish merges. This includes tables of datasets that are declared later, and
-- those that a restore builds in the schema restoring, which keep their rights when they are swapped in.
GRANT USAGE ON SCHEMA store TO sluice_split, sluice_load, sluice_finish;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA store TO sluice_split, sluice_load;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA store TO sluice_finish;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT SELECT, INSERT ON TABLES
    TO sluice_split, sluice_load;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO sluice_finish;
-- MAINTAIN: finish analyzes tables before it merges or compacts many rows.
GRANT MAINTAIN ON ALL TABLES IN SCHEMA store TO sluice_finish;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT MAINTAIN ON TABLES TO sluice_finish;

-- The views of published rows, and of those that are declared later: sluice_reader reads these and no tables; query
-- and finish are members of it.
GRANT USAGE ON SCHEMA public TO sluice_reader, sluice_status;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO sluice_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO sluice_reader;
REVOKE ALL ON public.sluice_migrations FROM sluice_reader;
