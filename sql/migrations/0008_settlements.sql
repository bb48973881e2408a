-- Settlements: ingestions whose rows lie in the projections together. Many small ones become one, and
-- few of similar size become a larger one, so that a question looks into a handful whatever came how.

CREATE TABLE sluice.settlements (
    id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT settlements_pk PRIMARY KEY,
    dataset text NOT NULL,
    ingestions integer[] NOT NULL,                     -- whose rows it holds, all of them
    rows bigint NOT NULL,
    settled_at timestamptz,                            -- since when readers use it
    dissolved_at timestamptz                           -- since when they do not, and it is to be cleared away
);
CREATE INDEX settlements_dataset ON sluice.settlements (dataset);

-- What is made in one transaction: a range of a projection's rows. Ids are never given twice.
CREATE TABLE sluice.slices (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT slices_pk PRIMARY KEY,
    settlement integer NOT NULL
        CONSTRAINT slices_settlement REFERENCES sluice.settlements (id) ON DELETE CASCADE,
    projection text NOT NULL,
    first text,                                        -- where it begins; null: at the least value
    last text,                                         -- before which it ends; null: after the greatest
    made_at timestamptz
);
CREATE INDEX slices_of_settlement ON sluice.slices (settlement);

DROP INDEX sluice.publications_unsettled;
ALTER TABLE sluice.publications
    DROP COLUMN settled_at CASCADE,
    DROP COLUMN settling,
    ADD COLUMN settlement integer                      -- where readers find its rows in the projections
        CONSTRAINT publications_settlement REFERENCES sluice.settlements (id) ON DELETE SET NULL;
CREATE INDEX publications_unsettled ON sluice.publications (dataset, ingestion) WHERE settlement IS NULL;
CREATE INDEX publications_of_settlement ON sluice.publications (settlement);

-- Projections so far were made by ingestion; they are made anew when their datasets are declared.
DO $$
DECLARE one text;
BEGIN
    FOR one IN
        SELECT format('store.%I', name || '__' || projection)
        FROM sluice.datasets, jsonb_object_keys(declaration -> 'projections') AS projection
    LOOP
        EXECUTE 'DROP TABLE IF EXISTS ' || one || ' CASCADE';
    END LOOP;
    UPDATE sluice.datasets SET declaration = declaration - 'projections' WHERE declaration ? 'projections';
END $$;

-- Summarizing and autovacuum exclude one another, and who waits for autovacuum has it cancelled after a
-- second. A cancelled one leaves a range of blocks that is being summarized for ever, behind which
-- PostgreSQL 18 finds no range excluded: a scan then reads all that follows. So nobody waits with a lock.
CREATE OR REPLACE FUNCTION sluice.summarize(stored regclass) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT has_table_privilege(session_user, stored, 'MAINTAIN') THEN
        RETURN 0;
    END IF;
    FOR second IN 1..200 LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE NOWAIT', stored);
            RETURN (
                SELECT coalesce(sum(brin_summarize_new_values(indexrelid)), 0)
                FROM pg_index
                    JOIN pg_class ON pg_class.oid = indexrelid
                    JOIN pg_am ON pg_am.oid = relam
                WHERE indrelid = stored AND amname = 'brin'
            );
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(1);
        END;
    END LOOP;
    RETURN NULL;
END $$;
