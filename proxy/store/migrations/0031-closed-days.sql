-- What is added up once of a day that is over (`proxy.store.closing`): `facet` is `latency`, whose durations are `content`
-- (JSON), or a field of the metadata, whose sums by keys are in `usage_facets`. It holds while the day has as many
-- `requests`; `claimed` (Unix seconds) is when somebody last set to work.

CREATE TABLE IF NOT EXISTS usage_closed_days (
    day BIGINT NOT NULL,
    facet TEXT NOT NULL,
    requests BIGINT NOT NULL,
    content TEXT NOT NULL,
    claimed BIGINT NOT NULL,
    PRIMARY KEY (day, facet)
);
