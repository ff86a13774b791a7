"""How a node answers, read and checked: its strategy, its retries and its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET

from proxy.config import conditions
from proxy.config.checks import Check, Examiner, Path, flag, listing, number, pattern, record, text
from proxy.config.near import nearest
from proxy.config.nodes import MAX_AGE, MODES, Breaker, Cache, Condition, Hedge, Retry, Sticky, Strategy

MAX_ATTEMPTS = 5
MIN_COOLDOWN = 30_000
MAX_WAIT = 60_000
EJECT_AFTER = 5
"""Failures in a row that open a circuit breaker whose config says nothing of when."""

_CODES = listing(number(100, 599))


def _made(
    make: Callable[..., Any], checks: Mapping[str, Check], needed: str | None = None, message: str = "Required"
) -> Check:
    """A check for a record that `make` takes, if nothing in it is wrong. Without its `needed` key it says no more than
    that."""

    def check(x: Examiner, value: Any, path: Path) -> Any:
        if needed is not None and isinstance(value, dict) and value.get(needed) is None:
            return x.bad((*path, needed), message)
        before = len(x.findings)
        given = record(x, value, path, checks)
        return make(**given) if len(x.findings) == before else UNSET

    return check


# Retries and caches

retry = _made(
    Retry,
    {
        "attempts": number(0, MAX_ATTEMPTS),
        "on_status_codes": _CODES,
        "use_retry_after_header": flag,
        "base_wait": number(1, MAX_WAIT),
    },
    "attempts",
    "'retry.attempts' must be defined",
)


def _max_age(x: Examiner, value: Any, path: Path) -> Any:
    read = number(0, whole=False)(x, value, path)
    if read is UNSET:
        return UNSET
    low, high = MAX_AGE
    clamped = int(min(max(read, low), high))
    if clamped != read:
        x.warn(path, f"is taken as {clamped}; a cache keeps answers for {low} to {high} whole seconds")
    return clamped


def _cache_mode(x: Examiner, value: Any, path: Path) -> Any:
    given = text(x, value, path)
    if given == "semantic":
        x.warn(path, "only equal questions are found: 'semantic' works as 'simple' here")
    if given is UNSET or given in ("simple", "semantic"):
        return given
    return x.bad(path, "Invalid 'cache.mode' value. Must be one of: simple, semantic")


_cache = _made(Cache, {"mode": _cache_mode, "max_age": _max_age}, "mode", "'cache.mode' must be defined")


def cache(x: Examiner, value: Any, path: Path) -> Any:
    """A record, or the mode alone."""
    if not isinstance(value, str):
        return _cache(x, value, path)
    mode = _cache_mode(x, value, path)
    return mode if mode is UNSET else Cache(mode)


# Strategies


def _mode(x: Examiner, value: Any, path: Path) -> Any:
    given = text(x, value, path)
    if given is UNSET or given in MODES:
        return given
    # The four that every client of the field knows; the sentence is theirs, word for word.
    known = "Invalid 'mode' value. Must be one of: single, loadbalance, fallback, conditional"
    near = nearest(given, MODES)
    return x.bad(path, f"{known}; did you mean '{near}'?" if near else known)


def _breaker(**given: Any) -> Breaker:
    if not {"consecutive_failures", "failure_threshold", "failure_threshold_percentage"} & given.keys():
        given["consecutive_failures"] = EJECT_AFTER
    return Breaker(**given)


def _query(x: Examiner, value: Any, path: Path) -> Any:
    for where, message in conditions.faults(value, path, x.warn):
        x.bad(where, message)
    return value


def _condition(x: Examiner, value: Any, path: Path) -> Any:
    before = len(x.findings)
    given = record(x, value, path, {"query": _query, "then": text})
    if isinstance(value, dict):
        for name in ("query", "then"):
            if value.get(name) is None:
                x.bad((*path, name), "Required")
    return Condition(**given) if len(x.findings) == before else UNSET


_hash_field = pattern(
    r"(?:metadata|params|headers)\..+", 'hash_fields must start with "metadata.", "params.", or "headers."'
)
_STICKY: dict[str, Check] = {
    "enabled": flag,
    "hash_fields": listing(_hash_field),
    "ttl": number(0, whole=False, above=True),
}
_BREAKER: dict[str, Check] = {
    "consecutive_failures": number(1),
    "failure_threshold": number(1),
    "failure_threshold_percentage": number(0, 100, whole=False, above=True),
    "cooldown_interval": number(MIN_COOLDOWN),
    "failure_status_codes": _CODES,
    "minimum_requests": number(1),
}
_HEDGE: dict[str, Check] = {
    "quantile": number(0, 1, whole=False, above=True),
    "delay": number(1, 600_000),
}

strategy = _made(
    Strategy,
    {
        "mode": _mode,
        "on_status_codes": _CODES,
        "conditions": listing(_condition),
        "default": text,
        "sticky": _made(Sticky, _STICKY),
        "cb_config": _made(_breaker, _BREAKER),
        "hedge": _made(Hedge, _HEDGE),
        "continue_stream": flag,
    },
    "mode",
)
