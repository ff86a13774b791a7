"""The request log over HTTP: search and show what the ledger has, take entries of clients, and feedback.

Rows come out with the names that the field's log records have. Prompts and answers are only there where
`logs.bodies` keeps them, and only for one request at a time.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from itertools import islice
from time import time
from typing import Any

import msgspec

from adapters.errors import Kind
from proxy import bodies
from proxy.admin.body import bad, read
from proxy.admin.scene import routes
from proxy.config.near import hint
from proxy.errors import Refused, StoreError
from proxy.ports import Rows
from proxy.routes import AdminContext, AdminRequest, Answer
from proxy.scopes import expand
from proxy.store import logs
from proxy.usage_columns import POST

_PAGE = 50
_LARGEST_PAGE = 500
_ENTRIES = 100  # in one request
_ENTRY = 256 * 1024
_TEXT = 256
_RATERS = 500  # keys that may rate the requests of others, at most


def shown(row: dict[str, Any], names: dict[str, str] | None = None) -> dict[str, Any]:
    """A row of the ledger as a log record. `names` are those of API keys by id."""
    status, outcome, key = row["status"], row["outcome"], row["api_key"]
    units = [row["input_tokens"], row["output_tokens"]]
    details = _json(row["details"]) or {}
    return {
        "id": row["request_id"],
        "object": "log",
        "trace_id": row["trace_id"] or row["request_id"],
        "created_at": datetime.fromtimestamp(row["at"] / 1000, UTC).isoformat(timespec="milliseconds"),
        "at": row["at"],
        "outcome": outcome,
        "is_success": outcome == "ok" and status is not None and status < 400,
        "response_status_code": status,
        "response_time": _milliseconds(row["duration_us"]),
        "time_to_first_token": _milliseconds(row["ttfb_us"]) if row["streamed"] else None,
        "request_method": details.get("method", POST),
        "request_url": row["operation"],
        "stream_mode": bool(row["streamed"]),
        "ai_org": row["provider"],
        "ai_model": row["model"],
        "requested_model": row["asked_model"],
        "virtual_key": row["virtual_key"],
        "api_key_id": key,
        "api_key_name": (names or {}).get(key or ""),
        "config": row["config"],
        "last_used_option_jsonpath": row["target"],
        "req_units": units[0],
        "res_units": units[1],
        "total_units": None if None in units else sum(units),
        "cost": row["cost"],
        "cost_currency": "USD",
        "cache_status": row["cache"],
        "metadata": _json(row["metadata"]) or {},
        "attempts": _json(row["tries"]) or [],
        "attempt_count": row["attempts"],
    }


def _milliseconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1000, 3)


def _json(text: str | None) -> Any:
    return msgspec.json.decode(text) if text else None


# What to search for


def wanted(query: dict[str, str], rows: Rows) -> logs.Filter:
    """The filter that a query asks for: its own short names, or those of the field's analytics. Raises Refused."""
    given = {_NAMES.get(name, name): value for name, value in query.items()}
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        raise bad(unknown[0], f"unknown filter; there are {', '.join(sorted(_KNOWN))}")
    since, until = _moment(given, "since"), _moment(given, "until")
    keys = given.get("key")
    return logs.Filter(
        since=since,
        until=until,
        keys=None if keys is None else key_ids(keys, rows),
        virtual_keys=tuple(given["virtual_key"].split(",")) if "virtual_key" in given else None,
        model=given.get("model"),
        provider=given.get("provider"),
        statuses=_statuses(given["status"]) if "status" in given else None,
        trace_id=given.get("trace_id"),
        outcome=given.get("outcome"),
        metadata=_metadata(given["metadata"]) if "metadata" in given else {},
    )


_NAMES = {
    "time_of_generation_min": "since",
    "time_of_generation_max": "until",
    "status_code": "status",
    "virtual_keys": "virtual_key",
    "api_key_ids": "key",
    "ai_org_model": "model",
}
_PAGING = {"current_page", "page_size"}
_KNOWN = {
    "since", "until", "key", "virtual_key", "model", "provider", "status", "trace_id", "outcome", "metadata", *_PAGING,
}  # fmt: skip


def key_ids(names: str, rows: Rows) -> tuple[str, ...]:
    """The ids of API keys that a comma list names by id or by name. One that is gone is taken for an id."""
    found: list[str] = []
    for name in names.split(","):
        ids = [row.id for row in rows.api_keys if name in (row.id, row.name)]
        found += ids or [name]
    return tuple(found)


def _moment(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        if text.replace(".", "", 1).isdigit():
            return int(float(text) * 1000)
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError):
        raise bad(name, "must be a date such as 2030-12-31T12:00:00Z, or Unix seconds") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    out = []
    for part in text.split(","):
        if len(part) == 3 and part[0] in "12345" and part[1:] == "xx":
            out.append((int(part[0]) * 100, int(part[0]) * 100 + 99))
        elif len(part) == 3 and part.isascii() and part.isdigit():
            out.append((int(part), int(part)))
        else:
            raise bad("status", "must be a comma list such as 200,429,5xx")
    return tuple(out)


def _metadata(text: str) -> dict[str, str]:
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeError):
        raise bad("metadata", "must be a JSON object of texts") from None


def _paging(query: dict[str, str]) -> tuple[int, int]:
    out = []
    for name, default, most in (("page_size", _PAGE, _LARGEST_PAGE), ("current_page", 0, 10_000)):
        text = query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= most):
            raise bad(name, f"must be a whole number up to {most}")
        out.append(int(text))
    return out[0], out[1]


# Handlers of the log


async def _search(context: AdminContext, request: AdminRequest) -> Answer:
    rows: Rows = context.rows()
    size, number = _paging(request.query)
    found, total = await context.store.run("reports", logs.search, wanted(request.query, rows), size, size * number)
    names = {row.id: row.name for row in rows.api_keys}
    return Answer({"success": True, "object": "list", "total": total, "data": [shown(row, names) for row in found]})


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    rows: Rows = context.rows()
    id, store = request.params["id"], context.store
    found, _ = await store.run("reports", logs.search, logs.Filter(request_id=id), 1, 0)
    if not found:
        entry = await store.run("reports", logs.entry, id)
        if entry is None:
            raise Refused(Kind.NOT_FOUND, f"There is no log with the id {id[:_TEXT]!r}.")
        return Answer({"success": True, "data": _entry(entry)})
    record = shown(found[0], {row.id: row.name for row in rows.api_keys})
    kept = await store.run("reports", logs.body, id)
    if kept is not None:
        try:
            for column in ("request", "response"):
                record[column] = {"body": bodies.opened(store.vault, id, kept, column)}
        except StoreError:
            record["bodies"] = "sealed under an older master key"
    given = await store.run("reports", logs.feedback_of, record["trace_id"], _raters(rows, found[0]["api_key"]))
    record["feedback"] = [_feedback(row) for row in given]
    return Answer({"success": True, "data": record})


def _raters(rows: Rows, api_key: str | None) -> list[str]:
    """The API keys whose feedback counts for a request of this one: it, and those that may read everybody's log. Names
    of traces are for clients to choose, so another tenant's feedback on the same name is about a trace of his own."""
    readers = (row.id for row in rows.api_keys if "logs.view" in expand(row.scopes))
    return [*([] if api_key is None else [api_key]), *islice(readers, _RATERS)]


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "object": "log", "trace_id": row["trace_id"], "at": row["at"], **_json(row["entry"])}


async def _insert(context: AdminContext, request: AdminRequest) -> Answer:
    now = int(time() * 1000)
    rows: list[logs.Entry] = []
    for number, given in enumerate(_objects(request.body)):
        where = f"[{number}]"
        _refuse_unknown(given, f"{where}.", ("request", "response", "metadata"))
        for part in ("request", "response"):
            if not isinstance(given.get(part), dict):
                raise bad(f"{where}.{part}", "must be an object")
        about = given.get("metadata") or {}
        if not isinstance(about, dict):
            raise bad(f"{where}.metadata", "must be an object")
        entry = msgspec.json.encode(
            {name: given[name] for name in ("request", "response", "metadata") if name in given}
        )
        if len(entry) > _ENTRY:
            raise bad(where, f"is larger than {_ENTRY} bytes")
        trace = about.get("trace_id", about.get("traceId"))
        rows.append((_id("log"), now, request.key_id, None if trace is None else str(trace)[:_TEXT], entry.decode()))
    await context.store.run("reports", logs.add_entries, rows)
    ids = [row[0] for row in rows]
    return Answer({"status": "success", "message": "Logs saved", "log_ids": ids})


def _objects(body: bytes) -> list[dict[str, Any]]:
    """A JSON object, or a list of some."""
    if body.lstrip()[:1] != b"[":
        return [read(body)]
    try:
        found = msgspec.json.decode(body, type=list[dict[str, Any]])
    except RecursionError:
        raise bad("", "the body is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeError):
        raise bad("", "the body must be a JSON object or a list of objects") from None
    if not 1 <= len(found) <= _ENTRIES:
        raise bad("", f"one to {_ENTRIES} entries fit in one request")
    return found


def _id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


# Feedback


def _refuse_unknown(given: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise bad(f"{where}{unknown}", f"unknown field{hint(unknown, known)}")


def _given(given: dict[str, Any], where: str, *, whole: bool) -> dict[str, Any]:
    """The fields of feedback, checked. `whole`: those that must be there, must be there."""
    _refuse_unknown(given, where, ("trace_id", "value", "weight", "metadata"))
    out: dict[str, Any] = {}
    if whole:
        trace = given.get("trace_id")
        if not isinstance(trace, str) or not 0 < len(trace) <= _TEXT:
            raise bad(f"{where}trace_id", f"must be a text of up to {_TEXT} characters")
        out["trace_id"] = trace
    value, weight, about = given.get("value"), given.get("weight"), given.get("metadata")
    if value is not None or whole:
        if isinstance(value, bool) or not isinstance(value, int) or not -10 <= value <= 10:
            raise bad(f"{where}value", "must be a whole number from -10 to 10")
        out["value"] = value
    if weight is not None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise bad(f"{where}weight", "must be a number from 0 to 1")
        out["weight"] = float(weight)
    if about is not None:
        text = msgspec.json.encode(about)
        if not isinstance(about, dict) or len(text) > 16 * 1024:
            raise bad(f"{where}metadata", "must be an object of up to 16 KiB")
        out["metadata"] = text.decode()
    return out


async def _give_feedback(context: AdminContext, request: AdminRequest) -> Answer:
    now = int(time() * 1000)
    rows: list[logs.Feedback] = []
    for number, given in enumerate(_objects(request.body)):
        where = "" if request.body.lstrip()[:1] != b"[" else f"[{number}]."
        each = _given(given, where, whole=True)
        about = each.get("metadata", "{}")
        rows.append((_id("fb"), now, request.key_id, each["trace_id"], each["value"], each.get("weight", 1.0), about))
    await context.store.run("reports", logs.add_feedback, rows)
    return _saved([row[0] for row in rows], "saved")


async def _change_feedback(context: AdminContext, request: AdminRequest) -> Answer:
    id = request.params["id"]
    changes = _given(read(request.body), "", whole=False)
    if not await context.store.run("reports", logs.edit_feedback, id, request.key_id, changes):
        raise Refused(Kind.NOT_FOUND, f"This key gave no feedback with the id {id[:_TEXT]!r}.")
    return _saved([id], "updated")


def _saved(ids: list[str], what: str) -> Answer:
    return Answer({"status": "success", "message": f"Feedback successfully {what}", "feedback_ids": ids})


def _feedback(row: dict[str, Any]) -> dict[str, Any]:
    about = _json(row["metadata"])
    return {"id": row["id"], "value": row["value"], "weight": row["weight"], "at": row["at"], "metadata": about}


ROUTES = routes(
    "logs",
    ("GET", "/v1/logs", "logs.list", "Search the requests of this gateway, the newest first", _search),
    ("POST", "/v1/logs", "logs.write", "Keep log entries of requests that did not go through this gateway", _insert),
    ("GET", "/v1/logs/{id}", "logs.view", "One request: all that is known, bodies where they are kept", _show),
    ("POST", "/v1/feedback", "feedbacks.write", "Feedback on a trace: -10 to 10, with a weight", _give_feedback),
    ("PUT", "/v1/feedback/{id}", "feedbacks.write", "Change feedback that this key gave", _change_feedback),
)
