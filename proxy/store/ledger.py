"""Jobs on the usage ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from proxy.store import bulk, facets, newrows, records, sums
from proxy.store.engine import Connection, parts
from proxy.usage_columns import OWN, PENDING, SHARED, Row, flat

_OUTCOME, _DURATION = SHARED.index("outcome"), OWN.index("duration_us")
_UNDONE_FROM_MEMORY = "PRAGMA temp_store = MEMORY"
"""A statement of many rows can be undone by itself. For that SQLite keeps the pages which it changes, some hundred
kilobytes, and in a file it would be a tenth of the work of adding rows. For this connection only: what reports sort
may be larger than memory."""
_id: Callable[[Row], str] = itemgetter(0)
_duration = itemgetter(_DURATION)
_QUICK = 300_000  # microseconds within which a request leaves no pending row, as a rule


def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Adds rows, as `proxy.usage_columns` has them, and what they add to their day, in one transaction. A
    request that is there already is skipped, unless its row was pending."""
    if len(set(map(_id, rows))) < len(rows):
        rows = _without_doubles(rows)
    # In the order of their ids: processes that write the same rows must not wait for each other in a circle, and an
    # index takes what is sorted at less cost.
    ordered = sorted(rows, key=_id)
    if connection.kind == "sqlite":
        connection.execute(_UNDONE_FROM_MEMORY)
    with connection.writing():
        taken = _add_embedded(connection, ordered) if connection.kind == "sqlite" else _add(connection, ordered)
        days, found = sums.added(taken)
        days, found = facets.fold(connection, days, found)
        sums.write(connection, "usage_days", days)
        facets.add(connection, found)


def _without_doubles(rows: Sequence[Row]) -> list[Row]:
    """One row for each id: the one that says how it ended, if one does."""
    unique: dict[object, Row] = {}
    for row in rows:
        known = unique.get(row[0])
        if known is None or known[-1][_OUTCOME] == PENDING:
            unique[row[0]] = row
    return [*unique.values()]


def _add_embedded(connection: Connection, rows: list[Row]) -> list[Row]:
    """Adds rows to SQLite, where nobody else writes now; returns those that were not skipped. Adding what is new costs
    a third of adding what may be there: so what has been so short that it left no pending row is taken for new, and of
    the rest it is asked first."""
    durations = [*map(_duration, rows)]
    if None not in durations and max(durations, default=0) < _QUICK:
        quick = rows
    else:
        quick = [row for row in rows if row[_DURATION] is not None and row[_DURATION] < _QUICK]
    known = newrows.add(connection, quick)
    rest = known[:]
    if len(quick) < len(rows):
        rest += [row for row in rows if row[_DURATION] is None or row[_DURATION] >= _QUICK]
    if not rest:
        return quick
    ids = {row[0] for row in known}
    taken = [row for row in quick if row[0] not in ids]
    there = _there(connection, [row[0] for row in rest])
    new = [row for row in rest if row[0] not in there]
    newrows.add(connection, [row for row in new if row[-1][_OUTCOME] == PENDING])
    newrows.add(connection, [row for row in new if row[-1][_OUTCOME] != PENDING])
    return taken + new + _add(connection, [row for row in rest if row[0] in there])


def _stored(row: Row) -> Row:
    """A row as it is stored: with whether the sums of facets have it."""
    return (*flat(row), None if row[-1][_OUTCOME] == PENDING else 1)


def _there(connection: Connection, ids: list[str]) -> set[str]:
    """The ids that have a row."""
    found: set[str] = set()
    for part in parts(ids):
        found.update(row["request_id"] for row in connection.execute(records.find_usage(len(part)), part).fetchall())
    return found


def _add(connection: Connection, rows: list[Row]) -> list[Row]:
    """Adds rows of requests that may have one; returns those that were not skipped."""
    taken: list[Row] = []
    given = {row[0]: row for row in rows}
    for query, values in bulk.given(connection, records.STORED, list(map(_stored, rows))):
        found = connection.execute(records.add_usage(query), values).fetchall()
        taken += [given[each["request_id"]] for each in found]
    return taken


def forget(connection: Connection, before: int, most: int = 5000) -> int:
    """Deletes rows older than `before` (Unix milliseconds) and feedback, so many at once; returns how many. Sums by day
    stay."""
    values = {"before": before, "most": most}
    # Several hosts that delete at once take rows that no other one has.
    skip = " FOR UPDATE SKIP LOCKED" if connection.kind == "postgresql" else ""
    with connection.writing():
        gone = connection.execute(
            "DELETE FROM usage WHERE request_id IN "  # noqa: S608
            "(SELECT request_id FROM usage WHERE at < :before AND (faceted IS NOT NULL OR outcome = 'pending') "
            f"ORDER BY at LIMIT :most{skip})",
            values,
        ).rowcount
        gone += connection.execute(
            "DELETE FROM feedback WHERE id IN "  # noqa: S608
            f"(SELECT id FROM feedback WHERE at < :before ORDER BY at LIMIT :most{skip})",
            values,
        ).rowcount
    return gone


def forget_sums(connection: Connection, before: int) -> int:
    """Deletes the sums of the oldest day that is over before then (Unix milliseconds); returns how many there were."""
    with connection.writing():
        oldest = connection.execute(
            "SELECT MIN(day) AS day FROM usage_facets WHERE facet = '' AND day < :day", {"day": before // sums.DAY}
        ).fetchone()["day"]
        if oldest is None:
            return 0
        return sum(
            connection.execute(f"DELETE FROM {table} WHERE day <= :day", {"day": oldest}).rowcount  # noqa: S608
            for table in ("usage_days", "usage_facets", "usage_facet_days", "usage_closed_days")
        )
