-- What a request cost and by which price, who it was for, and how it came to its end.
-- `tries` (attempts), `metadata` and `details` (rarer counts of tokens) are JSON text, empty where there is nothing to say.

ALTER TABLE usage ADD COLUMN trace_id TEXT;
ALTER TABLE usage ADD COLUMN asked_model TEXT;
ALTER TABLE usage ADD COLUMN config TEXT;
ALTER TABLE usage ADD COLUMN target TEXT;
ALTER TABLE usage ADD COLUMN metadata TEXT;
ALTER TABLE usage ADD COLUMN cache TEXT;
ALTER TABLE usage ADD COLUMN cost DOUBLE PRECISION;
ALTER TABLE usage ADD COLUMN price TEXT;
ALTER TABLE usage ADD COLUMN wasted DOUBLE PRECISION;
ALTER TABLE usage ADD COLUMN saved DOUBLE PRECISION;
ALTER TABLE usage ADD COLUMN tries TEXT;
ALTER TABLE usage ADD COLUMN details TEXT;
ALTER TABLE usage ADD COLUMN estimated INTEGER;
