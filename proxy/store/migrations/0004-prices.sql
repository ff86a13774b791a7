-- Prices that administrators set, and the table that takes the place of the shipped one.

CREATE TABLE IF NOT EXISTS prices (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    entry TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider, model)
);

CREATE TABLE IF NOT EXISTS price_tables (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version TEXT NOT NULL,
    content TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
