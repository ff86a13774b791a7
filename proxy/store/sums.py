"""What reports add up: the sums over requests, in SQL for the ledger's rows and in Python for a batch of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.usage_columns import COLUMNS

DAY = 86_400_000  # milliseconds
KEYS = ("api_key", "virtual_key", "provider", "model")
"""What sums by day are kept for, beside the day."""

# Each sum by name: what one row of the ledger adds to it. An empty value adds nothing.
_RAW: dict[str, str] = {
    "requests": "1",
    "errors": "CASE WHEN status >= 400 OR outcome NOT IN ('ok', 'pending') THEN 1 ELSE 0 END",
    "rescued": "CASE WHEN attempts > 1 AND status < 400 THEN 1 ELSE 0 END",
    "cache_hits": "CASE WHEN cache IN ('HIT', 'SEMANTIC HIT') THEN 1 ELSE 0 END",
    "unpriced": "CASE WHEN cost IS NULL AND input_tokens IS NOT NULL THEN 1 ELSE 0 END",
    "estimated": "COALESCE(estimated, 0)",
    "input_tokens": "COALESCE(input_tokens, 0)",
    "output_tokens": "COALESCE(output_tokens, 0)",
    "cached_tokens": "COALESCE(cached_tokens, 0)",
    "reasoning_tokens": "COALESCE(reasoning_tokens, 0)",
    "cost": "COALESCE(cost, 0)",
    "wasted": "COALESCE(wasted, 0)",
    "saved": "COALESCE(saved, 0)",
    "duration_us": "COALESCE(duration_us, 0)",
}
NAMES: tuple[str, ...] = tuple(_RAW)
DOLLARS = frozenset(("cost", "wasted", "saved"))

RAW_SUMS = ", ".join(f"SUM({expression}) AS {name}" for name, expression in _RAW.items())
DAY_SUMS = ", ".join(f"SUM({name}) AS {name}" for name in NAMES)

ADD_DAY = (
    f"INSERT INTO usage_days (day, {', '.join((*KEYS, *NAMES))}) "  # noqa: S608 - names are ours
    f"VALUES ({', '.join('?' * (1 + len(KEYS) + len(NAMES)))}) "
    f"ON CONFLICT (day, {', '.join(KEYS)}) DO UPDATE SET "
    + ", ".join(f"{name} = usage_days.{name} + excluded.{name}" for name in NAMES)
)

Key = tuple[int, str, str, str, str]
_AT, *_KEYS = (COLUMNS.index(name) for name in ("at", *KEYS))
_STATUS, _OUTCOME, _ATTEMPTS, _CACHE, _COST, _INPUT = (
    COLUMNS.index(name) for name in ("status", "outcome", "attempts", "cache", "cost", "input_tokens")
)
_PLAIN = tuple(COLUMNS.index(name) for name in NAMES[5:])


def by_day(rows: Iterable[tuple[Any, ...]]) -> dict[Key, list[float]]:
    """The sums of settled rows for each day and set of keys, in an order that is the same in every process: two that
    write the same days at once must not wait for each other in a circle."""
    groups: dict[Key, list[tuple[Any, ...]]] = {}
    api_key, virtual_key, provider, model = _KEYS
    for row in rows:
        key = (row[_AT] // DAY, row[api_key] or "", row[virtual_key] or "", row[provider] or "", row[model] or "")
        group = groups.get(key)
        if group is None:
            groups[key] = [row]
        else:
            group.append(row)
    return {key: _added(groups[key]) for key in sorted(groups)}


def _added(rows: list[tuple[Any, ...]]) -> list[float]:
    """What rows add to each sum, column by column; the same as `_RAW` says in SQL."""
    columns = list(zip(*rows, strict=True))
    outcomes, caches = columns[_OUTCOME], columns[_CACHE]
    statuses = [status or 0 for status in columns[_STATUS]]
    return [
        len(rows),
        sum([status >= 400 or outcome != "ok" for status, outcome in zip(statuses, outcomes, strict=True)]),
        sum(
            [
                (tries or 0) > 1 and 0 < (status or 0) < 400
                for tries, status in zip(columns[_ATTEMPTS], statuses, strict=True)
            ]
        ),
        caches.count("HIT") + caches.count("SEMANTIC HIT"),
        sum([cost is None and used is not None for cost, used in zip(columns[_COST], columns[_INPUT], strict=True)]),
        *[sum(filter(None, columns[index])) for index in _PLAIN],
    ]
