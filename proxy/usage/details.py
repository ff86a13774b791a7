"""What few requests have beside the ledger's columns, as JSON: attempts that were more than one, and rare counts."""

from __future__ import annotations

import msgspec

from adapters.types import Rare, Usage
from proxy.exchange import Attempt, Exchange
from proxy.usage_columns import POST

_encode = msgspec.json.Encoder().encode
_NONE_RARE = (0, 0, 0, 0, 0)


class Try(msgspec.Struct, omit_defaults=True, gc=False):
    """An attempt as the ledger has it. Durations are milliseconds, `cost` is in US dollars."""

    target: str
    where: str
    status: int
    duration: float
    reason: str = "first"
    model: str = ""
    error: str | None = None
    wait: float | None = None
    cost: float | None = None


class Details(msgspec.Struct, omit_defaults=True, gc=False):
    """What few requests have: further counts of tokens, a service tier, a method that is not POST. What is charged by
    the piece (`adapters.types.Rare`) stands beside them, under its own names."""

    cache_write_1h: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    tier: str | None = None
    method: str = POST


def delivered(x: Exchange) -> Attempt | None:
    """The attempt whose answer was delivered, or the last one."""
    attempts = x.attempts
    if len(attempts) < 2:
        return attempts[0] if attempts else None
    where = None if x.leaf is None else x.leaf.where
    return next((each for each in reversed(attempts) if each.where == where), attempts[-1])


def _cost(x: Exchange, attempt: Attempt) -> float | None:
    """What an attempt cost whose answer was not delivered; None where its provider counted nothing."""
    if attempt.cost is not None or attempt.usage is None:
        return attempt.cost
    price = x.snapshot.prices.find(attempt.provider, attempt.model)
    return None if price is None else price.cost(attempt.usage)


def wasted(x: Exchange, last: Attempt | None) -> float | None:
    """What attempts cost that brought nothing: failed after they were counted, or lost against another."""
    if len(x.attempts) < 2:
        return None
    costs = [cost for each in x.attempts if each is not last and (cost := _cost(x, each)) is not None]
    return sum(costs) if costs else None


def tries_of(x: Exchange) -> str | None:
    """All attempts as JSON; None where there was one and it went well, which the row itself tells."""
    if len(x.attempts) < 2 and not (x.attempts and x.attempts[0].kind is not None):
        return None
    tries = [
        Try(
            each.target,
            each.where,
            each.status,
            round(each.duration * 1000, 3),
            each.reason,
            each.model,
            each.kind,
            round(each.wait * 1000, 3) if each.wait else None,
            _cost(x, each),
        )
        for each in x.attempts
    ]
    return _encode(tries).decode()


def details_of(usage: Usage | None, method: str) -> str | None:
    """Rare counts and a rare method; None where there is nothing to say."""
    rare, tier, pieces = _NONE_RARE, None, None
    if usage is not None:
        rare = (usage.cache_write_1h, usage.audio_input, usage.audio_output, usage.image_input, usage.image_output)
        tier, pieces = usage.tier, usage.rare
    if tier is None and method == POST and not any(rare) and pieces is None:
        return None
    details = _encode(Details(*rare, tier, method))
    return (details if pieces is None else _beside(details, pieces)).decode()


def _beside(details: bytes, pieces: Rare) -> bytes:
    """Both as one object."""
    more = _encode(pieces)
    return details if more == b"{}" else more if details == b"{}" else b"%b,%b" % (details[:-1], more[1:])
