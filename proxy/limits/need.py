"""What a request may use, guessed before it is sent: worst case, cheaply, from its body."""

from __future__ import annotations

import re

import msgspec

from adapters.pieces import asked_for
from adapters.types import Dialect, Rare
from adapters.values import UNREADABLE
from proxy.prices import DEARER, DEAREST

_BYTES_PER_TOKEN = 4
_IMAGE = 1600  # tokens for each run of base64, whatever its size
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{1024,}")
_MOST = 1 << 32  # tokens: more than any answer has, and still a number that budgets can add up
OUTPUT = 4096
"""Tokens that an answer is taken to have at most where the request sets no limit."""
_DRAWS = b"image_generation"
_PASSES = Dialect.PASSTHROUGH
_MESSAGES = Dialect.ANTHROPIC_MESSAGES
_NO_OUTPUT = frozenset((Dialect.OPENAI_EMBEDDINGS, Dialect.ANTHROPIC_COUNT_TOKENS))


class _Generation(msgspec.Struct):
    maxOutputTokens: int | None = None


class _Limits(msgspec.Struct):
    service_tier: str | None = None
    speed: str | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    max_tokens_to_sample: int | None = None
    generationConfig: _Generation | None = None
    n: int | None = None


_decode = msgspec.json.Decoder(_Limits).decode


class Need(msgspec.Struct, frozen=True, gc=False):
    """Tokens: `input` from the body's length, `output` as limited by the request, or `OUTPUT` (`capped` False). `sure`
    are both, where a rate that is not smaller takes just that; -1: it depends on the rate. `asked` is what it may use
    beside tokens; None: nothing, and neither a service `tier` that answers sooner nor a cache that lasts an hour
    (`lasting`)."""

    input: int
    output: int
    capped: bool
    sure: int = -1
    asked: Rare | None = None
    tier: str | None = None
    lasting: bool = False


def of(body: bytes, dialect: Dialect, path: str = "") -> Need:
    """What a request may use. Never raises: a body that cannot be read is refused elsewhere."""
    size = len(body)
    if size > 4096:
        if dialect is _PASSES and body[:1] != b"{":
            return Need(0, OUTPUT, False, -1, asked_for(body, dialect, path))  # a form: most of it is no text
        runs = _BASE64.findall(body)
        size += sum(_IMAGE * _BYTES_PER_TOKEN - len(run) for run in runs)
    tokens = -(-size // _BYTES_PER_TOKEN)
    asked = None
    # Words without one of which `asked_for` finds nothing, whatever their first letter is.
    if (
        b"earch" in body or b"aps" in body or b"nterpreter" in body or b'"shell"' in body or _DRAWS in body
        or dialect is _PASSES
    ):  # fmt: skip
        asked = asked_for(body, dialect, path)
    if dialect in _NO_OUTPUT:
        return Need(tokens, 0, True)
    try:
        given = _decode(body)
    except UNREADABLE:
        return Need(tokens, OUTPUT, False, -1, asked)
    limit = given.max_completion_tokens or given.max_tokens or given.max_output_tokens or given.max_tokens_to_sample
    if not limit and given.generationConfig is not None:
        limit = given.generationConfig.maxOutputTokens
    choices = 1 if given.n is None or given.n < 1 else min(given.n, 128)
    if limit is None or limit < 0:
        need = Need(tokens, OUTPUT * choices, False, -1, asked)
    else:
        output = (limit if limit < _MOST else _MOST) * choices
        need = Need(tokens, output, True, tokens + output, asked)
    return need if given.service_tier is given.speed and dialect is not _MESSAGES else _dearer(need, given, body)


def _dearer(need: Need, given: _Limits, body: bytes) -> Need:
    """With what makes tokens dearer than they are as a rule, if a request asks for that."""
    tier = given.speed if given.speed in DEARER else given.service_tier
    tier, lasting = tier if tier in DEARER else None, b'"1h"' in body
    if tier is None and not lasting:
        return need
    return msgspec.structs.replace(need, asked=need.asked or DEAREST, tier=tier, lasting=lasting)
