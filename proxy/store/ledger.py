"""Jobs on the usage ledger."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.store import records
from proxy.store.engine import Connection

_ROWS_A_STATEMENT = 100
_ADD_ONE = records.add_usage(1)
_ADD_MANY = records.add_usage(_ROWS_A_STATEMENT)


def append(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Adds rows, in the order of `proxy.usage_columns.COLUMNS`, in one transaction; a request id already there is
    skipped."""
    whole = len(rows) - len(rows) % _ROWS_A_STATEMENT
    with connection.writing():
        # One statement is one release of the interpreter's lock, which a busy event loop gives back late: rows go in by
        # the hundred, not one by one.
        for start in range(0, whole, _ROWS_A_STATEMENT):
            batch = rows[start : start + _ROWS_A_STATEMENT]
            connection.execute(_ADD_MANY, [value for row in batch for value in row])
        for row in rows[whole:]:
            connection.execute(_ADD_ONE, row)
