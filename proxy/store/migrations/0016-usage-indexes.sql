-- Fewer indexes to keep up with every request. A request without a trace of its own is found by its id, so the index of
-- traces leaves it out (readers ask as `proxy.store.records.TRACED` does); few virtual keys tell little about a row, and
-- what is asked of them is bounded by time.

DROP INDEX IF EXISTS usage_trace_id;
CREATE INDEX IF NOT EXISTS usage_own_trace_id ON usage (trace_id) WHERE trace_id <> request_id;
DROP INDEX IF EXISTS usage_virtual_key_at;
