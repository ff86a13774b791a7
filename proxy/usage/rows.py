"""What one request comes to, and the ledger's row of it; columns as in `proxy.usage_columns`."""

from __future__ import annotations

import msgspec

from adapters.types import Usage
from proxy.exchange import Attempt, Exchange, Gaps
from proxy.trace import Span
from proxy.usage.alike import Alike, alike_of
from proxy.usage.details import delivered, details_of, tries_of, wasted
from proxy.usage_columns import OWN, PENDING, SHARED, Row

_ID, _TRACE, _COST = (OWN.index(name) for name in ("request_id", "trace_id", "cost"))
_WASTED, _TRIES = (SHARED.index(name) for name in ("wasted", "tries"))
_NOT_COUNTED = (None,) * (len(OWN) - 3)
_MILLION = 1_000_000.0
_encode = msgspec.json.Encoder().encode


class Settled(msgspec.Struct, gc=False, frozen=True):
    """What a finished request comes to, without a reference to it. Times are seconds.

    `row` is the ledger's, `alike` what the request has in common with others of its kind. What is not known is None,
    never nought. `overhead` is what the gateway itself took until the answer's first byte, of requests that went to a
    provider once and well; that of others is not to be told from waiting.
    """

    alike: Alike
    row: Row
    usage: Usage | None
    tries: list[Attempt]
    at: float
    started: float
    duration: float
    ttfb: float | None
    queued: float
    overhead: float | None
    span: Span | None
    dropped: tuple[str, ...]
    gaps: Gaps | None

    @property
    def request_id(self) -> str:
        """The request's id."""
        id: str = self.row[_ID]
        return id

    @property
    def trace_id(self) -> str:
        """The client's id for what the request is part of, or the request's own."""
        id: str = self.row[_TRACE]
        return id

    @property
    def cost(self) -> float | None:
        """What the delivered answer cost, in US dollars."""
        cost: float | None = self.row[_COST]
        return cost

    @property
    def wasted(self) -> float | None:
        """What attempts cost that brought nothing, in US dollars."""
        cost: float | None = self.row[-1][_WASTED]
        return cost

    @property
    def tries_json(self) -> str | None:
        """All attempts as JSON; None where there was one and it went well, or none."""
        text: str | None = self.row[-1][_TRIES]
        return text


def settled(x: Exchange, ended: float) -> Settled:
    """What an exchange comes to. `ended` is the monotonic clock."""
    leaf, attempts, sent, tags, usage = x.leaf, x.attempts, x.model, x.tags, x.usage
    began, first_byte, looked, queued = x.started, x.first_byte, x.read, x.queued
    overhead, cost, once, rare = None, None, False, x.saved is not None
    if len(attempts) == 1 and attempts[0].kind is None:
        once, sent = True, attempts[0].model or sent
        if first_byte and looked:
            overhead = first_byte - looked - x.upstream - queued
            if overhead < 0.0:
                overhead = 0.0
    elif attempts:
        rare, last = True, delivered(x)
        sent = (last and last.model) or sent
    if tags is None and (x.user or x.headers):
        tags = x.metadata  # nearly all requests bring none: one that has ended has no headers any more
    # What tells kinds of requests apart, beside their leaf.
    kind = (
        x.key, x.model, sent, x.path, x.dialect._value_, x.status, len(attempts), once, x.streamed, x.kind, x.cache,
        x.config, x.method, _encode(tags) if tags else None,
    )  # fmt: skip
    if leaf is not None:
        alike = leaf.alike.get(kind)
    else:
        known = None if x.key is None else x.key.alike
        alike = None if known is None else known.get(kind)
    if alike is None:
        alike = alike_of(x, kind, sent, once=once)
    prompt = output = cached = written = reasoning = None
    if usage is not None:
        prompt, output, cached = usage.input, usage.output, usage.cached
        written, reasoning, rates = usage.cache_write, usage.reasoning, alike.rates
        if (
            usage.tier is not None
            or usage.estimated
            or usage.cache_write_1h
            or usage.audio_input
            or usage.audio_output
            or usage.image_input
            or usage.image_output
            or usage.rare is not None
        ):
            rare = True
        if rates is None or rare or cached or written or reasoning or prompt < 1 or output < 0:
            cost = None if alike.price is None else alike.price.cost(usage)
        else:
            cost = (prompt * rates[0] + output * rates[1]) / _MILLION  # as `Price.cost` has it
    took, ttfb = ended - began, first_byte - began if first_byte else None
    shared = alike.unpriced if cost is None else alike.shared
    if rare:
        cost, shared = _unlike(x, alike, cost)
    return Settled(
        alike,
        (
            x.request_id,
            x.trace_id,
            int(x.at * 1000),
            int(took * 1e6),
            None if ttfb is None else int(ttfb * 1e6),
            cost,
            prompt,
            output,
            cached,
            written,
            reasoning,
            shared,
        ),
        usage,
        attempts,
        x.at,
        began,
        took,
        ttfb,
        queued,
        overhead,
        x.span,
        x.dropped,
        x.gaps,
    )


def _unlike(x: Exchange, alike: Alike, cost: float | None) -> tuple[float | None, Row]:
    """What a request cost that has something few of its kind have, and the columns that it would share."""
    price, saved, usage = alike.price, None, x.usage
    if x.saved is not None:  # the cache answered, and nobody was paid
        cost, saved = 0.0, None if price is None else price.cost(x.saved)
    shared = alike.unpriced if cost is None else alike.shared
    rest = (
        wasted(x, delivered(x)),
        saved,
        tries_of(x),
        details_of(usage, x.method),
        int(usage is not None and usage.estimated),
    )
    return cost, shared[: -len(rest)] + rest


def pending_of(x: Exchange) -> Row:
    """The row of an exchange that has begun and not ended: what remains if its worker is killed."""
    target = None if x.leaf is None else x.leaf.target
    shared = (
        None if x.key is None else x.key.id,
        None if target is None else target.slug,
        None if target is None else target.provider.name,
        x.model,
        x.dialect.value,
        x.path,
        None,
        len(x.attempts),
        int(x.streamed),
        PENDING,
        x.model,
        x.config,
        *(None,) * 7,
        details_of(None, x.method),
        None,
    )
    return (x.request_id, x.trace_id, int(x.at * 1000), *_NOT_COUNTED, shared)
