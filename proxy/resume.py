"""Streams that broke off, continued by the next target: only where the config asks for it."""

from __future__ import annotations

from adapters import pieces
from adapters.continuing import CLIENTS, Seam, Transcript, prefilled, way
from adapters.errors import InvalidRequest
from adapters.provider import matches
from adapters.quirks import Prefill
from adapters.types import Usage
from proxy.attempt import Attempts
from proxy.config.leaf import Leaf
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.outcome import Outcome
from proxy.relay import Events


def possible(x: Exchange, following: tuple[Leaf, ...], relay: object) -> bool:
    """Whether somebody could go on with this answer."""
    return bool(following) and x.dialect in CLIENTS and isinstance(relay, Events)


async def deliver(
    x: Exchange, relay: Events, status: int, head: bytes, following: tuple[Leaf, ...], attempts: Attempts
) -> None:
    """Delivers a stream, and where it breaks off, what the next targets make of the rest. The request's body is kept
    for that until the end. Sets the usage of all of them."""
    transcript = Transcript()
    relay.keep(transcript)
    body = x.body
    usage: Usage | None = None
    try:
        await relay.deliver(status, head)
        for leaf in following:
            if not relay.broken:
                break
            how = _way(x, leaf)
            outcome = None if how is None else await _rest(x, leaf, body, transcript, attempts)
            if how is None or outcome is None:
                continue
            try:
                further = outcome.relay
                assert isinstance(further, Events)
                usage, relay = _sum(usage, relay.usage), further
                x.leaf = leaf
                mark = b": loopway-continued %b\n\n" % leaf.where.encode()
                await further.carry_on(transcript, Seam(transcript, how.echoes), mark)
            finally:
                outcome.usage = relay.usage
                if relay.fault is not None:
                    outcome.broke(x, relay.fault, attempts.clock())
                outcome.close()
        if relay.broken:
            relay.give_up()
    finally:
        x.usage = _sum(usage, relay.usage)
        x.let_go()


def _way(x: Exchange, leaf: Leaf) -> Prefill | None:
    """How this target is asked for the rest; None where it cannot be."""
    asked = leaf.override_params.get("model", x.model)
    model = leaf.target.model_for(asked if isinstance(asked, str) else None)
    if model is None:
        return None
    try:
        wire = leaf.target.wire_for(x.dialect, model, x.streamed)
    except Refused:
        return None
    how = None if wire is None else way(wire.dialect, wire.quirks)
    if how is None or how.below not in ("", leaf.target.base_path):
        return None
    return how if not how.models or matches(model, how.models) else None


async def _rest(x: Exchange, leaf: Leaf, body: bytes, transcript: Transcript, attempts: Attempts) -> Outcome | None:
    """The next target's stream of the rest; None where it gives none."""
    try:
        x.body, x.prefilled = prefilled(body, transcript.text), True
        outcome = await attempts.once(x, leaf, "continued")
    except (InvalidRequest, Refused):
        return None
    relay = outcome.relay
    if 200 <= outcome.status < 300 and isinstance(relay, Events) and not relay.broken and relay.error is None:
        return outcome
    outcome.close()
    return None


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return Usage(
        one.input + other.input,
        one.output + other.output,
        one.cached + other.cached,
        one.cache_write + other.cache_write,
        one.reasoning + other.reasoning,
        estimated=one.estimated or other.estimated,
        rare=pieces.added(one.rare, other.rare),
    )
