"""The columns of the usage ledger, in the order in which rows are given to `Store.append_usage`.

`at` is Unix milliseconds, durations are microseconds, flags are 0 or 1, costs are US dollars; what is not known is
None. `model` is the one that the provider was asked for, `asked_model` the client's name for it. `target` is the JSON
path of the target in its config. `cost` is what the delivered answer cost, by the prices of `price`; `wasted` what
attempts cost that brought nothing; `saved` what a kept answer had cost. `metadata`, `tries` and `details` are JSON;
`details` holds what few requests have (`proxy.usage.rows.Details`), a method that is not `POST` among it.
"""

from __future__ import annotations

PENDING = "pending"
"""The outcome of a request that has begun and not ended; what ends it takes the row's place."""

POST = "POST"
"""The method of nearly all requests, which no row says."""

COLUMNS: tuple[str, ...] = (
    "request_id",
    "at",
    "api_key",
    "virtual_key",
    "provider",
    "model",
    "dialect",
    "operation",
    "status",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "attempts",
    "streamed",
    "duration_us",
    "ttfb_us",
    "outcome",
    "trace_id",
    "asked_model",
    "config",
    "target",
    "metadata",
    "cache",
    "cost",
    "price",
    "wasted",
    "saved",
    "tries",
    "details",
    "estimated",
)
