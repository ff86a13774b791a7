"""Adding rows to the ledger in SQLite whose requests have none: most rows, and so most of what the ledger costs.

A value that is bound to a statement takes longer than the same value in the table. So what rows share is bound once,
whatever their number, and what none of them has is left out. Kinds of which a batch has few rows go in together: what
all of those have is bound once then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from proxy.store.engine import Connection, parts
from proxy.usage_columns import COLUMNS, OWN, PENDING, SHARED, Row, flat, kinds

_OUTCOME = SHARED.index("outcome")
_FEW = 10  # rows of a kind that are worth a statement of their own
_FIRST = ("request_id", "trace_id")
_TOKENS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
"""Columns of a request's own in which most are alike all the same."""
_ALIKE = (
    *("estimated", "attempts", "cache_write_tokens", "reasoning_tokens", "operation", "dialect", "streamed"),
    *("outcome", "status", "cached_tokens", "config", "target", "api_key", "provider", "virtual_key"),
    *("model", "asked_model", "price", "cache", "metadata", "wasted", "saved", "tries", "details"),
)
"""Columns in which rows of several kinds may be alike, those first that are most likely to. A column is bound once if
it and all before it are: so there are few forms of the statement, each of which SQLite compiles once."""
_UNLIKE = tuple(name for name in COLUMNS if name not in _ALIKE and name not in _FIRST)
_PLACES = {name: place for place, name in enumerate(OWN)}
_FLAT_PLACES = {name: place for place, name in enumerate(COLUMNS)}

Column = Sequence[Any]
Bound = tuple[dict[str, Any], dict[str, Column]]
"""By name: what is bound once for all rows of a statement, and what is bound for each."""


def add(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Adds rows that are all pending, or all settled, no two of one request; returns those whose request has a row
    already: these are not added. In a transaction that writes."""
    if not rows:
        return []
    faceted = rows[0][-1][_OUTCOME] != PENDING
    last = connection.execute("SELECT MAX(rowid) AS last FROM usage").fetchone()["last"] or 0
    skipped: list[Row] = []
    for part, ids, traces, (once, own) in _statements(rows):
        traced = ids != traces
        each = [ids, *([traces] if traced else []), *own.values()]
        values = [*once.values(), *chain.from_iterable(zip(*each, strict=True))]
        statement = _statement(tuple(once), tuple(own), len(part), traced=traced, faceted=faceted)
        if connection.execute(statement, values).rowcount < len(part):
            marks = ", ".join("?" * len(part))
            new = connection.execute(
                f"SELECT request_id FROM usage WHERE rowid > ? AND request_id IN ({marks})",  # noqa: S608
                [last, *ids],
            ).fetchall()
            added = {row["request_id"] for row in new}
            skipped += [row for row in part if row[0] not in added]
    return skipped


def _statements(rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], Column, Column, Bound]]:
    """Rows for one statement each, with their ids, their traces, and what is bound."""
    few: list[Row] = []
    for kind in kinds(rows):
        for part in parts(kind):
            if len(part) < _FEW:
                few += part
            else:
                columns = list(zip(*part, strict=True))
                yield part, columns[0], columns[1], _of_one_kind(columns)
    for part in parts(few):
        columns = list(zip(*map(flat, part), strict=True))
        yield part, columns[0], columns[1], _of_several(columns)


def _of_one_kind(columns: Sequence[Column]) -> Bound:
    once = {name: value for name, value in zip(SHARED, columns[-1][0], strict=True) if value is not None}
    own = {name: columns[_PLACES[name]] for name in OWN if name not in _FIRST}
    if all(column.count(column[0]) == len(column) for column in (own[name] for name in _TOKENS)):
        once |= {name: column[0] for name in _TOKENS if (column := own.pop(name))[0] is not None}
    return once, _known(own)


def _of_several(columns: Sequence[Column]) -> Bound:
    once: dict[str, Any] = {}
    own = {name: columns[_FLAT_PLACES[name]] for name in _UNLIKE}
    for name in _ALIKE:
        column = columns[_FLAT_PLACES[name]]
        first = column[0]
        alike = column.count(first) == len(column)
        if alike and first is None:
            continue
        if alike and len(own) == len(_UNLIKE):
            once[name] = first
        else:
            own[name] = column
    return once, _known(own)


def _known(own: dict[str, Column]) -> dict[str, Column]:
    return {name: column for name, column in own.items() if column.count(None) < len(column)}


@lru_cache(48)
def _statement(once: tuple[str, ...], own: tuple[str, ...], rows: int, *, traced: bool, faceted: bool) -> str:
    """The statement for so many rows: its parameters are what is bound once, then each row's own, its id first. A
    request without a trace of its own (not `traced`) has its id as one."""
    shared = "".join(f", ?{number}" for number in range(1, len(once) + 1)) + (", 1" if faceted else "")
    names = ", ".join((*_FIRST, *own, *once, *(["faceted"] if faceted else [])))
    made, first = [], len(once) + 1
    for _ in range(rows):
        id, trace = first, first + traced
        first = trace + 1 + len(own)
        made.append(f"(?{id}, ?{trace}{''.join(f', ?{number}' for number in range(trace + 1, first))}{shared})")
    return f"INSERT INTO usage ({names}) VALUES {', '.join(made)} ON CONFLICT (request_id) DO NOTHING"  # noqa: S608
