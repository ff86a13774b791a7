-- Sums by day, kept with every row of the ledger that settles: reports over months read these, not a million rows.
-- Keys that a request does not have are empty text here, because a primary key may not be NULL everywhere.

CREATE TABLE IF NOT EXISTS usage_days (
    day BIGINT NOT NULL,
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
    PRIMARY KEY (day, api_key, virtual_key, provider, model)
);

INSERT INTO usage_days
SELECT at / 86400000, COALESCE(api_key, ''), COALESCE(virtual_key, ''), COALESCE(provider, ''), COALESCE(model, ''),
    COUNT(*),
    SUM(CASE WHEN status >= 400 OR outcome <> 'ok' THEN 1 ELSE 0 END),
    SUM(CASE WHEN attempts > 1 AND status < 400 THEN 1 ELSE 0 END),
    SUM(CASE WHEN cache IN ('HIT', 'SEMANTIC HIT') THEN 1 ELSE 0 END),
    SUM(CASE WHEN cost IS NULL AND input_tokens IS NOT NULL THEN 1 ELSE 0 END),
    SUM(COALESCE(estimated, 0)),
    SUM(COALESCE(input_tokens, 0)), SUM(COALESCE(output_tokens, 0)), SUM(COALESCE(cached_tokens, 0)),
    SUM(COALESCE(reasoning_tokens, 0)), SUM(COALESCE(cost, 0)), SUM(COALESCE(wasted, 0)), SUM(COALESCE(saved, 0)),
    SUM(COALESCE(duration_us, 0))
FROM usage WHERE outcome <> 'pending' GROUP BY 1, 2, 3, 4, 5;
