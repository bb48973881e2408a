-- An upload that was opened through the API explains one object: what is written under the same name later, without
-- another upload, came from whoever may write to the bucket.
CREATE OR REPLACE FUNCTION sluice.record_load() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    address text := format('gs://%s/%s', NEW.bucket, NEW.object);
BEGIN
    INSERT INTO sluice.audit (actor, action, dataset, subject, details)
    VALUES (
        coalesce((
            SELECT opened.actor
            FROM (
                SELECT * FROM sluice.audit
                WHERE action = 'upload.open' AND subject = address
                ORDER BY id DESC LIMIT 1
            ) AS opened
            WHERE NOT EXISTS (
                SELECT FROM sluice.ingestions AS earlier
                WHERE earlier.bucket = NEW.bucket AND earlier.object = NEW.object
                    AND earlier.id <> NEW.id AND earlier.received_at > opened.at
            )
        ), 'bucket'),
        'file.load', NEW.dataset, NEW.id::text,
        jsonb_build_object('object', address, 'generation', NEW.generation, 'size_bytes', NEW.size_bytes)
    );
    RETURN NULL;
END $$;
