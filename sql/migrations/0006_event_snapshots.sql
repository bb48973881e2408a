-- The transaction that wrote an event, and those that had committed by then: a stream that resumes after an
-- event sends all others but these. A time would not do, because an event commits some time after it is written.
ALTER TABLE sluice.events
    ADD COLUMN transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot();
