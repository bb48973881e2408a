-- The line end of each rejected record as the file has it, so that the rejects of a file are a file again; empty
-- at the end of a file, and for a row of a request.
ALTER TABLE sluice.rejects ADD COLUMN line_end bytea NOT NULL DEFAULT '';
