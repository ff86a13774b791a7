"""Exports of the request log, in the shapes of the Portkey SDKs: described, started, and downloaded as JSON lines.

Nothing is written anywhere when an export is started: its time is fixed then, and a download reads the ledger page by
page. An export is seen by the key that made it and by no other. Prompts and answers are in it only where the log keeps
them and the key may view them.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from functools import partial
from time import time
from typing import Any

import msgspec

from adapters.errors import Kind
from proxy import bodies
from proxy.admin.body import Nothing, bad, parse, read, text
from proxy.admin.logs import shown
from proxy.admin.scene import routes
from proxy.admin.usage_query import filter_of, iso
from proxy.config.near import hint
from proxy.errors import Refused, StoreError
from proxy.ports import Rows
from proxy.routes import AdminContext, AdminRequest, Answer, Route
from proxy.store import exports, reports
from proxy.store.engine import Connection
from proxy.store.exports import Export
from proxy.vault import Vault

_MOST = 1_000_000  # rows of one export
_PAGE = 500
_PAGE_OF_BODIES = 20  # of up to `logs.body_size` each, twice
_SEALED = ("request", "response")
_EMPTY = ("mode", "prompt_slug")  # what other gateways' records have, and this one's have not
_PLAIN = (
    "id", "trace_id", "created_at", "outcome", "is_success", "response_status_code", "response_time",
    "time_to_first_token", "request_method", "request_url", "stream_mode", "ai_org", "ai_model", "requested_model",
    "virtual_key", "api_key_id", "api_key_name", "config", "last_used_option_jsonpath", "req_units", "res_units",
    "total_units", "cost", "cost_currency", "cache_status", "metadata", "attempts", "attempt_count",
)  # fmt: skip
FIELDS: tuple[str, ...] = (*_PLAIN, *_SEALED, *_EMPTY)
"""What `requested_data` may name."""


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of creating and updating."""

    filters: dict[str, Any] | None = None
    workspace_id: str | None = None
    description: str | None = None
    requested_data: list[str] | None = None


# What is asked for


def _query(filters: dict[str, Any]) -> dict[str, str]:
    """The filters as a query string has them. Raises Refused (400)."""
    out: dict[str, str] = {}
    for name, value in filters.items():
        if isinstance(value, list) and all(isinstance(part, str | int) for part in value):
            value = ",".join(map(str, value))
        elif isinstance(value, dict):
            value = msgspec.json.encode(value).decode()
        elif value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise bad(f"filters.{name}", "must be a text, a number, a list of those or an object")
        out[name] = str(value)
    return out


class _Range(msgspec.Struct, frozen=True):
    """Which requests, and which of those: `size` of them, without the first `skip`."""

    wanted: reports.Filter
    size: int
    skip: int


def _range(export: Export) -> _Range:
    """The requests of an export; once it was started, of its time. Raises Refused (400)."""
    query = _query(msgspec.json.decode(export.filters, type=dict[str, Any]))
    size, number = _whole(query, "page_size", _MOST), _whole(query, "current_page", 0)
    wanted = filter_of(query)
    if export.since is not None and export.until is not None:
        wanted = msgspec.structs.replace(wanted, since=export.since, until=export.until)
    return _Range(wanted, min(size, _MOST), size * number)


def _whole(query: dict[str, str], name: str, default: int) -> int:
    given = query.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 8):
        raise bad(f"filters.{name}", "must be a whole number")
    return int(given)


def _fields(given: list[str] | None, request: AdminRequest) -> str:
    """The fields of each record as JSON. Raises Refused (400, 403)."""
    if not given:
        return msgspec.json.encode(_PLAIN).decode()
    for name in given:
        if name not in FIELDS:
            raise bad("requested_data", f"unknown field {name[:64]!r}{hint(name, FIELDS)}")
    _may_view(given, request)
    return msgspec.json.encode(list(dict.fromkeys(given))).decode()


def _may_view(fields: list[str], request: AdminRequest) -> None:
    if any(name in fields for name in _SEALED) and "logs.view" not in request.scopes:
        message = "Prompts and answers are for keys with the scope logs.view; leave request and response out."
        raise Refused(Kind.FORBIDDEN, message, param="requested_data")


# Handlers


def _shown(export: Export) -> dict[str, Any]:
    return {
        "id": export.id,
        "organisation_id": None,
        "filters": msgspec.json.decode(export.filters),
        "requested_data": msgspec.json.decode(export.requested),
        "status": export.status,
        "description": export.description,
        "created_at": iso(export.at),
        "last_updated_at": iso(export.changed),
        "created_by": export.api_key,
        "workspace_id": export.workspace,
        "total_records": export.total,
        "object": "export",
    }


async def _found(context: AdminContext, request: AdminRequest) -> Export:
    id = request.params["id"]
    export: Export | None = await context.store.run("reports", exports.find, id, request.key_id)
    if export is None:
        raise Refused(Kind.NOT_FOUND, f"This key has no export with the id {id[:64]!r}.")
    return export


async def _changed(context: AdminContext, before: Export, **values: Any) -> Export:
    after = msgspec.structs.replace(before, changed=_now(), **values)
    if not await context.store.run("reports", exports.change, after, before.status):
        raise Refused(Kind.CONFLICT, "The export was changed by another request; look at it again.")
    return after


def _now() -> int:
    return int(time() * 1000)


async def _total(context: AdminContext, span: _Range) -> int:
    found: int = await context.store.run("reports", exports.count, span.wanted, span.skip + span.size)
    return max(0, found - span.skip)


async def _create(context: AdminContext, request: AdminRequest) -> Answer:
    body = parse(read(request.body), Wanted)
    now = _now()
    export = Export(
        f"export-{secrets.token_hex(12)}",
        now,
        now,
        request.key_id,
        _text(body.workspace_id, "workspace_id"),
        _text(body.description, "description"),
        msgspec.json.encode(body.filters or {}).decode(),
        _fields(body.requested_data, request),
        "draft",
        0,
    )
    export = msgspec.structs.replace(export, total=await _total(context, _range(export)))
    await context.store.run("reports", exports.add, export)
    return Answer({"id": export.id, "total": export.total, "object": "export"})


def _text(given: str | None, path: str) -> str | None:
    return None if given is None else text(given, path, empty=True)


async def _update(context: AdminContext, request: AdminRequest) -> Answer:
    body = parse(read(request.body), Wanted)
    before = await _found(context, request)
    if before.status != "draft":
        raise Refused(Kind.CONFLICT, "Only an export that was not started can be changed; create another one.")
    after = before
    if body.filters is not None:
        after = msgspec.structs.replace(after, filters=msgspec.json.encode(body.filters).decode())
    if body.requested_data is not None:
        after = msgspec.structs.replace(after, requested=_fields(body.requested_data, request))
    for name, column in (("workspace_id", "workspace"), ("description", "description")):
        if getattr(body, name) is not None:
            after = msgspec.structs.replace(after, **{column: _text(getattr(body, name), name)})
    after = await _changed(context, after, total=await _total(context, _range(after)))
    return Answer({"id": after.id, "total": after.total, "object": "export"})


async def _list(context: AdminContext, request: AdminRequest) -> Answer:
    workspace = request.query.get("workspace_id") or None
    found: list[Export] = await context.store.run("reports", exports.all_of, request.key_id)
    data = [_shown(export) for export in found if workspace in (None, export.workspace)]
    return Answer({"object": "list", "total": len(data), "data": data})


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    return Answer(_shown(await _found(context, request)))


async def _start(context: AdminContext, request: AdminRequest) -> Answer:
    export = await _found(context, request)
    parse(read(request.body), Nothing)
    if export.status == "success":
        raise Refused(Kind.CONFLICT, "The export was started already; download it.")
    span = _range(msgspec.structs.replace(export, since=None, until=None))
    until = min(span.wanted.until, _now())
    wanted = msgspec.structs.replace(span.wanted, until=until)
    total = await _total(context, msgspec.structs.replace(span, wanted=wanted))
    await _changed(context, export, status="success", since=wanted.since, until=until, total=total)
    return Answer({"message": "Export started: it can be downloaded", "object": "export"})


async def _cancel(context: AdminContext, request: AdminRequest) -> Answer:
    export = await _found(context, request)
    parse(read(request.body), Nothing)
    if export.status != "stopped":
        await _changed(context, export, status="stopped")
    return Answer({"message": "Export stopped", "object": "export"})


async def _ready(context: AdminContext, request: AdminRequest) -> Export:
    export = await _found(context, request)
    if export.status != "success":
        raise Refused(Kind.CONFLICT, f"The export is {export.status}: start it, then download it.")
    return export


async def _download(context: AdminContext, request: AdminRequest) -> Answer:
    export = await _ready(context, request)
    asked = request.exchange
    assert asked is not None
    told = {name.lower(): value.decode("latin-1") for name, value in asked.raw_headers}
    scheme = "https" if told.get(b"x-forwarded-proto") == "https" else "http"
    return Answer({"signed_url": f"{scheme}://{told.get(b'host', '')}/v1/logs/exports/{export.id}/file"})


async def _file(context: AdminContext, request: AdminRequest) -> Answer:
    export = await _ready(context, request)
    fields = msgspec.json.decode(export.requested, type=list[str])
    _may_view(fields, request)
    name = f'attachment; filename="{export.id}.jsonl"'
    return Answer(
        stream=_lines(context, export, fields),
        content_type="application/x-ndjson",
        headers=(("content-disposition", name), ("x-content-type-options", "nosniff")),
    )


async def _lines(context: AdminContext, export: Export, fields: list[str]) -> AsyncGenerator[bytes, None]:
    """The export as JSON lines, a page at a time; it ends early where the export is stopped meanwhile."""
    rows: Rows = context.rows()
    names = {row.id: row.name for row in rows.api_keys}
    span = _range(export)
    sealed = any(name in fields for name in _SEALED)
    left, after = span.size, None
    record = partial(_record, context.store.vault, names, fields)
    while left > 0:
        size = min(left, _PAGE_OF_BODIES if sealed else _PAGE)
        job = partial(_page, wanted=span.wanted, skip=span.skip, size=size, sealed=sealed, record=record)
        lines, count, after = await context.store.run("reports", job, after)
        left -= count
        if lines:
            yield lines
        if count < size:
            return
        now = await context.store.run("reports", exports.find, export.id, export.api_key)
        if now is None or now.status != "success":
            raise Refused(Kind.CONFLICT, "The export was stopped.")


def _page(
    connection: Connection,
    after: exports.Place | None,
    *,
    wanted: reports.Filter,
    skip: int,
    size: int,
    sealed: bool,
    record: Any,
) -> tuple[bytes, int, exports.Place | None]:
    """A job: one page as lines, how many, and where it ended. On the store's thread, so the loop encodes nothing."""
    rows = exports.page(connection, wanted, after, skip, size)
    kept = exports.bodies(connection, [row["request_id"] for row in rows]) if sealed else {}
    lines = b"".join(msgspec.json.encode(record(row, kept.get(row["request_id"]))) + b"\n" for row in rows)
    return lines, len(rows), (rows[-1]["at"], rows[-1]["request_id"]) if rows else after


def _record(
    vault: Vault, names: dict[str, str], fields: list[str], row: dict[str, Any], kept: dict[str, str] | None
) -> dict[str, Any]:
    whole = shown(row, names)
    return {
        name: _opened(vault, row["request_id"], kept, name) if name in _SEALED else whole.get(name) for name in fields
    }


def _opened(vault: Vault, id: str, kept: dict[str, str] | None, column: str) -> Any:
    """A body as the JSON that it is, else as text; None where none was kept, or the key that sealed it is gone."""
    if kept is None:
        return None
    try:
        clear = bodies.opened(vault, id, kept, column)
    except StoreError:
        return None
    try:
        return msgspec.json.decode(clear)
    except (msgspec.MsgspecError, RecursionError):
        return clear


_ROWS: tuple[tuple[str, str, str, str, Any], ...] = (
    ("GET", "/v1/logs/exports", "logs.export", "This key's exports of the log", _list),
    ("POST", "/v1/logs/exports", "logs.export", "Describe an export: filters, and the fields of a record", _create),
    ("GET", "/v1/logs/exports/{id}", "logs.export", "One export", _show),
    ("PUT", "/v1/logs/exports/{id}", "logs.export", "Change an export that was not started", _update),
    ("POST", "/v1/logs/exports/{id}/start", "logs.export", "Fix what an export covers; it can be downloaded", _start),
    ("POST", "/v1/logs/exports/{id}/cancel", "logs.export", "Stop an export, and whoever downloads it", _cancel),
    ("GET", "/v1/logs/exports/{id}/download", "logs.export", "The address of an export's file", _download),
    ("GET", "/v1/logs/exports/{id}/file", "logs.export", "The export as JSON lines", _file),
)
ROUTES: tuple[Route, ...] = tuple(
    msgspec.structs.replace(route, exchange=route.path.endswith("/download")) for route in routes("logs", *_ROWS)
)
