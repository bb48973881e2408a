-- Since when a file in `received` waits for others of its dataset, of which enough are in flight; null where it is
-- handled, or will be by its own message.
ALTER TABLE sluice.ingestions ADD COLUMN waiting_since timestamptz;
-- "Which file of a dataset has waited longest?", asked whenever one ends.
CREATE INDEX ingestions_waiting ON sluice.ingestions (dataset, id) WHERE waiting_since IS NOT NULL AND state = 'received';
-- "How many files of a dataset are in flight?", asked before one is split.
CREATE INDEX ingestions_in_flight ON sluice.ingestions (dataset, updated_at)
    WHERE state IN ('splitting', 'loading', 'publishing');
