"""The columns of the usage ledger.

In memory a row is what a request has for itself, in the order of `OWN`, and then one tuple of the rest, in the order of
`SHARED`: requests of a kind share it, so it is made, held and bound to a statement once for all of them. `flat` makes
plain rows of such, in the order of `COLUMNS`, and `folded` the other way round.

`at` is Unix milliseconds, durations are microseconds, flags are 0 or 1, costs are US dollars; what is not known is
None. `model` is the one that the provider was asked for, `asked_model` the client's name for it. `target` is the JSON
path of the target in its config. `cost` is what the delivered answer cost, by the prices of `price`; `wasted` what
attempts cost that brought nothing; `saved` what a kept answer had cost. `metadata`, `tries` and `details` are JSON;
`details` holds what few requests have (`proxy.usage.details.Details`), a method that is not `POST` among it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

PENDING = "pending"
"""The outcome of a request that has begun and not ended; what ends it takes the row's place."""

POST = "POST"
"""The method of nearly all requests, which no row says."""

OWN: tuple[str, ...] = (
    "request_id",
    "trace_id",
    "at",
    "duration_us",
    "ttfb_us",
    "cost",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)

SHARED: tuple[str, ...] = (
    "api_key",
    "virtual_key",
    "provider",
    "model",
    "dialect",
    "operation",
    "status",
    "attempts",
    "streamed",
    "outcome",
    "asked_model",
    "config",
    "target",
    "metadata",
    "cache",
    "price",
    "wasted",
    "saved",
    "tries",
    "details",
    "estimated",
)

COLUMNS = OWN + SHARED

Row = tuple[Any, ...]

_shared = itemgetter(-1)


def flat(row: Row) -> Row:
    """The values of a row in the order of `COLUMNS`."""
    shared: Row = row[-1]
    return row[:-1] + shared


def kinds(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Rows by the object that they share, in the order in which the first of each came."""
    if not rows:
        return []
    shared = [*map(id, map(_shared, rows))]
    if shared.count(shared[0]) == len(shared):
        return [rows]
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for id_, row in zip(shared, rows, strict=True):
        found[id_].append(row)
    return [*found.values()]


def folded(values: Sequence[Any]) -> Row:
    """The row with these values, which are in the order of `COLUMNS`."""
    return (*values[: len(OWN)], tuple(values[len(OWN) :]))
