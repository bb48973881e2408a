-- The steps of publishing a large ingestion that take long: each is a transaction of its own, so that a handler
-- that is killed or runs out of time has its steps behind it, and several handlers share them. They change nothing
-- that readers see. Deleted when the ingestion is published or retried.
CREATE TABLE sluice.publish_steps (
    ingestion integer NOT NULL CONSTRAINT publish_steps_ingestion REFERENCES sluice.ingestions (id),
    number integer NOT NULL,
    rollup text NOT NULL,                  -- the roll-up whose groups are merged
    first_bucket integer NOT NULL,         -- of the groups, inclusive
    last_bucket integer NOT NULL,          -- inclusive
    done_at timestamptz,                   -- null until it is committed
    CONSTRAINT publish_steps_pk PRIMARY KEY (ingestion, number)
);

-- The index of a roll-up by ingestion gets the bucket of each group, so that a step reads its own groups alone.
DO $$
DECLARE
    one record;
    keys text;
BEGIN
    FOR one IN
        SELECT datasets.name || '__' || rollup.key AS stored,
            (regexp_match(rollup.value, '(?:^|\n)--\s*key:\s*([^\n]+)'))[1] AS listed
        FROM sluice.datasets, jsonb_each_text(declaration -> 'rollups') AS rollup
        WHERE to_regclass(format('store.%I', datasets.name || '__' || rollup.key)) IS NOT NULL
    LOOP
        SELECT string_agg(quote_ident(trim(key)), ', ' ORDER BY place) INTO keys
        FROM regexp_split_to_table(one.listed, ',') WITH ORDINALITY AS listed (key, place);
        EXECUTE format('DROP INDEX IF EXISTS store.%I', one.stored || '_ingestion');
        EXECUTE format(
            'CREATE INDEX %I ON store.%I (ingestion, (hash_record_extended(ROW(%s), 0) & 1023))',
            one.stored || '_ingestion', one.stored, keys
        );
    END LOOP;
END $$;
