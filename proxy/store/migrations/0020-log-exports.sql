-- Exports of the request log: what was asked for. The rows themselves are read from the ledger when one is downloaded.
-- `filters` and `requested` are JSON text, `since` and `until` the time it covers once it was started. Times are Unix
-- milliseconds.

CREATE TABLE IF NOT EXISTS log_exports (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    api_key TEXT NOT NULL,
    workspace TEXT,
    description TEXT,
    filters TEXT NOT NULL,
    requested TEXT NOT NULL,
    status TEXT NOT NULL,
    total BIGINT NOT NULL,
    since BIGINT,
    until BIGINT
);

CREATE INDEX IF NOT EXISTS log_exports_api_key ON log_exports (api_key, at);
