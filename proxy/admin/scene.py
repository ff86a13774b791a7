"""What an administrative operation works on, and what handlers do before and after it.

Operations (`api_keys.create` …) are functions of a `Scene` and a decoded body; the HTTP handlers and the command line
both call them. Handlers add the rest: the scene from the running gateway, the audit line, the new snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any, TypeVar

import msgspec

from adapters.errors import Kind
from proxy.admin.body import bad, iso
from proxy.config.near import hint
from proxy.errors import Refused
from proxy.limits import Standing
from proxy.ports import ApiKeyRow, ConfigRow, Rows, Store, VirtualKeyRow
from proxy.routes import AdminContext, AdminRequest, Answer, Handler, Route
from proxy.scopes import expand

T = TypeVar("T")
Row = ApiKeyRow | VirtualKeyRow | ConfigRow
RowT = TypeVar("RowT", bound=Row)

audit = logging.getLogger("loopway.audit")


class Scene(msgspec.Struct, frozen=True):
    """`rows` are those of the store as they are now, and those of the file.

    `complete` is False where the file was not read: names that are not found may then be in it. `scopes` are the
    caller's. `now` is Unix seconds. `exhausted` has those whose budget is spent, as `proxy.limits` names them.
    """

    store: Store
    rows: Rows
    now: int
    scopes: frozenset[str] = expand(["admin"])
    complete: bool = True
    exhausted: frozenset[tuple[str, str]] = frozenset()
    standing: Callable[[str, str], Standing | None] | None = None
    """How a budget stands, where a gateway runs that counts it."""

    def seen(self, view: dict[str, Any], what: str, identity: str) -> dict[str, Any]:
        """A view whose status also says whether the budget is spent, and which says how it stands."""
        found = None if self.standing is None else self.standing(what, identity)
        if found is not None:
            ends = found.resets_at
            view["budget"] = {**found._asdict(), "resets_at": None if ends is None else iso(int(ends))}
        if view["status"] == "active" and (what, identity) in self.exhausted:
            view["status"] = "exhausted"
        return view


async def enter(context: AdminContext, request: AdminRequest) -> Scene:
    """The scene of a request: the store is asked afresh, for another worker may have written a moment ago."""
    store: Store = context.store
    stored: Rows = await store.rows()
    filed: Rows = context.rows()
    rows = Rows(
        seq=stored.seq,
        api_keys=_overlaid(filed.api_keys, stored.api_keys, lambda row: row.id),
        virtual_keys=_overlaid(filed.virtual_keys, stored.virtual_keys, lambda row: row.slug),
        configs=_overlaid(filed.configs, stored.configs, lambda row: row.slug),
    )
    return Scene(store, rows, int(time()), request.scopes, exhausted=context.exhausted(), standing=context.standing)


def _overlaid(filed: Sequence[RowT], stored: Sequence[RowT], name: Callable[[RowT], str]) -> tuple[RowT, ...]:
    """The file's rows and those of the store that it does not name itself."""
    first = [row for row in filed if row.origin == "file"]
    named = {name(row) for row in first}
    return (*first, *(row for row in stored if name(row) not in named))


async def leave(context: AdminContext, request: AdminRequest, action: str, entity: str) -> None:
    """Notes a change that was committed, and makes it count in this worker before the answer is sent."""
    audit.info(
        "%s %s by key %s",
        action,
        entity,
        request.key_id,
        extra={"action": action, "entity": entity, "actor": request.key_id, "request_id": request.id},
    )
    await context.apply()


def editable(row: Row, what: str, name: str) -> None:
    """Raises `Refused` (409) for a row of the configuration file."""
    if row.origin == "file":
        message = f"the {what} '{name}' is defined in the configuration file; change it there"
        raise Refused(Kind.CONFLICT, message, code="defined_in_file")


def missing(what: str, name: str, names: Iterable[str]) -> Refused:
    """A 404 that names the nearest row."""
    return Refused(Kind.NOT_FOUND, f"there is no {what} '{name}'{_near(name, names)}")


def refuse_unknown(scene: Scene, names: Iterable[str], known: Iterable[str], path: str, what: str) -> None:
    """Raises `Refused` (400) for the first name that no row has, if all rows are known."""
    have = set(known)
    for name in names if scene.complete else ():
        if name not in have:
            raise bad(path, f"there is no {what} '{name}'{_near(name, have)}")


def _near(name: str, names: Iterable[str]) -> str:
    found = hint(name, names)
    return found if "did you mean" in found else ""


def page(rows: Sequence[T], query: dict[str, str], shown: Callable[[T], dict[str, Any]]) -> Answer:
    """A list answer: `current_page` counts from 0; without `page_size` everything is on one page."""
    size = _count(query, "page_size", 1)
    number = _count(query, "current_page", 0) or 0
    part = rows if size is None else rows[number * size : (number + 1) * size]
    return Answer({"success": True, "object": "list", "total": len(rows), "data": [shown(row) for row in part]})


def _count(query: dict[str, str], name: str, least: int) -> int | None:
    text = query.get(name, "")
    if text in ("", "undefined", "null"):
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise bad(name, f"must be a whole number of at least {least}")
    return int(text)


def routes(tag: str, *rows: tuple[str, str, str, str, Handler]) -> tuple[Route, ...]:
    """Rows of the route table from method, path, scope, summary and handler.

    Only GET takes no body: some clients send one with DELETE, and it is read and left unused.
    """
    return tuple(
        Route(
            method=method,
            path=path,
            scope=scope,
            summary=summary,
            handler=handler,
            body="none" if method == "GET" else "json",
            tag=tag,
        )
        for method, path, scope, summary, handler in rows
    )
