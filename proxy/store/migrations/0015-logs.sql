-- What the log has beside the ledger: bodies, where they are kept, entries that clients sent, and feedback.
-- Bodies are encrypted; entries and metadata are JSON text. Times are Unix milliseconds.

CREATE TABLE IF NOT EXISTS bodies (
    request_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    request TEXT NOT NULL,
    response TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS bodies_at ON bodies (at);

CREATE TABLE IF NOT EXISTS log_entries (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    api_key TEXT NOT NULL,
    trace_id TEXT,
    entry TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS log_entries_at ON log_entries (at);
CREATE INDEX IF NOT EXISTS log_entries_trace_id ON log_entries (trace_id);

CREATE TABLE IF NOT EXISTS feedback (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    api_key TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    value INTEGER NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    metadata TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS feedback_trace_id ON feedback (trace_id);
CREATE INDEX IF NOT EXISTS usage_trace_id ON usage (trace_id);
