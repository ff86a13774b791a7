"""How limits say no: statuses, codes and words, for API keys (the door's) and virtual keys (a target's)."""

from __future__ import annotations

from math import ceil

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.limits.rates import Rate, Tightest

API_KEY = "API key"
VIRTUAL_KEY = "virtual key"
_PER = {"per_second": "second", "per_minute": "minute", "per_hour": "hour", "per_day": "day"}


def _retry(seconds: float) -> tuple[tuple[str, str], ...]:
    return (("retry-after-ms", str(max(1, ceil(seconds * 1000)))),)


def full(what: str, name: str, limit: int, model: str | None, waited: bool) -> Refused:
    """Too many at once, and no place or no more time to wait."""
    subject = f"The {what} {name!r}" + (f" for models like {model!r}" if model else "")
    how = "none ended in time" if waited else "try again shortly"
    return Refused(
        Kind.RATE_LIMITED,
        f"{subject} has its {limit} concurrent requests in flight; {how}.",
        code=f"{what.lower().replace(' ', '_')}_concurrency_limit",
        retry_after=1,
        headers=(
            *_retry(1),
            ("x-ratelimit-limit-concurrency", str(limit)),
            ("x-ratelimit-remaining-concurrency", "0"),
        ),
    )


def too_fast(what: str, name: str, rate: Rate, wait: float, standing: Tightest) -> Refused:
    """A rate is used up for `wait` seconds."""
    kind = "tokens" if rate.tokens else "requests"
    message = f"Rate limit reached for the {what} {name!r}: {rate.limit} {kind} per {_PER[rate.per]}. Try again in "
    message += f"{span(wait)}."
    at_the_door = what == API_KEY
    return Refused(
        Kind.RATE_LIMITED,
        f"Portkey Error: {message} Error Code: 05" if at_the_door else message,
        type=f"{what.lower().replace(' ', '_')}_rate_limit_error",
        code="05" if at_the_door else None,
        retry_after=ceil(wait),
        headers=(*_retry(wait), *headers(standing)),
    )


def exhausted(what: str, name: str, limit: str) -> Refused:
    """A budget is spent."""
    message = f"The budget of the {what} {name!r} is exhausted: {limit}."
    at_the_door = what == API_KEY
    return Refused(
        Kind.QUOTA_EXCEEDED,
        f"Portkey Error: {message} Error Code: 04" if at_the_door else message,
        type=f"{what.lower().replace(' ', '_')}_exhaust_error",
        code="04",
        headers=(("x-should-retry", "false"),),
    )


def no_price(what: str, name: str, model: str | None, piece: str | None = None) -> Refused:
    """A budget in dollars, and a model whose price nobody knows, or that of a piece which the request asks for."""
    price = f"the price of the model {model or ''!r}" if piece is None else f"the rate {piece!r} of {model!r}"
    mend = "Name its price in the configuration (prices)"
    if not model:
        price = "the model that is asked for, and so its price,"
        mend = "Send JSON, or a form of up to 32 MiB with its length, that names the model once"
    return Refused(
        Kind.QUOTA_EXCEEDED,
        f"The {what} {name!r} has a budget in US dollars, and {price} is not known. "
        f"{mend}, or allow such models (budget.unknown_price: allow).",
        type="unknown_price_error",
        code="unknown_price",
        headers=(("x-should-retry", "false"),),
    )


def not_now(what: str, name: str) -> Refused:
    """Other hosts have not answered in time how much of a rate or a budget is left."""
    return Refused(
        Kind.RATE_LIMITED,
        f"How much is left of the limits of the {what} {name!r} is not known at this moment; try again shortly.",
        type=f"{what.lower().replace(' ', '_')}_rate_limit_error",
        retry_after=1,
        headers=_retry(1),
    )


def unreachable() -> Refused:
    """Limits cannot be counted now, and the strict policy lets nobody in uncounted."""
    return Refused(
        Kind.OVERLOADED,
        "The limits of this key cannot be counted now, because Redis does not answer; try again shortly.",
        code="limits_unavailable",
        retry_after=1,
        headers=_retry(1),
    )


def headers(standing: Tightest) -> tuple[tuple[str, str], ...]:
    """`x-ratelimit-*` as OpenAI's clients read them."""
    lines = "".join([line(*found) for found in standing if found[2]]).splitlines()
    return tuple((name, value) for name, _, value in (each.partition(": ") for each in lines))


def line(left: float, ahead: float, spelled: str) -> str:
    """The same as header lines, of one rate as it was `Found`."""
    return spelled % (left if left > 0.0 else 0, span(ahead) if ahead > 0.0 else "0ms")


def span(seconds: float) -> str:
    """A duration as OpenAI writes it: `250ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        return f"{ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{ceil(seconds * 1000) / 1000:g}s"
    whole = ceil(seconds)
    minutes = f"{whole // 60 % 60}m{whole % 60}s"
    return minutes if whole < 3600 else f"{whole // 3600}h{minutes}"
