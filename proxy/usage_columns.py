"""The columns of the usage ledger, in the order in which rows are given to `Store.append_usage`.

`at` is Unix milliseconds, durations are microseconds, `streamed` is 0 or 1; absent values are None.
"""

from __future__ import annotations

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
)
