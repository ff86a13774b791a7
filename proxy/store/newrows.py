"""Adding rows to the ledger in SQLite whose requests have none: most rows, and so most of what the ledger costs.

A value that is bound to a statement takes longer than the same value in the table, and the rows of a batch are much
alike. So what all of them have is bound once, whatever the number of rows, and what none of them has is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from proxy.store.engine import Connection, parts
from proxy.usage_columns import COLUMNS, PENDING

Row = tuple[Any, ...]

_OUTCOME = COLUMNS.index("outcome")
_ALIKE = (
    *("estimated", "attempts", "cache_write_tokens", "reasoning_tokens", "operation", "dialect", "streamed"),
    *("outcome", "status", "cached_tokens", "config", "target", "api_key", "provider", "virtual_key"),
    *("model", "asked_model", "price", "cache", "metadata", "wasted", "saved", "tries", "details"),
)
"""Columns in which rows of a batch may be alike, those first that are most likely to. A column is bound once if it and
all before it are: so there are few forms of the statement, each of which SQLite compiles once."""
_FIRST = ("request_id", "trace_id")
_OWN = tuple(name for name in COLUMNS if name not in _ALIKE and name not in _FIRST)
_AT = {name: COLUMNS.index(name) for name in COLUMNS}


def add(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Adds rows that are all pending, or all settled, no two of one request; returns those whose request has a row
    already: these are not added. In a transaction that writes."""
    if not rows:
        return []
    faceted = rows[0][_OUTCOME] != PENDING
    last = connection.execute("SELECT MAX(rowid) AS last FROM usage").fetchone()["last"] or 0
    skipped: list[Row] = []
    for part in parts(rows):
        columns = list(zip(*part, strict=True))
        shared: list[str] = []
        values: list[object] = []
        own = list(_OWN)
        for name in _ALIKE:
            column = columns[_AT[name]]
            first = column[0]
            alike = column.count(first) == len(part)
            if alike and first is None:
                continue
            if alike and len(own) == len(_OWN):
                shared.append(name)
                values.append(first)
            else:
                own.append(name)
        own = [name for name in own if columns[_AT[name]].count(None) < len(part)]
        ids, traces = (columns[_AT[name]] for name in _FIRST)
        traced = ids != traces
        each = [ids, *([traces] if traced else []), *(columns[_AT[name]] for name in own)]
        values += chain.from_iterable(zip(*each, strict=True))
        statement = _statement(tuple(shared), tuple(own), len(part), traced=traced, faceted=faceted)
        if connection.execute(statement, values).rowcount < len(part):
            marks = ", ".join("?" * len(part))
            new = connection.execute(
                f"SELECT request_id FROM usage WHERE rowid > ? AND request_id IN ({marks})",  # noqa: S608
                [last, *ids],
            ).fetchall()
            added = {row["request_id"] for row in new}
            skipped += [row for row in part if row[0] not in added]
    return skipped


@lru_cache(48)
def _statement(shared: tuple[str, ...], own: tuple[str, ...], rows: int, *, traced: bool, faceted: bool) -> str:
    """The statement for so many rows: its parameters are the shared values, then each row's own, its id first. A
    request without a trace of its own (not `traced`) has its id as one."""
    once = "".join(f", ?{number}" for number in range(1, len(shared) + 1)) + (", 1" if faceted else "")
    names = ", ".join((*_FIRST, *own, *shared, *(["faceted"] if faceted else [])))
    made, first = [], len(shared) + 1
    for _ in range(rows):
        id, trace = first, first + traced
        first = trace + 1 + len(own)
        made.append(f"(?{id}, ?{trace}{''.join(f', ?{number}' for number in range(trace + 1, first))}{once})")
    return f"INSERT INTO usage ({names}) VALUES {', '.join(made)} ON CONFLICT (request_id) DO NOTHING"  # noqa: S608
