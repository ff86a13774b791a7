"""Which requests are the same question.

Whose question it is comes first, as an argument nobody can leave out: the API key's id, or the group into which the
operator put several keys. Then everything that may change the answer. Parts are hashed with their lengths, so that no
two lists of parts run into one another.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import msgspec

from adapters.types import Dialect
from proxy import outbound
from proxy.config.leaf import Leaf
from proxy.config.snapshot import Key
from proxy.exchange import Exchange

_NOT_IN_KEY = ("stream", "stream_options")
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class _Unfit(ValueError):
    """A body that two readers may read differently."""


def scope_of(key: Key) -> bytes:
    """Whose answers these are. No two API keys share one but where the operator says so."""
    return f"group {key.cache_group}".encode() if key.cache_group else f"key {key.id}".encode()


def digest(scope: bytes, *parts: bytes) -> bytes:
    """The key of a question. `parts` are always given in the same order."""
    state = blake2b(digest_size=32)
    for part in (scope, *parts):
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def canonical(body: bytes) -> bytes | None:
    """A request's body in one spelling, without what only says how the answer shall be sent. None where the body has
    no single meaning: an object that names a field twice, a number beyond all numbers."""
    try:
        tree = json.loads(body, object_pairs_hook=_object)
        if not isinstance(tree, dict):
            return None
        for name in _NOT_IN_KEY:
            tree.pop(name, None)
        return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unfit
    return found


def key_of(x: Exchange, leaf: Leaf, model: str, body: bytes) -> bytes | None:
    """The key of what `x` asks at this leaf, with the model and body that would go there. None: it cannot be kept."""
    assert x.key is not None
    plain = canonical(body)
    if plain is None:
        return None
    namespace = x.headers.get(b"x-portkey-cache-namespace")
    return digest(
        scope_of(x.key),
        leaf.identity,
        leaf.target.fingerprint(),
        _dialect(x, model),
        b"strict" if outbound.strict(x, leaf) else b"",
        b"all or nothing" if outbound.all_or_nothing(x, leaf) else b"",
        b"".join(_lines(x, leaf)),
        plain,
        b"metadata " + _encode_sorted(x.metadata) if namespace is None else b"namespace " + namespace,
    )


def _dialect(x: Exchange, model: str) -> bytes:
    """The dialect, and the model where it is not in the body. An array is only a way of sending."""
    if x.path_model is None:
        return x.dialect.encode()
    dialect = Dialect.GEMINI_GENERATE if x.dialect is Dialect.GEMINI_STREAM_ARRAY else x.dialect
    return f"{dialect.value} {model}".encode()


def _lines(x: Exchange, leaf: Leaf) -> list[bytes]:
    """The request's own header lines that reach the provider; an idempotency key changes no answer."""
    lines = outbound.extra_lines(x, leaf, ()).splitlines(keepends=True)
    return [line for line in lines if not line.startswith(b"idempotency-key:")]
