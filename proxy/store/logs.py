"""Jobs on the request log: the ledger's rows, searched; bodies, clients' own entries and feedback beside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from proxy.store.engine import Connection
from proxy.store.records import TRACED
from proxy.usage_columns import COLUMNS

BODIES = "bodies"
"""The table of bodies, and what they are sealed as part of."""
_SHOWN = ", ".join(COLUMNS)
_MOST_COUNTED = 10_000
_MOST_FEEDBACK = 1_000


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests. Times are Unix milliseconds: from `since` on, before `until`. `statuses` are ranges, both ends
    included. `keys` are ids of API keys. A model may end in `*`. What is None, is not asked."""

    since: int | None = None
    until: int | None = None
    keys: tuple[str, ...] | None = None
    virtual_keys: tuple[str, ...] | None = None
    model: str | None = None
    provider: str | None = None
    statuses: tuple[tuple[int, int], ...] | None = None
    trace_id: str | None = None
    request_id: str | None = None
    metadata: dict[str, str] = {}
    outcome: str | None = None


def search(connection: Connection, wanted: Filter, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The newest requests that fit, and how many fit in all (no more than ten thousand are counted)."""
    where, values = _where(wanted)
    with connection.reading():
        found: list[Any] = connection.execute(
            f"SELECT {_SHOWN} FROM usage{where} ORDER BY at DESC, request_id DESC LIMIT :limit OFFSET :offset",  # noqa: S608
            {**values, "limit": limit, "offset": offset},
        ).fetchall()
        if len(found) < limit and (found or not offset):
            # These are the last ones: to count them would be to look for them a second time.
            return [dict(row) for row in found], min(offset + len(found), _MOST_COUNTED)
        counted = connection.execute(
            f"SELECT count(*) AS n FROM (SELECT 1 AS one FROM usage{where} LIMIT :most) AS fitting",  # noqa: S608
            {**values, "most": _MOST_COUNTED},
        ).fetchone()
    return [dict(row) for row in found], int(counted["n"])


def _where(wanted: Filter) -> tuple[str, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}

    def ask(part: str, **given: Any) -> None:
        parts.append(part)
        values.update(given)

    def one_of(column: str, given: tuple[str, ...]) -> None:
        named = {f"{column}_{number}": value for number, value in enumerate(given)}
        ask(f"{column} IN ({', '.join(f':{name}' for name in named) or 'NULL'})", **named)

    if wanted.since is not None:
        ask("at >= :since", since=wanted.since)
    if wanted.until is not None:
        ask("at < :until", until=wanted.until)
    if wanted.keys is not None:
        one_of("api_key", wanted.keys)
    if wanted.virtual_keys is not None:
        one_of("virtual_key", wanted.virtual_keys)
    if wanted.model is not None:
        pattern = _like(wanted.model.removesuffix("*")) + ("%" if wanted.model.endswith("*") else "")
        ask("(model LIKE :model ESCAPE '!' OR asked_model LIKE :model ESCAPE '!')", model=pattern)
    if wanted.statuses is not None:
        ranges = {f"s{number}": pair for number, pair in enumerate(wanted.statuses)}
        ask(
            "(" + " OR ".join(f"status BETWEEN :{name}a AND :{name}b" for name in ranges) + ")",
            **{f"{name}{end}": value for name, pair in ranges.items() for end, value in zip("ab", pair, strict=True)},
        )
    if wanted.trace_id is not None:
        ask(TRACED, trace_id=wanted.trace_id)
    for column in ("provider", "request_id", "outcome"):
        value = getattr(wanted, column)
        if value is not None:
            ask(f"{column} = :{column}", **{column: value})
    for number, (name, value) in enumerate(wanted.metadata.items()):
        # The column is JSON as msgspec writes it: this very text is in it, and nowhere else.
        pair = msgspec.json.encode({name: value}).decode()[1:-1]
        ask(f"metadata LIKE :meta{number} ESCAPE '!'", **{f"meta{number}": f"%{_like(pair)}%"})
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def _like(text: str) -> str:
    for mark in ("!", "%", "_"):
        text = text.replace(mark, f"!{mark}")
    return text


Body = tuple[str, int, str, str]
"""A request's id, its time, and what went in and out, sealed."""


def add_bodies(connection: Connection, rows: Sequence[Body]) -> None:
    """Keeps bodies; a request that has some is skipped."""
    with connection.writing():
        for row in rows:
            connection.execute(
                "INSERT INTO bodies (request_id, at, request, response) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (request_id) DO NOTHING",
                row,
            )


def body(connection: Connection, request_id: str) -> dict[str, Any] | None:
    """The sealed bodies of a request, if they were kept."""
    found = connection.execute("SELECT * FROM bodies WHERE request_id = :id", {"id": request_id}).fetchone()
    return None if found is None else dict(found)


Entry = tuple[str, int, str, str | None, str]
"""An id, a time, whose key sent it, the trace that it belongs to, and the entry."""


def add_entries(connection: Connection, rows: Sequence[Entry]) -> None:
    """Keeps entries that a client sent."""
    with connection.writing():
        for row in rows:
            connection.execute("INSERT INTO log_entries (id, at, api_key, trace_id, entry) VALUES (?, ?, ?, ?, ?)", row)


def entry(connection: Connection, id: str) -> dict[str, Any] | None:
    """One entry that a client sent."""
    found = connection.execute("SELECT * FROM log_entries WHERE id = :id", {"id": id}).fetchone()
    return None if found is None else dict(found)


def purge(connection: Connection, before: int, most: int = 1000) -> int:
    """Deletes bodies, entries and exports from before then (Unix milliseconds), so many of each; returns how many."""
    gone = 0
    skip = " FOR UPDATE SKIP LOCKED" if connection.kind == "postgresql" else ""
    with connection.writing():
        for table, id in (("bodies", "request_id"), ("log_entries", "id"), ("log_exports", "id")):
            gone += connection.execute(
                f"DELETE FROM {table} WHERE {id} IN "  # noqa: S608
                f"(SELECT {id} FROM {table} WHERE at < :before LIMIT :most{skip})",
                {"before": before, "most": most},
            ).rowcount
    return gone


Feedback = tuple[str, int, str, str, int, float, str]
"""An id, a time, whose key gave it, the trace, the value, the weight, and metadata."""


def add_feedback(connection: Connection, rows: Sequence[Feedback]) -> None:
    """Keeps feedback."""
    with connection.writing():
        for row in rows:
            connection.execute(
                "INSERT INTO feedback (id, at, api_key, trace_id, value, weight, metadata) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )


def edit_feedback(connection: Connection, id: str, api_key: str, changes: dict[str, Any]) -> bool:
    """Changes feedback that this key gave. Whether there is any. `changes` may hold value, weight and metadata."""
    columns = [name for name in ("value", "weight", "metadata") if name in changes]
    setting = ", ".join(f"{name} = :{name}" for name in columns) or "value = value"
    with connection.writing():
        done = connection.execute(
            f"UPDATE feedback SET {setting} WHERE id = :id AND api_key = :api_key",  # noqa: S608
            {"id": id, "api_key": api_key, **{name: changes[name] for name in columns}},
        )
    return done.rowcount == 1


def feedback_of(connection: Connection, trace_id: str, givers: Collection[str]) -> list[dict[str, Any]]:
    """The newest feedback of these API keys on a trace, the oldest of it first."""
    named = {f"key_{number}": id for number, id in enumerate(givers)}
    found = connection.execute(
        "SELECT * FROM feedback WHERE trace_id = :trace_id "  # noqa: S608
        f"AND api_key IN ({', '.join(f':{name}' for name in named) or 'NULL'}) "
        "ORDER BY at DESC, id DESC LIMIT :most",
        {"trace_id": trace_id, "most": _MOST_FEEDBACK, **named},
    ).fetchall()
    return [dict(row) for row in reversed(found)]
