-- Projections: rows in another arrangement, made in the background once their ingestion is done.

ALTER TABLE sluice.publications
    ADD COLUMN settled_at timestamptz,                 -- since when every projection holds its rows
    ADD COLUMN settling jsonb NOT NULL DEFAULT '{}';   -- by projection: its slices, and the next to make
CREATE INDEX publications_unsettled ON sluice.publications (dataset, ingestion) WHERE settled_at IS NULL;

-- Brings the block range indexes of a table up to date, for whoever may maintain the table without
-- being its owner.
CREATE FUNCTION sluice.summarize(stored regclass) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(sum(brin_summarize_new_values(indexrelid)), 0)
    FROM pg_index
        JOIN pg_class ON pg_class.oid = indexrelid
        JOIN pg_am ON pg_am.oid = relam
    WHERE indrelid = stored AND amname = 'brin'
        AND has_table_privilege(session_user, stored, 'MAINTAIN')
$$;
REVOKE EXECUTE ON FUNCTION sluice.summarize(regclass) FROM public;
