-- Keys, provider credentials, configs and the usage ledger.
-- Types and statements are those that SQLite and PostgreSQL share: structured values are JSON text, times are integers.

CREATE TABLE IF NOT EXISTS changes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
);

INSERT INTO changes (id, seq) VALUES (1, 0) ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    virtual_keys TEXT NOT NULL,
    models TEXT NOT NULL,
    config TEXT,
    allow_config_override INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    limits TEXT NOT NULL,
    description TEXT NOT NULL,
    type TEXT NOT NULL,
    sub_type TEXT NOT NULL,
    expires_at BIGINT,
    previous_digest TEXT,
    previous_expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    extra TEXT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS api_keys_previous_digest ON api_keys (previous_digest);

CREATE TABLE IF NOT EXISTS virtual_keys (
    slug TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    credential TEXT NOT NULL,
    custom_host TEXT,
    models TEXT NOT NULL,
    aliases TEXT NOT NULL,
    default_model TEXT,
    completions_mode TEXT NOT NULL,
    fields TEXT NOT NULL,
    custom_headers TEXT NOT NULL,
    limits TEXT NOT NULL,
    note TEXT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    extra TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS configs (
    slug TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS config_versions (
    slug TEXT NOT NULL REFERENCES configs (slug) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    version_id TEXT NOT NULL,
    config TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (slug, version)
);

CREATE TABLE IF NOT EXISTS usage (
    request_id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    api_key TEXT,
    virtual_key TEXT,
    provider TEXT,
    model TEXT,
    dialect TEXT,
    operation TEXT,
    status INTEGER,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_tokens BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens BIGINT,
    attempts INTEGER,
    streamed INTEGER,
    duration_us BIGINT,
    ttfb_us BIGINT,
    outcome TEXT
);

CREATE INDEX IF NOT EXISTS usage_at ON usage (at);
CREATE INDEX IF NOT EXISTS usage_api_key_at ON usage (api_key, at);
CREATE INDEX IF NOT EXISTS usage_virtual_key_at ON usage (virtual_key, at);
