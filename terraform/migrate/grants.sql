-- What each function may do in the database; the table in docs/operations.md says the same.
-- Runs after the migrations, as the owner of everything; safe to repeat.

GRANT USAGE ON SCHEMA sluice
    TO sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status;
GRANT SELECT ON ALL TABLES IN SCHEMA sluice
    TO sluice_split, sluice_load, sluice_finish, sluice_query, sluice_status;

-- split: makes ingestions, remembers chunks, writes events and marks those that went out.
GRANT INSERT, UPDATE ON sluice.ingestions, sluice.chunks, sluice.events TO sluice_split;
-- split: loads and publishes small files, those that come at once in one transaction.
GRANT INSERT ON sluice.receipts, sluice.rejects, sluice.publications TO sluice_split;
GRANT INSERT, UPDATE ON sluice.freshness TO sluice_split;

-- load: writes rows, rejects, receipts; counts them in the ingestion.
GRANT INSERT ON sluice.receipts, sluice.rejects TO sluice_load;
GRANT INSERT, UPDATE ON sluice.events TO sluice_load;
GRANT UPDATE ON sluice.ingestions TO sluice_load;

-- finish: turns the switch of publications, merges roll-ups.
GRANT INSERT, DELETE ON sluice.publications TO sluice_finish;
GRANT INSERT ON sluice.rejects TO sluice_finish;
GRANT INSERT, UPDATE ON sluice.freshness, sluice.events TO sluice_finish;
GRANT UPDATE ON sluice.ingestions TO sluice_finish;
-- finish: compacts, which fills projections.
GRANT UPDATE ON sluice.publications TO sluice_finish;
GRANT INSERT, UPDATE, DELETE ON sluice.segments, sluice.slices TO sluice_finish;
GRANT EXECUTE ON FUNCTION sluice.summarize(regclass) TO sluice_finish;

-- status: remembers push subscriptions.
GRANT INSERT, DELETE ON sluice.subscriptions TO sluice_status;

-- Stored rows: load and split add, finish merges. Tables of datasets declared later included, and those that a restore
-- builds in the schema restoring, which keep their rights when they move.
GRANT USAGE ON SCHEMA store TO sluice_split, sluice_load, sluice_finish;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA store TO sluice_split, sluice_load;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA store TO sluice_finish;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT SELECT, INSERT ON TABLES
    TO sluice_split, sluice_load;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO sluice_finish;
-- MAINTAIN: finish tells the planner of the rows that wait to be merged.
GRANT MAINTAIN ON ALL TABLES IN SCHEMA store TO sluice_finish;
ALTER DEFAULT PRIVILEGES IN SCHEMA store, restoring GRANT MAINTAIN ON TABLES TO sluice_finish;

-- The views of published rows: readers see these and nothing below them; finish makes outputs of them.
GRANT USAGE ON SCHEMA public TO sluice_query, sluice_status, sluice_finish;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO sluice_query, sluice_finish;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO sluice_query, sluice_finish;
