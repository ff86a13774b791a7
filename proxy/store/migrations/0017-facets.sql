-- Sums by day for what a request can be told apart by beside its keys: its status, outcome, cache, config, and each field
-- of its metadata. `facet` is which of them ('' for all requests), `value` its value; the keys are empty but for statuses.
-- `usage_facet_days` has how many values of a metadata field a day has had: beyond a bound they are read from the rows.
-- A row is `faceted` when these sums have it. Rows that are not (those from before, and those of an instance that is not
-- up to date yet) are added up later, and until then read for themselves.

CREATE TABLE IF NOT EXISTS usage_facets (
    facet TEXT NOT NULL,
    day BIGINT NOT NULL,
    value TEXT NOT NULL,
    api_key TEXT NOT NULL,
    virtual_key TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    rescued BIGINT NOT NULL,
    cache_hits BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cost DOUBLE PRECISION NOT NULL,
    wasted DOUBLE PRECISION NOT NULL,
    saved DOUBLE PRECISION NOT NULL,
    duration_us BIGINT NOT NULL,
    PRIMARY KEY (facet, day, value, api_key, virtual_key, provider, model)
);

CREATE TABLE IF NOT EXISTS usage_facet_days (
    day BIGINT NOT NULL,
    facet TEXT NOT NULL,
    kept BIGINT NOT NULL,
    PRIMARY KEY (day, facet)
);

ALTER TABLE usage ADD COLUMN faceted INTEGER;
CREATE INDEX IF NOT EXISTS usage_unfaceted ON usage (at) WHERE faceted IS NULL AND outcome <> 'pending';

-- The index of times answers for durations as well, which graphs of latency read in their thousands.
CREATE INDEX IF NOT EXISTS usage_at_duration ON usage (at, outcome, duration_us);
DROP INDEX IF EXISTS usage_at;
