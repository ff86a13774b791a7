"""What a query string of the analytics routes asks for, in the SDKs' words: which requests, and in which steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time
from typing import TypeVar

from proxy.admin.body import bad
from proxy.store.reports import Filter
from proxy.store.sums import DAY

T = TypeVar("T")

_HOUR = 3_600_000
_MINUTE = 60_000
_DEFAULT_SPAN = 30 * DAY
_KNOWN = frozenset(
    (
        "time_of_generation_min", "time_of_generation_max", "cost_min", "cost_max", "total_units_min",
        "total_units_max", "prompt_token_min", "prompt_token_max", "completion_token_min", "completion_token_max",
        "status_code", "virtual_keys", "configs", "api_key_ids", "metadata", "ai_org_model", "trace_id",
        "cache_status", "current_page", "page_size", "workspace_slug", "prompt_slug", "span_id", "by", "format",
        "columns",
    )
)  # fmt: skip
_UNANSWERABLE = ("prompt_slug", "span_id")
"""Fields that no request here has: whoever filters by one gets nothing, rather than everything."""


def filter_of(query: Mapping[str, str]) -> Filter:
    """The requests that a query describes; without times those of the last thirty days. Raises Refused (400)."""
    for name in query:
        if name not in _KNOWN:
            raise bad(name, f"is no filter; known are {', '.join(sorted(_KNOWN))}")
    until = _moment(query, "time_of_generation_max")
    until = int(time() * 1000) + _MINUTE if until is None else until + 1
    since = _moment(query, "time_of_generation_min")
    models = tuple(_model(text) for text in _list(query, "ai_org_model"))
    empty = any(query.get(name) for name in _UNANSWERABLE)
    return Filter(
        since=until - _DEFAULT_SPAN if since is None else since,
        until=0 if empty else until,
        keys=_list(query, "api_key_ids"),
        virtual_keys=_list(query, "virtual_keys"),
        models=models,
        configs=_list(query, "configs"),
        statuses=tuple(_number(text, "status_code", int) for text in _list(query, "status_code")),
        caches=tuple(text.upper() for text in _list(query, "cache_status")),
        trace=query.get("trace_id") or None,
        metadata=_metadata(query.get("metadata", "")),
        cost=_bounds(query, "cost", float),
        tokens=_bounds(query, "total_units", int),
        input=_bounds(query, "prompt_token", int),
        output=_bounds(query, "completion_token", int),
    )


def step_of(wanted: Filter) -> int:
    """The milliseconds of one point of a graph: minutes for hours, hours for days, else days."""
    span = wanted.until - wanted.since
    return _MINUTE if span <= 2 * _HOUR else _HOUR if span <= 3 * DAY else DAY


def iso(milliseconds: int) -> str:
    """A moment as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str, name: str) -> int:
    """Unix milliseconds of an ISO date and time (UTC unless it says otherwise) or of Unix seconds. Raises Refused."""
    try:
        if text.isascii() and text.isdigit():
            return int(text[:12]) * 1000
        # A `+` that nobody escaped comes as a space.
        read = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise bad(name, "must be a date and time such as 2030-12-31T00:00:00Z, or Unix seconds") from None


def _moment(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    return moment(text, name) if text else None


def _list(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in query.get(name, "").split(",")[:200] if part.strip())


def _number(text: str, name: str, kind: Callable[[str], T]) -> T:
    try:
        if len(text) > 20:
            raise ValueError
        return kind(text)
    except ValueError:
        raise bad(name, "must be a number") from None


def _bounds(query: Mapping[str, str], name: str, kind: Callable[[str], T]) -> tuple[T | None, T | None]:
    least, most = query.get(f"{name}_min"), query.get(f"{name}_max")
    return (
        _number(least, f"{name}_min", kind) if least else None,
        _number(most, f"{name}_max", kind) if most else None,
    )


def _model(text: str) -> tuple[str | None, str]:
    """`provider__model`, or a model of any provider."""
    provider, mark, model = text.partition("__")
    return (provider, model) if mark else (None, text)


def _metadata(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise bad("metadata", 'must be a JSON object of texts such as {"team": "blue"}')
    return tuple(given.items())[:20]
