-- What each budget has spent in its window: `name` is a digest of whose it is, amounts are billionths of a dollar, or
-- tokens; `reset_at` (Unix seconds) is the last reset that was asked for and done.

CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    window_id BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    reset_at BIGINT NOT NULL DEFAULT 0
);
