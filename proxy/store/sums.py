"""What reports add up: the sums over requests, in SQL for the ledger's rows and in Python for a batch of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from proxy.store import bulk
from proxy.store.engine import Connection
from proxy.usage_columns import OWN, PENDING, SHARED, Row, kinds

DAY = 86_400_000  # milliseconds
KEYS = ("api_key", "virtual_key", "provider", "model")
"""What sums by day are kept for, beside the day."""
FACETS = ("status", "outcome", "cache", "config")
"""What further sums by day are kept for, each for itself; and each field of the metadata, as `metadata:NAME`."""
KEYED = "status"
"""The one of them that is kept for each set of `KEYS`."""
METADATA = "metadata:"
PAIRS: dict[str, tuple[str, ...]] = {
    "api_key": ("api_key",),
    "virtual_key": ("virtual_key",),
    "model": ("provider", "model"),
}
"""What closed days (`proxy.store.closing`) have sums of a metadata field for as well, as `PAIR:metadata:NAME`."""
LATENCY = "latency"

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

Key = tuple[int, str, str, str, str]
Facet = tuple[str, int, str, str, str, str, str]
"""A facet, a day, a value, and the keys."""
Added = Sequence[float]
"""What is added to each of the sums, in the order of `NAMES`."""

_AT = OWN.index("at")
_at = itemgetter(_AT)
_told = itemgetter(*(SHARED.index(name) for name in (*KEYS, *FACETS, "metadata")))
_ATTEMPTS, _ESTIMATED, _WASTED, _SAVED, _OUTCOME = (
    SHARED.index(name) for name in ("attempts", "estimated", "wasted", "saved", "outcome")
)
_COST, _DURATION, _INPUT, _OUTPUT, _CACHED, _REASONING = (
    OWN.index(name)
    for name in ("cost", "duration_us", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
)
_HITS = frozenset(("HIT", "SEMANTIC HIT"))
_NO_KEYS = ("",) * len(KEYS)
_metadata = msgspec.json.Decoder(dict[str, Any]).decode


def added(rows: Sequence[Row]) -> tuple[dict[Key, Added], dict[Facet, Added]]:
    """What rows add: to the sums of each day and set of keys, and to those of each facet. Pending ones add nothing."""
    days: dict[Key, Added] = {}
    facets: dict[Facet, Added] = {}
    for day, part in _by_day(rows):
        for (*keys, status, outcome, cache, config, metadata), groups in _told_apart(part).items():
            sums = _added(groups, status or 0, outcome, cache)
            a, b, c, d = (key or "" for key in keys)
            join(days, (day, a, b, c, d), sums)
            join(facets, ("", day, "", *_NO_KEYS), sums)
            join(facets, (KEYED, day, "" if status is None else str(status), a, b, c, d), sums)
            for facet, value in (("outcome", outcome), ("cache", cache), ("config", config), *_fields(metadata)):
                join(facets, (facet, day, value or "", *_NO_KEYS), sums)
    return days, facets


def _by_day(rows: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
    if not rows:
        return
    times = [*map(_at, rows)]
    first, last = min(times) // DAY, max(times) // DAY
    if first == last:
        yield first, rows
        return
    for day in sorted({row[_AT] // DAY for row in rows}):
        yield day, [row for row in rows if row[_AT] // DAY == day]


def _told_apart(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Sequence[Row]]]:
    """Settled rows by what they are told apart by, and of those that are not, by the object that they share."""
    found: dict[tuple[Any, ...], list[Sequence[Row]]] = {}
    for group in kinds(rows):
        if group[0][-1][_OUTCOME] != PENDING:
            found.setdefault(_told(group[0][-1]), []).append(group)
    return found


def join(found: dict[Any, Added], key: Any, sums: Added) -> None:
    """Adds to what stands under a key."""
    known = found.get(key)
    found[key] = sums if known is None else [one + other for one, other in zip(known, sums, strict=True)]


def _fields(metadata: str | None) -> list[tuple[str, str]]:
    """The fields of a row's metadata that say something."""
    if not metadata:
        return []
    try:
        fields = _metadata(metadata)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return [(METADATA + name, value) for name, value in fields.items() if isinstance(value, str) and value]


def _added(groups: list[Sequence[Row]], status: int, outcome: str | None, cache: str | None) -> list[float]:
    """What rows that are not told apart add to each sum, column by column; the same as `_RAW` says in SQL."""
    columns = list(zip(*chain.from_iterable(groups), strict=True))
    shared = [(len(group), group[0][-1]) for group in groups]
    costs = columns[_COST]
    rows = len(costs)
    return [
        rows,
        rows if status >= 400 or outcome != "ok" else 0,
        sum([count for count, each in shared if (each[_ATTEMPTS] or 0) > 1]) if 0 < status < 400 else 0,
        rows if cache in _HITS else 0,
        sum([cost is None and used is not None for cost, used in zip(costs, columns[_INPUT], strict=True)])
        if None in costs
        else 0,
        sum([count * (each[_ESTIMATED] or 0) for count, each in shared]),
        *[sum(filter(None, columns[index])) for index in (_INPUT, _OUTPUT, _CACHED, _REASONING, _COST)],
        *[sum([count * (each[index] or 0) for count, each in shared]) for index in (_WASTED, _SAVED)],
        sum(filter(None, columns[_DURATION])),
    ]


def write(connection: Connection, table: str, found: dict[Any, Added]) -> None:
    """Adds to the sums of a table, in an order that is the same in every process: two that write the same days at once
    must not wait for each other in a circle. In a transaction that writes."""
    before, names, after = _TABLES[table]
    for query, values in bulk.given(connection, names, [(*key, *sums) for key, sums in sorted(found.items())]):
        connection.execute(f"{before}{query}{after}", values)


def _writing(table: str, *keys: str) -> tuple[str, tuple[str, ...], str]:
    """What stands before the rows, their columns, and what stands behind them."""
    names = (*keys, *NAMES)
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in NAMES)
    before = f"INSERT INTO {table} ({', '.join(names)}) "
    return before, names, f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"


_TABLES = {
    "usage_days": _writing("usage_days", "day", *KEYS),
    "usage_facets": _writing("usage_facets", "facet", "day", "value", *KEYS),
}
