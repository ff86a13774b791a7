"""What one request comes to, and the ledger's row of it; columns as in `proxy.usage_columns`."""

from __future__ import annotations

import msgspec

from adapters.types import Rare, Usage
from proxy.exchange import Attempt, Exchange, Gaps
from proxy.trace import Span
from proxy.usage_columns import PENDING, POST

Record = tuple[object, ...]

_encode = msgspec.json.Encoder().encode
_NONE_RARE = (0, 0, 0, 0, 0)
_NO_COUNTS: tuple[int | None, ...] = (None, None, None, None, None)


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


class Settled(msgspec.Struct, gc=False, frozen=True):
    """What a finished request comes to, without a reference to it. Times are seconds, costs US dollars.

    `row` is the ledger's, in the order of `proxy.usage_columns.COLUMNS`. `model` is the client's name for it,
    `sent_model` the one that the provider was asked for. `cost` is what the delivered answer cost, `wasted` what
    attempts cost that brought nothing. What is not known is None, never nought. `tries_json` is None where there was
    one attempt and it went well, or none. `overhead` is what the gateway itself took until the answer's first byte, of
    requests that went to a provider once and well; that of others is not to be told from waiting.
    """

    row: Record
    request_id: str
    trace_id: str
    at: float
    key: str | None
    target: str | None
    provider: str | None
    model: str | None
    dialect: str
    method: str
    path: str
    status: int
    usage: Usage | None
    tries: list[Attempt]
    streamed: bool
    duration: float
    ttfb: float | None
    outcome: str
    queued: float
    cache: str | None
    sent_model: str | None
    config: str | None
    where: str | None
    cost: float | None
    wasted: float | None
    tries_json: str | None
    started: float
    span: Span | None
    dropped: tuple[str, ...] = ()
    gaps: Gaps | None = None
    overhead: float | None = None


def settled(x: Exchange, ended: float) -> Settled:
    """What an exchange comes to. `ended` is the monotonic clock."""
    leaf, key, began, usage, attempts, model = x.leaf, x.key, x.started, x.usage, x.attempts, x.model
    first_byte, looked, sent_model = x.first_byte, x.read, x.model
    last, wasted, tries, overhead = None, None, None, None
    if len(attempts) == 1 and attempts[0].kind is None:
        last = attempts[0]
        if first_byte and looked:
            overhead = first_byte - looked - x.upstream - x.queued
    elif attempts:
        last = _last(x)
        wasted, tries = _wasted(x, last), _tries(x)
    if last is not None and last.model:
        sent_model = last.model
    target, provider, where, price, cost, saved = None, None, None, None, None, None
    if leaf is not None:
        compiled, where = leaf.target, leaf.where
        target, provider = compiled.slug, compiled.provider.name
        if sent_model:
            price = compiled.prices.find(sent_model)
            if price is not None and usage is not None:
                cost = price.cost(usage)
    if x.saved is not None:  # the cache answered, and nobody was paid
        cost, saved = 0.0, None if price is None else price.cost(x.saved)
    tags = x.tags
    if tags is None and (x.headers or x.user or (key is not None and key.metadata)):
        tags = x.metadata  # nearly all requests bring none: one that has ended has no headers any more
    request_id, trace_id, at, method, path, status = x.request_id, x.trace_id, x.at, x.method, x.path, x.status
    streamed, cache, config, took = x.streamed, x.cache, x.config, ended - began
    dialect = x.dialect._value_  # `value` itself is a function of Python's, and this is asked for every request
    outcome = "ok" if x.kind is None else x.kind._value_
    ttfb = first_byte - began if first_byte else None
    prompt = output = cached = written = reasoning = details = None
    if usage is not None:
        prompt, output, cached = usage.input, usage.output, usage.cached
        written, reasoning = usage.cache_write, usage.reasoning
    if method != POST or not (usage is None or _is_plain(usage)):
        details = _details(usage, method)
    return Settled(
        # In one function with the rest, because reading what was just put into slots takes half as long again.
        (
            request_id,
            int(at * 1000),
            None if key is None else key.id,
            target,
            provider,
            sent_model,
            dialect,
            path,
            status,
            prompt,
            output,
            cached,
            written,
            reasoning,
            len(attempts),
            1 if streamed else 0,
            int(took * 1e6),
            None if ttfb is None else int(ttfb * 1e6),
            outcome,
            trace_id,
            model,
            config,
            where,
            _encode(tags).decode() if tags else None,
            cache,
            cost,
            None if price is None or cost is None else price.id,
            wasted,
            saved,
            tries,
            details,
            1 if usage is not None and usage.estimated else 0,
        ),
        request_id,
        trace_id,
        at,
        None if key is None else key.name,
        target,
        provider,
        model,
        dialect,
        method,
        path,
        status,
        usage,
        attempts,
        streamed,
        took,
        ttfb,
        outcome,
        x.queued,
        cache,
        sent_model,
        config,
        where,
        cost,
        wasted,
        tries,
        began,
        x.span,
        x.dropped,
        x.gaps,
        overhead if overhead is None or overhead > 0.0 else 0.0,
    )


def _is_plain(usage: Usage) -> bool:
    """Whether there is nothing of it that goes into the details."""
    return usage.tier is None and not (
        usage.cache_write_1h
        or usage.audio_input
        or usage.audio_output
        or usage.image_input
        or usage.image_output
        or usage.rare
    )


def pending_of(x: Exchange) -> Record:
    """The row of an exchange that has begun and not ended: what remains if its worker is killed."""
    target = None if x.leaf is None else x.leaf.target
    return (
        x.request_id,
        int(x.at * 1000),
        None if x.key is None else x.key.id,
        None if target is None else target.slug,
        None if target is None else target.provider.name,
        x.model,
        x.dialect.value,
        x.path,
        None,
        *_NO_COUNTS,
        len(x.attempts),
        int(x.streamed),
        None,
        None,
        PENDING,
        x.trace_id,
        x.model,
        x.config,
        *(None,) * 8,
        _details(None, x.method),
        None,
    )


def _last(x: Exchange) -> Attempt | None:
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


def _wasted(x: Exchange, last: Attempt | None) -> float | None:
    """What attempts cost that brought nothing: failed after they were counted, or lost against another."""
    if len(x.attempts) < 2:
        return None
    costs = [cost for each in x.attempts if each is not last and (cost := _cost(x, each)) is not None]
    return sum(costs) if costs else None


def _tries(x: Exchange) -> str | None:
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


def _details(usage: Usage | None, method: str) -> str | None:
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
