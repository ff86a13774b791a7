"""What requests have in common that went the same way and ended the same way: worked out for the first of them.

A gateway serves few kinds of requests, thousands of times each. So a leaf remembers what those that came to it were
like: names, status, outcome, the price of the model; and with them the columns that all their rows share. For those
that came to none, as what a limit refuses, their API key does.
"""

from __future__ import annotations

import msgspec

from proxy.exchange import Exchange
from proxy.prices import Price
from proxy.usage.details import details_of
from proxy.usage_columns import Row

_KINDS = 64  # of requests that a leaf or a key remembers; models and paths come from clients, so there is an end to it
_encode = msgspec.json.Encoder().encode

Kind = tuple[object, ...]
"""What tells kinds of requests apart, at one leaf or key."""


class Told(msgspec.Struct, omit_defaults=True, gc=False):
    """What a line of the access log says of a kind. `cache` is what the cache did, `where` the path in the config of
    the target that answered."""

    method: str
    path: str
    status: int
    attempts: int
    key: str | None = None
    target: str | None = None
    provider: str | None = None
    model: str | None = None
    stream: bool = False
    error: str | None = None
    cache: str | None = None
    where: str | None = None


class Alike(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What requests of one kind have in common.

    `shared` are the columns of `proxy.usage_columns.SHARED` of those whose cost is known, `unpriced` of others. `key`
    is the name of the API key, `model` the client's name for it, `sent_model` the one that the provider was asked for,
    `where` the path of the target in its config. `once`: a provider was asked, once, and answered well. `rates` are US
    dollars for a million tokens in and out, where these are all that there is to the `price`. `told` ends a line of the
    access log: a comma, `Told` without its first brace, and a line feed. What is not known is None.
    """

    shared: Row
    unpriced: Row
    price: Price | None
    rates: tuple[float, float] | None
    key: str | None
    target: str | None
    provider: str | None
    model: str | None
    sent_model: str | None
    dialect: str
    method: str
    path: str
    status: int
    streamed: bool
    once: bool
    outcome: str
    error: str | None
    cache: str | None
    config: str | None
    where: str | None
    told: bytes


def alike_of(x: Exchange, kind: Kind, sent: str | None, *, once: bool) -> Alike:
    """What an exchange has in common with others of its kind. `sent` is the model that the provider was asked for,
    `once` whether it was asked once and answered well."""
    leaf, key = x.leaf, x.key
    made = _made(x, sent, once=once)
    if leaf is not None:
        known = leaf.alike
    elif key is not None:
        known = key.alike = {} if key.alike is None else key.alike
    else:
        return made
    if len(known) >= _KINDS:
        known.clear()
    known[kind] = made
    return made


def _made(x: Exchange, sent: str | None, *, once: bool) -> Alike:
    leaf, key, tags = x.leaf, x.key, x.tags
    target = provider = where = price = None
    if leaf is not None:
        target, provider, where = leaf.target.slug, leaf.target.provider.name, leaf.where
        price = leaf.target.prices.find(sent) if sent else None
    if tags is None and key is not None and key.metadata:
        tags = x.metadata
    error = None if x.kind is None else x.kind.value
    before = (
        None if key is None else key.id,
        target,
        provider,
        sent,
        x.dialect.value,
        x.path,
        x.status,
        len(x.attempts),
        int(x.streamed),
        error or "ok",
        x.model,
        x.config,
        where,
        _encode(tags).decode() if tags else None,
        x.cache,
    )
    after = (None, None, None, details_of(None, x.method), 0)
    told = Told(
        x.method,
        x.path,
        x.status,
        len(x.attempts),
        None if key is None else key.name,
        target,
        provider,
        x.model,
        x.streamed,
        error,
        x.cache,
        None if where == "config" else where,
    )
    return Alike(
        (*before, None if price is None else price.id, *after),
        (*before, None, *after),
        price,
        None if price is None else price.rates,
        None if key is None else key.name,
        target,
        provider,
        x.model,
        sent,
        x.dialect.value,
        x.method,
        x.path,
        x.status,
        x.streamed,
        once,
        error or "ok",
        error,
        x.cache,
        x.config,
        where,
        b",%b\n" % _encode(told)[1:],
    )
