"""Sums by day of each facet of requests (`sums.FACETS`, fields of the metadata): written, bounded, and caught up with.

A day keeps so many values of one metadata field, and so many fields; of a field that has more, its rows are read. So
whoever puts an id into the metadata pays with slower reports on that field, and not with a second ledger. Nor does one
who invents models: beyond so many of one API key they are summed up as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from proxy.store import bulk, sums
from proxy.store.engine import Connection, parts
from proxy.usage_columns import COLUMNS, folded

VALUES, FIELDS = 3000, 100
"""How many values of a field, and how many fields, have sums in one day."""
SETS = 3000
"""How many sets of status, virtual key, provider and model have sums of their own for one API key in one day."""
OTHER = "(other)"
"""The model of the others."""
UNFACETED = "faceted IS NULL AND outcome <> 'pending'"
OPEN = "open"
"""The content of a closed day whose rows are to be read."""
_KEY = "key:"  # before an API key in the place of a facet: how many of those sets it has
_SET = ("day", "value", *sums.KEYS)
_FIELDS = "*"  # in the place of a field's name: how many fields there are
_COUNT = (
    "INSERT INTO usage_facet_days (day, facet, kept) VALUES (?, ?, ?) "
    "ON CONFLICT (day, facet) DO UPDATE SET kept = usage_facet_days.kept + excluded.kept"
)


Days = dict[sums.Key, sums.Added]
Facets = dict[sums.Facet, sums.Added]


def fold(connection: Connection, days: Days, found: Facets) -> tuple[Days, Facets]:
    """The same sums, with `OTHER` in place of models for which a day has no more room: clients name models, and may
    invent one for each request. In a transaction that writes."""
    fresh: dict[tuple[int, str], list[sums.Facet]] = {}
    for key in _absent(connection, [key for key in found if key[0] == sums.KEYED]):
        fresh.setdefault((key[1], key[3]), []).append(key)
    folded: set[sums.Facet] = set()
    for (day, api_key), keys in sorted(fresh.items()):
        facet = _KEY + api_key
        row = connection.execute(
            "SELECT kept FROM usage_facet_days WHERE day = ? AND facet = ?", (day, facet)
        ).fetchone()
        room = max(0, SETS - (0 if row is None else int(row["kept"])))
        folded.update(sorted(keys)[room:])
        if room:
            connection.execute(_COUNT, (day, facet, min(room, len(keys))))
    if not folded:
        return days, found
    days, kept = Days(), Facets()
    for key, one in found.items():
        key = (*key[:6], OTHER) if key in folded else key
        sums.join(kept, key, one)
        if key[0] == sums.KEYED:
            sums.join(days, (key[1], *key[3:]), one)
    return days, kept


def _absent(connection: Connection, keys: list[sums.Facet]) -> list[sums.Facet]:
    """Those that have no sums by status yet."""
    there: set[tuple[Any, ...]] = set()
    for query, values in bulk.given(connection, _SET, [key[1:] for key in keys]):
        names = ", ".join(_SET)
        rows = connection.execute(
            f"SELECT {names} FROM usage_facets WHERE facet = '{sums.KEYED}' AND ({names}) IN ({query})",  # noqa: S608
            values,
        ).fetchall()
        there.update(tuple(row[name] for name in _SET) for row in rows)
    return [key for key in keys if key[1:] not in there]


def add(connection: Connection, found: Facets) -> None:
    """Adds to the sums of facets, but for those that have too many values. In a transaction that writes."""
    fields = sorted(key[:3] for key in found if key[0].startswith(sums.METADATA))
    refused: set[tuple[str, int]] = set()
    for day, known in _kept(connection, {day for _, day, _ in fields}).items():
        for facet, group in groupby((field for field in fields if field[1] == day), key=lambda field: field[0]):
            if not _room(connection, known, day, facet, [value for _, _, value in group]):
                refused.add((facet, day))
    sums.write(connection, "usage_facets", {key: one for key, one in found.items() if key[:2] not in refused})


def _room(connection: Connection, known: dict[str, int], day: int, facet: str, values: list[str]) -> bool:
    """Whether there is room for these values of a field; counts those that are new."""
    if facet not in known:
        if known.get(_FIELDS, 0) > FIELDS:
            return False
        known[_FIELDS] = known.get(_FIELDS, 0) + 1
        connection.execute(_COUNT, (day, _FIELDS, 1))
        if known[_FIELDS] > FIELDS:
            return False
    elif known[facet] > VALUES:
        return False
    new = len(values) - _there(connection, day, facet, values)
    if new or facet not in known:
        known[facet] = known.get(facet, 0) + new
        connection.execute(_COUNT, (day, facet, new))
    return known[facet] <= VALUES


def _kept(connection: Connection, days: Iterable[int]) -> dict[int, dict[str, int]]:
    """For each day how many values each field has."""
    found: dict[int, dict[str, int]] = {}
    for day in sorted(days):
        rows = connection.execute("SELECT facet, kept FROM usage_facet_days WHERE day = ?", (day,)).fetchall()
        found[day] = {row["facet"]: int(row["kept"]) for row in rows}
    return found


def _there(connection: Connection, day: int, facet: str, values: list[str]) -> int:
    """How many of these values have sums."""
    count = 0
    for query, part in bulk.given(connection, ("value",), [(value,) for value in values]):
        row = connection.execute(
            f"SELECT COUNT(*) AS n FROM usage_facets WHERE facet = ? AND day = ? AND value IN ({query})",  # noqa: S608
            (facet, day, *part),
        ).fetchone()
        count += int(row["n"])
    return count


def contents(connection: Connection, facet: str, first: int, last: int) -> dict[int, str | None]:
    """For each day of a stretch that has requests: what was added up of a facet when it was closed; None where its rows
    are to be read."""
    rows = connection.execute(
        "SELECT known.day AS day, closed.content AS content FROM usage_facets AS known "
        "LEFT JOIN usage_closed_days AS closed "
        "ON closed.day = known.day AND closed.facet = :facet AND closed.requests = known.requests "
        "WHERE known.facet = '' AND known.day >= :first AND known.day < :last",
        {"facet": facet, "first": first, "last": last},
    ).fetchall()
    return {int(row["day"]): None if row["content"] == OPEN else row["content"] for row in rows}


def requests_of(connection: Connection, days: Sequence[int]) -> int:
    """How many requests some days have."""
    if not days:
        return 0
    rows = connection.execute(
        "SELECT day, requests FROM usage_facets WHERE facet = '' AND day >= :first AND day <= :last",
        {"first": days[0], "last": days[-1]},
    ).fetchall()
    wanted = set(days)
    return sum(int(row["requests"]) for row in rows if int(row["day"]) in wanted)


def open_days(connection: Connection, facet: str, first: int, last: int) -> list[int]:
    """The days (from `first` on, before `last`) whose sums do not have everything of a facet."""
    pair, _, field = facet.partition(":")
    if pair in sums.PAIRS:
        closed = contents(connection, field, first, last)
        return sorted(day for day, content in closed.items() if content is None or pair not in content.split(","))
    if not facet.startswith(sums.METADATA):
        return []
    rows = connection.execute(
        "SELECT day, facet, kept FROM usage_facet_days "
        "WHERE day >= :first AND day < :last AND (facet = :facet OR facet = :fields)",
        {"first": first, "last": last, "facet": facet, "fields": _FIELDS},
    ).fetchall()
    own = {row["day"]: int(row["kept"]) for row in rows if row["facet"] == facet}
    crowded = {row["day"] for row in rows if row["facet"] == _FIELDS and int(row["kept"]) > FIELDS}
    return sorted({day for day, kept in own.items() if kept > VALUES} | (crowded - own.keys()))


def catch_up(connection: Connection, most: int = 1000) -> int:
    """Adds up rows that are not in these sums yet, so many at once; returns how many there were."""
    skip = " FOR UPDATE SKIP LOCKED" if connection.kind == "postgresql" else ""
    columns = ", ".join(COLUMNS)
    some = connection.execute(f"SELECT 1 AS one FROM usage WHERE {UNFACETED} LIMIT 1").fetchone()  # noqa: S608
    if some is None:
        return 0
    with connection.writing():
        found: list[Any] = connection.execute(
            f"SELECT {columns} FROM usage WHERE {UNFACETED} ORDER BY at LIMIT {int(most)}{skip}"  # noqa: S608
        ).fetchall()
        rows = [folded([row[name] for name in COLUMNS]) for row in found]
        for part in parts([row[0] for row in rows]):
            marks = ", ".join("?" * len(part))
            connection.execute(f"UPDATE usage SET faceted = 1 WHERE request_id IN ({marks})", part)  # noqa: S608
        add(connection, sums.added(rows)[1])
    return len(rows)
