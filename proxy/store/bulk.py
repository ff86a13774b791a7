"""Many rows in one statement: `VALUES` with a mark for each value in SQLite, a JSON list for each column in PostgreSQL.

psycopg and PostgreSQL look at every mark and every parameter, and at a statement of a hundred kilobytes: that is twenty
times the work of making lists for a process of ours, and three times that of reading them for the server. SQLite is
quicker with marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from proxy.store.engine import Connection, parts

_MOST = 5_000
"""Rows in one statement to PostgreSQL."""
_DOLLARS = frozenset(("cost", "wasted", "saved"))
_COUNTS = frozenset(
    (
        *("at", "day", "status", "attempts", "streamed", "estimated", "faceted", "duration_us", "ttfb_us", "requests"),
        *("errors", "rescued", "cache_hits", "unpriced", "input_tokens", "output_tokens", "cached_tokens"),
        *("cache_write_tokens", "reasoning_tokens"),
    )
)
"""Columns of whole numbers in the tables of the ledger."""
_NUL = "\\u0000"  # as JSON has it

_encode = msgspec.json.Encoder().encode

Row = Sequence[Any]
Batch = tuple[str, list[Any]]
"""A query that gives rows, and its parameters."""


def given(connection: Connection, names: Sequence[str], rows: Sequence[Row]) -> Iterator[Batch]:
    """Queries that give these rows, in their order, as few as the database takes: to be inserted, or to be looked for.
    `names` are columns of the ledger's tables."""
    if connection.kind == "postgresql":
        for start in range(0, len(rows), _MOST):
            yield columnar(names, rows[start : start + _MOST])
        return
    for part in parts(rows):
        yield _marks(len(names), len(part)), list(chain.from_iterable(part))


@lru_cache(16)
def _marks(columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def columnar(names: Sequence[str], rows: Sequence[Row]) -> Batch:
    """The query for PostgreSQL. What all rows have in common is bound once."""
    own: list[str] = []
    lists: list[object] = []
    shown: list[str] = []
    shared: list[object] = []
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        kind = "BIGINT" if name in _COUNTS else "DOUBLE PRECISION" if name in _DOLLARS else "TEXT"
        if own and column.count(column[0]) == len(rows):
            shown.append(f"CAST(? AS {kind})")
            shared.append(column[0])
        else:
            own.append(name)
            lists.append(_list(column))
            shown.append(name if kind == "TEXT" else f"CAST({name} AS {kind})")
    functions = ", ".join(["json_array_elements_text(CAST(? AS JSON))"] * len(own))
    return f"SELECT {', '.join(shown)} FROM ROWS FROM ({functions}) AS given ({', '.join(own)})", shared + lists  # noqa: S608


def _list(column: tuple[Any, ...]) -> str:
    """A column as JSON. PostgreSQL's texts hold no NUL, and JSON's do: U+FFFD takes its place."""
    text = _encode(column).decode()
    if _NUL in text:
        text = _encode([one.replace("\0", "\ufffd") if isinstance(one, str) else one for one in column]).decode()
    return text
