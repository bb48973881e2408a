-- How many requests a key may send in a minute, if not as many as the setting says.
ALTER TABLE sluice.api_keys ADD COLUMN requests_per_minute integer
    CONSTRAINT api_keys_rate_positive CHECK (requests_per_minute > 0);

-- Token buckets of rate limits. Not logged: after a crash of the server all are full.
CREATE UNLOGGED TABLE sluice.rate_buckets (
    subject text CONSTRAINT rate_buckets_pk PRIMARY KEY,  -- 'key:<id>', 'identity:<e-mail>', 'address:<address>'
    tokens double precision NOT NULL,                     -- when it was last used
    at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Takes tokens from a bucket that holds those of a minute and refills at that rate; first puts some back. SECURITY
-- DEFINER, because the functions may neither read nor fill the buckets.
CREATE FUNCTION sluice.take_tokens(
    taker text, per_minute integer, wanted integer, returned integer,
    OUT granted integer, OUT remaining double precision
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    bucket sluice.rate_buckets;
    elapsed_s double precision;
BEGIN
    INSERT INTO sluice.rate_buckets VALUES (taker, per_minute, clock_timestamp())
        ON CONFLICT (subject) DO UPDATE SET tokens = rate_buckets.tokens  -- locks it
        RETURNING * INTO bucket;
    elapsed_s := greatest(0, extract(epoch FROM clock_timestamp() - bucket.at));
    remaining := least(per_minute, bucket.tokens + greatest(0, returned) + elapsed_s * per_minute / 60);
    granted := least(greatest(0, wanted), floor(remaining));
    remaining := remaining - granted;
    UPDATE sluice.rate_buckets SET tokens = remaining, at = clock_timestamp() WHERE subject = taker;
END $$;
REVOKE EXECUTE ON FUNCTION sluice.take_tokens(text, integer, integer, integer) FROM public;
