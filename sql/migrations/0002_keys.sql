-- Datasets with a key: rows wait in store.<dataset>__staging until finish merges them.

-- Searches that forgive typing errors; queries of datasets may use it.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

ALTER TABLE sluice.ingestions
    -- What readers of the rows should know: [{rule, column, rows, message}, ...].
    ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]',
    -- What is published balances, whoever wrote it.
    ADD CONSTRAINT ingestions_account_balances
        CHECK (state <> 'done' OR records_read = rows_loaded + rows_rejected + duplicates);

-- Empties the staging table of an ingestion that will not be published. It runs behind the update that
-- holds the ingestion's row: a loader has written before, and is seen, or finds the new state and
-- rolls back. With its owner's rights, for any function may end an ingestion.
CREATE FUNCTION sluice.discard_staged() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    staging regclass := to_regclass(format('store.%I', NEW.dataset || '__staging'));
BEGIN
    IF staging IS NOT NULL THEN
        EXECUTE format('DELETE FROM %s WHERE ingestion = $1', staging) USING NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ingestions_discard_staged AFTER UPDATE OF state ON sluice.ingestions
    FOR EACH ROW WHEN (NEW.state IN ('failed', 'cancelled', 'skipped') AND NEW.dataset IS NOT NULL)
    EXECUTE FUNCTION sluice.discard_staged();
