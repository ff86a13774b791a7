"""Usage and spend over HTTP: graphs, groups and summaries in the shapes of the SDKs' analytics calls, and one table of
our own, which may be CSV. Everything is read from the ledger, in the scope `analytics.view`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from adapters.errors import Kind
from proxy.admin.body import bad
from proxy.admin.scene import page, routes
from proxy.admin.usage_query import filter_of, iso, step_of
from proxy.config.near import hint
from proxy.errors import Refused
from proxy.ports import Rows
from proxy.routes import AdminContext, AdminRequest, Answer
from proxy.store import reports
from proxy.store.reports import DIMENSIONS, Filter, Group, Sums
from proxy.store.sums import DAY, DOLLARS, NAMES

FILE = "file-"
"""What the id of a key of the configuration file begins with; its name follows."""
_POINTS = 1000  # graphs with more points show only those where something happened
_ZERO: Sums = dict.fromkeys(NAMES, 0)

# Graphs that draw one sum: how it follows from the sums, and what its average is an average over.
_GRAPHS: dict[str, tuple[Callable[[Sums], float], str]] = {
    "requests": (lambda found: found["requests"], "points"),
    "cost": (lambda found: found["cost"], "requests"),
    "tokens": (lambda found: found["input_tokens"] + found["output_tokens"], "requests"),
    "errors": (lambda found: found["errors"], "points"),
    "requests/rescued": (lambda found: found["rescued"], "points"),
}
_RATES: dict[str, str] = {"errors/rate": "errors", "cache/hit-rate": "cache_hits"}
_STACKS = ("errors/stacks", "errors/status-codes")
_OTHERS = ("latency", "cache/latency", "users", "users/requests")
_GROUPS: dict[str, tuple[str, str]] = {
    "users": ("metadata:_user", "user"),
    "ai-models": ("model", "ai_model"),
    "models": ("model", "model"),
    "api-keys": ("key", "api_key_id"),
    "virtual-keys": ("virtual_key", "virtual_key"),
    "providers": ("provider", "provider"),
    "configs": ("config", "config"),
    "status-codes": ("status", "status_code"),
    "days": ("day", "day"),
}


# Graphs


async def graph(context: AdminContext, request: AdminRequest) -> Answer:
    """One graph."""
    name = "/".join(request.params[part] for part in ("graph", "detail") if part in request.params)
    known = (*_GRAPHS, *_RATES, *_STACKS, *_OTHERS)
    if name not in known:
        raise Refused(Kind.NOT_FOUND, f"there is no graph '{name[:100]}'{hint(name, known)}")
    wanted = filter_of(request.query)
    step = step_of(wanted)
    if name in ("latency", "cache/latency"):
        caches = ("HIT", "SEMANTIC HIT") if name == "cache/latency" else wanted.caches
        return await _latency(context, step, msgspec.structs.replace(wanted, caches=caches))
    if name in _STACKS:
        return await _stacks(context, step, wanted)
    if name.startswith("users"):
        return await _users(context, step, wanted, per_request=name != "users")
    found = await _steps(context, step, wanted)
    total = _added(found.values())
    moments = _moments(found, step, wanted)
    if name in _RATES:
        part = _RATES[name]
        points = [{"timestamp": iso(at), "rate": _rate(found.get(at, _ZERO), part)} for at in moments]
        summary: dict[str, Any] = {"rate": _rate(total, part), "total": total[part], "requests": total["requests"]}
        return _drawn(summary, points)
    value, over = _GRAPHS[name]
    sums = ((at, found.get(at, _ZERO)) for at in moments)
    points = [_point(at, _exact(name, value(one)), one["requests"]) for at, one in sums]
    count, every = len(moments) if over == "points" else total["requests"], _exact(name, value(total))
    return _drawn({"total": every, "avg": every / count if count else 0}, points)


def _point(at: int, value: float, requests: float) -> dict[str, Any]:
    return {"timestamp": iso(at), "total": value, "avg": value / requests if requests else 0}


def _rate(found: Sums, part: str) -> float:
    """A share in per cent."""
    return 100 * found[part] / found["requests"] if found["requests"] else 0.0


async def _steps(context: AdminContext, step: int, wanted: Filter) -> dict[int, Sums]:
    by = "day" if step == DAY else f"step:{step}"
    found = await context.store.run("reports", reports.sums, (by,), wanted)
    return {int(at) * (DAY if step == DAY else 1): one for (at,), one in found.items()}


async def _latency(context: AdminContext, step: int, wanted: Filter) -> Answer:
    found: dict[int, dict[int, int]] = await context.store.run("reports", reports.latencies, step, wanted)
    every: dict[int, int] = {}
    for counts in found.values():
        for duration, count in counts.items():
            every[duration] = every.get(duration, 0) + count
    points = [{"timestamp": iso(at), **_percentiles(found[at])} for at in sorted(found)]
    return _drawn(_percentiles(every), points)


def _percentiles(counts: Mapping[int, int]) -> dict[str, float]:
    """Average and percentiles (milliseconds) of durations (microseconds) that came so often."""
    total = sum(counts.values())
    shown = {"avg": sum(duration * count for duration, count in counts.items()) / total / 1000 if total else 0.0}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        left = share * total
        shown[name] = 0.0
        for duration in sorted(counts):
            left -= counts[duration]
            if left <= 0:
                shown[name] = duration / 1000
                break
    return shown


async def _stacks(context: AdminContext, step: int, wanted: Filter) -> Answer:
    found: dict[Group, Sums] = await context.store.run("reports", reports.sums, (f"step:{step}", "status"), wanted)
    points: dict[int, list[dict[str, Any]]] = {}
    total: dict[str, float] = {}
    for (at, status), one in sorted(found.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        if status is not None and status >= 400:
            points.setdefault(int(at), []).append({"code": status, "count": one["requests"]})
            total[str(status)] = total.get(str(status), 0) + one["requests"]
    return _drawn(
        {"total": sum(total.values()), "status_codes": total},
        [{"timestamp": iso(at), "stats": stats} for at, stats in points.items()],
    )


async def _users(context: AdminContext, step: int, wanted: Filter, *, per_request: bool) -> Answer:
    total, found = await context.store.run("reports", reports.distinct, step, "_user", wanted)
    requests = await _steps(context, step, wanted) if per_request else {}
    points = [
        {"timestamp": iso(at), "total": requests[at]["requests"] / found[at] if found[at] else 0}
        if per_request
        else {"timestamp": iso(at), "total": found[at]}
        for at in sorted(found)
        if not per_request or at in requests
    ]
    everything = _added(requests.values())["requests"]
    return _drawn({"total": (everything / total if total else 0) if per_request else total}, points)


def _moments(found: Mapping[int, Sums], step: int, wanted: Filter) -> list[int]:
    """The beginnings of all steps, also of those in which nothing happened, unless they are too many."""
    first, last = wanted.since - wanted.since % step, max(wanted.until - 1, wanted.since)
    if last < first or (last - first) // step >= _POINTS:
        return sorted(found)
    return list(range(first, last + 1, step))


def _drawn(summary: dict[str, Any], points: list[dict[str, Any]]) -> Answer:
    return Answer({"success": True, "object": "analytics-graph", "summary": summary, "data_points": points})


# Groups and summaries


async def group(context: AdminContext, request: AdminRequest) -> Answer:
    """Sums by one thing."""
    name = request.params["group"]
    if name not in _GROUPS:
        raise Refused(Kind.NOT_FOUND, f"there is no group '{name[:100]}'{hint(name, _GROUPS)}")
    return await _grouped(context, request, *_GROUPS[name])


async def by_metadata(context: AdminContext, request: AdminRequest) -> Answer:
    """Sums by the values of one metadata field."""
    return await _grouped(context, request, f"metadata:{request.params['key'][:256]}", "metadata_value")


async def _grouped(context: AdminContext, request: AdminRequest, dimension: str, label: str) -> Answer:
    found: dict[Group, Sums] = await context.store.run("reports", reports.sums, (dimension,), filter_of(request.query))
    names = _names(context.rows()) if dimension == "key" else {}
    rows = sorted(found.items(), key=lambda item: (-item[1]["requests"], str(item[0])))

    def shown(item: tuple[Group, Sums]) -> dict[str, Any]:
        (value,), one = item
        extra = {"name": names.get(value)} if dimension == "key" else {}
        value = iso(int(value) * DAY)[:10] if dimension == "day" else value
        return {label: value, **extra, **_told(one), "object": "analytics-group"}

    return page(rows, request.query, shown)


def _told(found: Sums) -> dict[str, float]:
    """The sums as they are shown, and what follows from them."""
    requests = found["requests"]
    shown = {name: _exact(name, value) for name, value in found.items() if name != "duration_us"}
    shown["tokens"] = found["input_tokens"] + found["output_tokens"]
    shown["avg_latency_ms"] = round(found["duration_us"] / requests / 1000, 3) if requests else 0.0
    return shown


def _exact(name: str, value: float) -> float:
    """A sum without what adding up floats leaves in its last digits: dollars to twelve digits."""
    return float(f"{value:.12g}") if name in DOLLARS else value


async def cache_summary(context: AdminContext, request: AdminRequest) -> Answer:
    """What the cache did."""
    total = await _total(context, filter_of(request.query))
    data = {
        "hits": total["cache_hits"],
        "hit_rate": _rate(total, "cache_hits"),
        "requests": total["requests"],
        "savings": _exact("saved", total["saved"]),
    }
    return Answer({"success": True, "object": "analytics-summary", "data": data})


async def summary(context: AdminContext, request: AdminRequest) -> Answer:
    """All sums."""
    total = await _total(context, filter_of(request.query))
    return Answer({"success": True, "object": "analytics-summary", "data": _told(total)})


async def _total(context: AdminContext, wanted: Filter) -> Sums:
    found: dict[Group, Sums] = await context.store.run("reports", reports.sums, (), wanted)
    return found.get((), _ZERO)


# The table


async def table(context: AdminContext, request: AdminRequest) -> Answer:
    """Sums by several things at once, as JSON or as CSV."""
    by = dimensions(request.query.get("by", "day"))
    form = request.query.get("format", "json")
    if form not in ("json", "csv"):
        raise bad("format", "must be json or csv")
    found = await context.store.run("reports", reports.sums, by, filter_of(request.query))
    rows = table_of(by, found, context.rows())
    if form == "csv":
        return Answer(csv_of(rows, by).encode(), content_type="text/csv; charset=utf-8")
    return page(rows, request.query, lambda row: row)


def dimensions(text: str) -> tuple[str, ...]:
    """What `key,model,day` names. Raises Refused (400)."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in DIMENSIONS and not (name.startswith("metadata:") and name != "metadata:"):
            raise bad("by", f"'{name[:100]}' is nothing to count by; give {', '.join(DIMENSIONS)} or metadata:NAME")
    if not names or len(names) > 6:
        raise bad("by", "must name one to six things")
    return names


def table_of(by: Sequence[str], found: Mapping[Group, Sums], rows: Rows) -> list[dict[str, Any]]:
    """The sums as rows, the dimensions first; keys by their names, days and hours as dates (UTC). A cost of which
    nothing is known is None, and not nought."""
    names = _names(rows)

    def shown(name: str, value: Any) -> Any:
        if name == "key":
            return None if value is None else names.get(value, value.removeprefix(FILE))
        return iso(int(value) * (DAY if name == "day" else DAY // 24)) if name in ("day", "hour") else value

    made = [
        {**{name: shown(name, value) for name, value in zip(by, group, strict=True)}, **_told(one)}
        for group, one in found.items()
    ]
    for row in made:
        if "day" in row:
            row["day"] = row["day"][:10]
        if row["unpriced"] and not row["cost"]:
            row["cost"] = None
    return sorted(made, key=lambda row: tuple(str(row[name] or "") for name in by))


def csv_of(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    """Rows of `table_of` as CSV with a line of names, also where there are none. What a spreadsheet would take for a
    formula is put in quotes of its own; costs have digits and no exponent, and are empty where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow((*by, *_told(_ZERO)))
    for row in rows:
        writer.writerow([_harmless(value) for value in row.values()])
    return text.getvalue()


def _harmless(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").rstrip(".")
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _names(rows: Rows) -> dict[str, str]:
    return {row.id: row.name for row in rows.api_keys}


def _added(sums: Iterable[Sums]) -> Sums:
    total = dict(_ZERO)
    for one in sums:
        for name, value in one.items():
            total[name] += value
    return total


ROUTES = routes(
    "analytics",
    ("GET", "/v1/analytics/graphs/{graph}", "analytics.view", "Usage over time", graph),
    ("GET", "/v1/analytics/graphs/{graph}/{detail}", "analytics.view", "Usage over time, in one respect", graph),
    ("GET", "/v1/analytics/groups/{group}", "analytics.view", "Usage by users, models, keys, days …", group),
    ("GET", "/v1/analytics/groups/metadata/{key}", "analytics.view", "Usage by a metadata field", by_metadata),
    ("GET", "/v1/analytics/summary/cache", "analytics.view", "What the cache did", cache_summary),
    ("GET", "/v1/analytics/summary", "analytics.view", "All sums", summary),
    ("GET", "/v1/analytics/usage", "analytics.view", "Sums by several things at once, also as CSV", table),
)
