"""Jobs on the usage ledger."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.store import records, sums
from proxy.store.engine import Connection
from proxy.usage_columns import COLUMNS, PENDING

_ADD = {rows: records.add_usage(rows) for rows in (100, 10, 1)}
"""Statements by how many rows they add."""
_OUTCOME = COLUMNS.index("outcome")

Row = tuple[object, ...]


def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Adds rows, in the order of `proxy.usage_columns.COLUMNS`, and what they add to their day, in one transaction. A
    request that is there already is skipped, unless its row was pending."""
    unique: dict[object, Row] = {}
    for row in rows:
        known = unique.get(row[0])
        if known is None or known[_OUTCOME] == PENDING:
            unique[row[0]] = row
    # In the order of their ids: processes that write the same rows must not wait for each other in a circle.
    distinct = sorted(unique.values(), key=lambda row: str(row[0]))
    with connection.writing():
        taken: list[Row] = []
        # One statement is one release of the interpreter's lock, which a busy event loop gives back late: rows go in by
        # the hundred, not one by one.
        start = 0
        for size, statement in _ADD.items():
            while len(distinct) - start >= size:
                values = [value for row in distinct[start : start + size] for value in row]
                taken += [unique[each["request_id"]] for each in connection.execute(statement, values).fetchall()]
                start += size
        for key, added in sums.by_day(row for row in taken if row[_OUTCOME] != PENDING).items():
            connection.execute(sums.ADD_DAY, (*key, *added))


def forget(connection: Connection, before: int, most: int = 5000) -> int:
    """Deletes rows older than `before` (Unix milliseconds), so many at once; returns how many. Sums by day stay."""
    with connection.writing():
        return connection.execute(
            "DELETE FROM usage WHERE request_id IN "
            "(SELECT request_id FROM usage WHERE at < :before ORDER BY at LIMIT :most)",
            {"before": before, "most": most},
        ).rowcount
