-- The rows of a large ingestion of a dataset with a key, or with references, are copied from the staging table into
-- the dataset in steps that commit, before the ingestion is published: it is prepared. Readers do not see them. A row
-- whose key the dataset has remains staged, with the negative number of its ingestion, and is merged by the publication.
CREATE TABLE sluice.prepared (
    ingestion integer NOT NULL CONSTRAINT prepared_pk PRIMARY KEY
        CONSTRAINT prepared_ingestion REFERENCES sluice.ingestions (id),
    dataset text NOT NULL,
    switched_at timestamptz                -- null until it is published
);
-- "Which ingestions have rows in the dataset that readers do not see?"
CREATE INDEX prepared_dataset ON sluice.prepared (dataset) WHERE switched_at IS NULL;

ALTER TABLE sluice.publish_steps
    ADD COLUMN staged bigint NOT NULL DEFAULT 0,       -- rows that the step handled, which are prepared or duplicates
    ADD COLUMN prepared bigint NOT NULL DEFAULT 0,     -- of these, rows in the dataset
    ADD COLUMN remaining bigint NOT NULL DEFAULT 0;    -- rows for the publication
COMMENT ON COLUMN sluice.publish_steps.rollup IS 'the roll-up whose groups are merged; empty for rows with a key';

CREATE OR REPLACE FUNCTION sluice.discard_staged() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    staging regclass := to_regclass(format('store.%I', NEW.dataset || '__staging'));
BEGIN
    IF staging IS NOT NULL THEN
        EXECUTE format('DELETE FROM %s WHERE ingestion IN ($1, -$1)', staging) USING NEW.id;
    END IF;
    RETURN NULL;
END $$;

-- A function of an earlier version, which knows nothing of prepared rows, would merge them once more.
CREATE FUNCTION sluice.refuse_unknown_switch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF EXISTS (SELECT FROM sluice.prepared WHERE ingestion = NEW.id AND switched_at IS NULL) THEN
        RAISE EXCEPTION 'ingestion % is prepared; a newer version of the function publishes it', NEW.id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ingestions_refuse_unknown_switch AFTER UPDATE OF state ON sluice.ingestions
    FOR EACH ROW WHEN (NEW.state = 'done' AND OLD.state = 'publishing')
    EXECUTE FUNCTION sluice.refuse_unknown_switch();
