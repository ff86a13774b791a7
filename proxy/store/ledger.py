"""Jobs on the usage ledger."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.store import records
from proxy.store.engine import Connection
from proxy.usage_columns import COLUMNS, PENDING

_ROWS_A_STATEMENT = 100
_ADD_ONE = records.add_usage(1)
_ADD_MANY = records.add_usage(_ROWS_A_STATEMENT)
_OUTCOME = COLUMNS.index("outcome")


def append(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Adds rows, in the order of `proxy.usage_columns.COLUMNS`, in one transaction. A request that is there already is
    skipped, unless its row was pending."""
    unique: dict[object, tuple[object, ...]] = {}
    for row in rows:
        known = unique.get(row[0])
        if known is None or known[_OUTCOME] == PENDING:
            unique[row[0]] = row
    distinct = list(unique.values())
    whole = len(distinct) - len(distinct) % _ROWS_A_STATEMENT
    with connection.writing():
        # One statement is one release of the interpreter's lock, which a busy event loop gives back late: rows go in by
        # the hundred, not one by one.
        for start in range(0, whole, _ROWS_A_STATEMENT):
            batch = distinct[start : start + _ROWS_A_STATEMENT]
            connection.execute(_ADD_MANY, [value for row in batch for value in row])
        for row in distinct[whole:]:
            connection.execute(_ADD_ONE, row)
