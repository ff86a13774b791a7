-- Feedback belongs to a trace of a key: what others gave to a trace of the same name is passed by without being read.
-- It is deleted with the rows of the ledger from before the same time.

CREATE INDEX IF NOT EXISTS feedback_trace_id_api_key ON feedback (trace_id, api_key, at);
DROP INDEX IF EXISTS feedback_trace_id;
CREATE INDEX IF NOT EXISTS feedback_at ON feedback (at);
