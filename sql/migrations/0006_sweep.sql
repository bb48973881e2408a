-- What the sweep must know: how a file is compressed, how often it was pushed on, what is cleared away.

ALTER TABLE sluice.ingestions
    ADD COLUMN content_encoding text NOT NULL DEFAULT '',  -- of the object: `gzip`, or empty
    ADD COLUMN sweeps integer NOT NULL DEFAULT 0,          -- how often its messages were sent again
    ADD COLUMN cleared_at timestamptz;                     -- since when nothing superfluous is left of it
-- The sweep for what ended ingestions leave.
CREATE INDEX ingestions_uncleared ON sluice.ingestions (finished_at)
    WHERE cleared_at IS NULL AND state IN ('done', 'failed', 'cancelled', 'skipped', 'undone');
