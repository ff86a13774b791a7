"""Whether what passes untouched under a 200 is an answer at all.

Usage proves it, and nearly all answers have some. Beyond that every JSON object passes: hosts that imitate a dialect
leave out what they like. Of an answer whose end has not come, as its beginning is on its way to the client, only the
first byte is looked at.
"""

from __future__ import annotations

import msgspec

from adapters import openai_errors
from adapters.errors import Kind, UpstreamError
from adapters.opening import in_dialect
from adapters.types import Dialect
from adapters.values import UNREADABLE

_OBJECTS = frozenset(
    (
        *(Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_EMBEDDINGS),
        *(Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE),
    )
)
"""Dialects whose answers are JSON objects, or streams."""
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_JSON = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider's answer is no JSON object; is its address right?")


def failure(dialect: Dialect, body: bytes, *, whole: bool = True) -> UpstreamError | None:
    """What is wrong with an answer of this dialect under a 200; None where nothing is, as far as it goes. It may be the
    provider's own error. Never raises."""
    if dialect not in _OBJECTS:
        return None
    if not whole:
        return None if body.lstrip()[:1] in (b"{", b"") else _NOT_JSON
    try:
        _decode(body)
    except UNREADABLE:
        return _NOT_JSON
    return error_in(dialect, body)


def error_in(dialect: Dialect, body: bytes) -> UpstreamError | None:
    """The provider's own error that an answer of this dialect under a 200 is, if it is one. Never raises."""
    error = openai_errors.read_event(body)
    return None if error is None else in_dialect(dialect, error)
