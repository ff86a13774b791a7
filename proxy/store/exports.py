"""Jobs on exports of the request log: the table of what was asked for, and the ledger's rows page by page.

An export belongs to the API key that made it: no job finds another one's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.store import reports
from proxy.store.engine import Connection
from proxy.usage_columns import COLUMNS

_SHOWN = ", ".join(COLUMNS)
KEPT = 100
"""Exports of one key; another one takes the place of the oldest."""


class Export(msgspec.Struct, frozen=True):
    """One export. `status` is `draft`, `success` (it may be downloaded) or `stopped`; `filters` and `requested` are
    JSON. `since` and `until` are Unix milliseconds, None until it was started."""

    id: str
    at: int
    changed: int
    api_key: str
    workspace: str | None
    description: str | None
    filters: str
    requested: str
    status: str
    total: int
    since: int | None = None
    until: int | None = None


_COLUMNS = Export.__struct_fields__
_WRITE = (
    f"INSERT INTO log_exports ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS[1:])}"
)


def add(connection: Connection, export: Export) -> None:
    """Keeps a new export, and no more than `KEPT` of its key."""
    with connection.writing():
        connection.execute(_WRITE, msgspec.structs.asdict(export))
        connection.execute(
            "DELETE FROM log_exports WHERE api_key = :api_key AND id NOT IN "
            "(SELECT id FROM log_exports WHERE api_key = :api_key ORDER BY at DESC, id DESC LIMIT :kept)",
            {"api_key": export.api_key, "kept": KEPT},
        )


def change(connection: Connection, export: Export, status: str) -> bool:
    """Writes an export whose status was `status` until now; False where it is another one, or the export is gone."""
    with connection.writing():
        settled = {**msgspec.structs.asdict(export), "before": status}
        setting = ", ".join(f"{name} = :{name}" for name in _COLUMNS if name not in ("id", "at", "api_key"))
        done = connection.execute(
            f"UPDATE log_exports SET {setting} WHERE id = :id AND api_key = :api_key AND status = :before",  # noqa: S608
            settled,
        )
    return done.rowcount == 1


def find(connection: Connection, id: str, api_key: str) -> Export | None:
    """One export of a key."""
    found = connection.execute(
        "SELECT * FROM log_exports WHERE id = :id AND api_key = :api_key", {"id": id, "api_key": api_key}
    ).fetchone()
    return None if found is None else Export(**dict(found))


def all_of(connection: Connection, api_key: str) -> list[Export]:
    """All exports of a key, the newest first."""
    found = connection.execute(
        "SELECT * FROM log_exports WHERE api_key = :api_key ORDER BY at DESC, id DESC", {"api_key": api_key}
    ).fetchall()
    return [Export(**dict(row)) for row in found]


def count(connection: Connection, wanted: reports.Filter, most: int) -> int:
    """How many requests an export has, no more than `most`."""
    where, parameters = reports.conditions(connection, wanted)
    found = connection.execute(
        f"SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM usage WHERE {where} LIMIT :most) AS fitting",  # noqa: S608
        {**parameters, "most": most},
    ).fetchone()
    return int(found["n"])


Place = tuple[int, str]
"""Where a page ended: the time and the id of its last request."""


def page(
    connection: Connection, wanted: reports.Filter, after: Place | None, skip: int, size: int
) -> list[dict[str, Any]]:
    """The next requests, the oldest first: those behind `after`, or, at the beginning, without the first `skip`."""
    if after is not None:
        wanted = msgspec.structs.replace(wanted, since=after[0])
    where, parameters = reports.conditions(connection, wanted)
    if after is not None:
        where += " AND (at > :after_at OR request_id > :after_id)"
        parameters |= {"after_at": after[0], "after_id": after[1]}
    found = connection.execute(
        f"SELECT {_SHOWN} FROM usage WHERE {where} ORDER BY at, request_id LIMIT :size OFFSET :skip",  # noqa: S608
        {**parameters, "size": size, "skip": 0 if after else skip},
    ).fetchall()
    return [dict(row) for row in found]


def bodies(connection: Connection, ids: list[str]) -> dict[str, dict[str, Any]]:
    """The sealed bodies of some requests, by id."""
    named = {f"id_{number}": id for number, id in enumerate(ids)}
    found = connection.execute(
        f"SELECT * FROM bodies WHERE request_id IN ({', '.join(f':{name}' for name in named) or 'NULL'})",  # noqa: S608
        named,
    ).fetchall()
    return {row["request_id"]: dict(row) for row in found}
