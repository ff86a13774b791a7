"""Limits in two spellings: this gateway's `limits` object, and the SDKs' `usage_limits` and `rate_limits`.

Both come to one `Limits`, which is also where both are shown from, so that they never disagree. What the SDKs' shape
has beyond it (alert thresholds, the next reset) is kept beside it in the row's `extra`. A limit that would not be
enforced is refused, not taken and forgotten.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from proxy.admin.body import bad, parse
from proxy.config import hosts
from proxy.ports import Budget, Limits, Rates

UnitName = Literal["rps", "rpm", "rph", "rpd", "rpw"]
Positive = Annotated[int, Meta(ge=1)]

_PERIODS: dict[str, str] = {"rps": "per_second", "rpm": "per_minute", "rph": "per_hour", "rpd": "per_day"}
_WINDOW = re.compile(r"daily|weekly|monthly|total|([1-9]\d{0,2})d")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEPT = ("next_usage_reset_at",)


class UsageLimits(msgspec.Struct, forbid_unknown_fields=True):
    """A budget as the SDKs send it: `credit_limit` in US dollars (`cost`) or tokens."""

    type: Literal["cost", "tokens"] | None = None
    credit_limit: Annotated[float, Meta(gt=0)] | None = None
    alert_threshold: Annotated[float, Meta(gt=0)] | None = None
    periodic_reset: Literal["daily", "weekly", "monthly"] | None = None
    periodic_reset_days: Annotated[int, Meta(ge=1, le=365)] | None = None
    next_usage_reset_at: str | None = None


class RateLimit(msgspec.Struct, forbid_unknown_fields=True):
    """A rate as the SDKs send it."""

    type: Literal["requests", "tokens"]
    unit: UnitName
    value: Positive


class Given(msgspec.Struct):
    """The limits of one request body; UNSET where it said nothing."""

    limits: dict[str, Any] | UnsetType | None = UNSET
    usage_limits: UsageLimits | UnsetType | None = UNSET
    rate_limits: list[RateLimit] | RateLimit | UnsetType | None = UNSET


def merge(limits: Limits, extra: dict[str, Any], given: Given) -> tuple[Limits, dict[str, Any]]:
    """A row's limits and its `extra` after a request body. Raises `Refused` (400)."""
    kept = dict(extra.get("usage_limits", {}))
    if given.limits is not UNSET:
        limits, kept = _ours(given.limits or {}), {}
    if given.usage_limits is not UNSET:
        budget, kept = _budget(given.usage_limits)
        limits = msgspec.structs.replace(limits, budget=budget)
    if given.rate_limits is not UNSET:
        rates = [given.rate_limits] if isinstance(given.rate_limits, RateLimit) else given.rate_limits or []
        limits = msgspec.structs.replace(limits, requests=_rates(rates, "requests"), tokens=_rates(rates, "tokens"))
    rest = {name: value for name, value in extra.items() if name != "usage_limits"}
    return limits, {**rest, "usage_limits": kept} if kept else rest


def shown(limits: Limits) -> dict[str, Any]:
    """The `limits` object of an answer: what is set."""
    built: dict[str, Any] = msgspec.to_builtins(limits)
    if limits.queue.size == 0:
        del built["queue"]
    if limits.priority == "normal":
        del built["priority"]
    if limits.budget is not None and limits.budget.unknown_price == "refuse":
        del built["budget"]["unknown_price"]
    return {name: set_ for name, value in built.items() if value is not None and (set_ := _set(value)) != {}}


def shown_usage(limits: Limits, extra: dict[str, Any]) -> dict[str, Any] | None:
    """The budget in the SDKs' shape, or None."""
    kept: dict[str, Any] = extra.get("usage_limits", {})
    budget = limits.budget
    if budget is None:
        return kept or None
    in_dollars = budget.usd is not None
    view: dict[str, Any] = {
        "type": "cost" if in_dollars else "tokens",
        "credit_limit": budget.usd if in_dollars else budget.tokens,
    }
    if budget.window.endswith("d"):
        view["periodic_reset_days"] = int(budget.window[:-1])
    elif budget.window != "total":
        view["periodic_reset"] = budget.window
    if budget.alert_threshold is not None:
        view["alert_threshold"] = budget.alert_threshold
    return {**view, **kept}


def shown_rates(limits: Limits) -> list[dict[str, Any]]:
    """The rates in the SDKs' shape."""
    return [
        {"type": kind, "unit": unit, "value": value}
        for kind, rates in (("requests", limits.requests), ("tokens", limits.tokens))
        if rates is not None
        for unit, period in _PERIODS.items()
        if (value := getattr(rates, period)) is not None
    ]


def _set(value: Any) -> Any:
    return {name: _set(item) for name, item in value.items() if item is not None} if isinstance(value, dict) else value


def _budget(usage: UsageLimits | None) -> tuple[Budget | None, dict[str, Any]]:
    """The budget of the SDKs' shape, and what else it said."""
    if usage is None:
        return None, {}
    kept = {name: value for name in _KEPT if (value := getattr(usage, name)) is not None}
    if usage.periodic_reset and usage.periodic_reset_days:
        raise bad("usage_limits", "give periodic_reset or periodic_reset_days, not both")
    if usage.credit_limit is None:
        return None, kept
    window = f"{usage.periodic_reset_days}d" if usage.periodic_reset_days else usage.periodic_reset or "total"
    if usage.type == "tokens":
        return Budget(tokens=int(usage.credit_limit), window=window, alert_threshold=usage.alert_threshold), kept
    return Budget(usd=usage.credit_limit, window=window, alert_threshold=usage.alert_threshold), kept


def _rates(limits: list[RateLimit], kind: str) -> Rates | None:
    periods: dict[str, int] = {}
    for index, limit in enumerate(limits):
        if limit.unit not in _PERIODS:
            raise bad(f"rate_limits[{index}].unit", "limits per week are not enforced here; use rpd")
        if limit.type == kind:
            periods[_PERIODS[limit.unit]] = limit.value
    return Rates(**periods) if periods else None


def _ours(raw: dict[str, Any]) -> Limits:
    """The `limits` object, as the configuration file has it: durations such as `2s` are understood too."""
    queue = raw.get("queue")
    if isinstance(queue, dict) and isinstance(queue.get("timeout"), str):
        match = _DURATION.fullmatch(queue["timeout"])
        if match is None:
            raise bad("limits.queue.timeout", "expected a duration such as 500ms or 2s")
        raw = {**raw, "queue": {**queue, "timeout": float(match[1]) * _SECONDS[match[2]]}}
    limits = parse(raw, Limits, "limits")
    _in_range(limits)
    return limits


def _in_range(limits: Limits) -> None:
    least: list[tuple[str, float | None, float]] = [
        ("concurrency", limits.concurrency, 1),
        ("queue.size", limits.queue.size, 0),
        ("queue.timeout", limits.queue.timeout, 0),
    ]
    every = [("", limits), *((f"models.{pattern}.", own) for pattern, own in limits.models.items())]
    rates_of = [(f"{path}{kind}", getattr(own, kind)) for path, own in every for kind in ("requests", "tokens")]
    least += [(f"models.{pattern}.concurrency", own.concurrency, 1) for pattern, own in limits.models.items()]
    for name, rates in rates_of:
        least += [(f"{name}.{period}", getattr(rates, period, None), 1) for period in _PERIODS.values()]
    for name, value, low in least:
        if value is not None and value < low:
            raise bad(f"limits.{name}", f"must be at least {low:g}")
    budget = limits.budget
    if budget is None:
        return
    if (budget.usd is None) == (budget.tokens is None):
        raise bad("limits.budget", "give usd or tokens")
    if (budget.usd or budget.tokens or 0) <= 0:
        raise bad(f"limits.budget.{'tokens' if budget.usd is None else 'usd'}", "must be above 0")
    if budget.alert_threshold is not None and budget.alert_threshold <= 0:
        raise bad("limits.budget.alert_threshold", "must be above 0")
    if budget.webhook is not None and (fault := hosts.fault(budget.webhook)):
        raise bad("limits.budget.webhook", f"no usable URL: {fault}")
    if not _WINDOW.fullmatch(budget.window):
        raise bad("limits.budget.window", "must be daily, weekly, monthly, total or a number of days such as 30d")
