"""What is added up once of a day that is over: durations, and each field of the metadata by keys.

To keep such sums with every row would cost every request for what few ask. Once a day is over they are made in the
background, from the rows of that day, one facet at a time: reading blocks nobody, and what is written is small. They
hold while the day has as many requests as they were made of; a row that comes late makes them void, and they are made
again. Until then, and for days that have few requests, or too many values, reports read the rows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.store import facets, reports, sums
from proxy.store.engine import Connection
from proxy.store.facets import OPEN
from proxy.store.reports import Filter
from proxy.store.sums import DAY, KEYS, LATENCY, NAMES, PAIRS

WORTH = 2_000
"""Requests of a day below which its rows are read as soon as its sums."""
MOST = 3_000
"""Sums of a field by one of `sums.PAIRS` that one day has at most."""
_LATE = 3600  # seconds after midnight: rows come late from journals
_LOOK_BACK = 400  # days
_AGAIN = 3600  # seconds after which work that somebody began is taken for abandoned

_TO_DO = (
    "SELECT known.day AS day, wanted.facet AS facet, known.requests AS requests FROM usage_facets AS known "
    "JOIN (SELECT day, facet FROM usage_facet_days WHERE facet LIKE 'metadata:%' AND kept <= :values "
    "UNION ALL SELECT day, 'latency' FROM usage_facets WHERE facet = '') AS wanted ON wanted.day = known.day "
    "LEFT JOIN usage_closed_days AS closed ON closed.day = wanted.day AND closed.facet = wanted.facet "
    "WHERE known.facet = '' AND known.day >= :since AND known.day < :until AND known.requests >= :worth "
    "AND (closed.day IS NULL OR (closed.requests <> known.requests AND closed.claimed < :abandoned)) "
    "ORDER BY known.day DESC, wanted.facet LIMIT 1"
)
_CLAIM = (
    "INSERT INTO usage_closed_days (day, facet, requests, content, claimed) VALUES (:day, :facet, -1, '', :now) "
    "ON CONFLICT (day, facet) DO UPDATE SET claimed = excluded.claimed WHERE usage_closed_days.claimed < :abandoned"
)
_CLOSE = "UPDATE usage_closed_days SET requests = :requests, content = :content WHERE day = :day AND facet = :facet"
_REQUESTS = "SELECT requests FROM usage_facets WHERE facet = '' AND day = :day"
_VOID = "DELETE FROM usage_facets WHERE facet = :facet AND day = :day"
_HELD = "faceted IS NOT NULL"


def close_next(connection: Connection, now: float, worth: int = WORTH) -> bool:
    """Adds up one facet of one day that is over and has at least `worth` requests, if there is any to do; whether there
    was. `now` is Unix seconds."""
    today = int(now - _LATE) * 1000 // DAY
    moments = {"now": int(now), "abandoned": int(now) - _AGAIN}
    days = {"since": today - _LOOK_BACK, "until": today, "worth": worth, "values": facets.VALUES}
    found = connection.execute(_TO_DO, days | moments).fetchone()
    if found is None:
        return False
    day, facet = int(found["day"]), str(found["facet"])
    with connection.writing():
        if connection.execute(_CLAIM, {"day": day, "facet": facet} | moments).rowcount == 0:
            return True  # somebody else is at it
    with connection.reading():
        known = int(connection.execute(_REQUESTS, {"day": day}).fetchone()["requests"])
        requests, content, rows = (_latency if facet == LATENCY else _by_keys)(connection, facet, day)
    if requests != known:
        content, rows = OPEN, {}  # some of the rows are deleted already, or there are too many values
    with connection.writing():
        # First this row, so that two who write the same wait for each other.
        connection.execute(_CLOSE, {"day": day, "facet": facet, "requests": known, "content": content})
        for pair in PAIRS:
            connection.execute(_VOID, {"day": day, "facet": f"{pair}:{facet}"})
        sums.write(connection, "usage_facets", rows)
    return True


Made = tuple[int, str, dict[sums.Facet, sums.Added]]
"""How many requests were added up, the content, and sums."""


def _whole(day: int) -> Filter:
    return Filter(since=day * DAY, until=(day + 1) * DAY)


def _latency(connection: Connection, facet: str, day: int) -> Made:
    """How many requests took how long, by what the cache did."""
    requests, content = 0, dict[str, dict[int, int]]()
    for row in reports.durations_of(connection, _whole(day), "cache", _HELD):
        requests += int(row["requests"])
        if row["duration"] is not None:
            content.setdefault(row["bucket"] or "", {})[int(row["duration"])] = int(row["requests"])
    return requests, msgspec.json.encode(content).decode(), {}


def _by_keys(connection: Connection, facet: str, day: int) -> Made:
    """The sums of each value of a field, and of requests without it, by each of `sums.PAIRS`."""
    requests, made, rows = -1, list[str](), dict[sums.Facet, sums.Added]()
    for pair, columns in PAIRS.items():
        by = (facet, *("key" if column == "api_key" else column for column in columns))
        found: list[Any] = reports.from_rows(connection, by, _whole(day), _HELD, MOST + 1)
        if len(found) > MOST:
            continue
        requests = sum(int(row["requests"]) for row in found)
        made.append(pair)
        for row in found:
            value, *given = (row[f"g{index}"] or "" for index in range(1 + len(columns)))
            keys: Any = (dict(zip(columns, given, strict=True)).get(key, "") for key in KEYS)
            place = (f"{pair}:{facet}", day, value, *keys)
            sums.join(rows, place, [row[name] or 0 for name in NAMES])  # nothing and empty text are one
    return requests, ",".join(made), rows
