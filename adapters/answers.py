"""Whether what passes untouched under a 200 is an answer at all.

Usage proves it, and nearly all answers have some. Beyond that every JSON object passes: hosts that imitate a dialect
leave out what they like. Of an answer whose end has not come, as its beginning is on its way to the client, only the
beginning is looked at: whether it is one of an object, and of an error, whose end then is waited for.
"""

from __future__ import annotations

import re

import msgspec

from adapters.errors import Kind, UpstreamError
from adapters.opening import error_in
from adapters.types import Dialect
from adapters.values import UNREADABLE

_OBJECTS = frozenset(
    (
        *(Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_EMBEDDINGS),
        *(Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE),
    )
)
"""Dialects whose answers are JSON objects, or streams."""
_ERROR = re.compile(
    rb'\s*\[?\s*\{\s*"(?:error|errors|message|detail|msg|status|code|statusCode|success|'
    rb'(?:type|object)"\s*:\s*"error)"'
)
"""How errors begin, in any of the shapes that `openai_errors` reads. Hardly any answer begins so."""
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_JSON = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider's answer is no JSON object; is its address right?")


def begins_error(dialect: Dialect, body: bytes) -> bool:
    """Whether an answer of this dialect whose beginning this is may be an error."""
    return (dialect in _OBJECTS or dialect is Dialect.GEMINI_STREAM_ARRAY) and _ERROR.match(body) is not None


def failure(dialect: Dialect, body: bytes, *, whole: bool = True) -> UpstreamError | None:
    """What is wrong with an answer of this dialect under a 200; None where nothing is, as far as it goes. It may be the
    provider's own error. Never raises."""
    if dialect is Dialect.GEMINI_STREAM_ARRAY:
        return error_in(dialect, body) if whole and begins_error(dialect, body) else None
    if dialect not in _OBJECTS:
        return None
    if not whole:
        return None if body.lstrip()[:1] in (b"{", b"") else _NOT_JSON
    try:
        _decode(body)
    except UNREADABLE:
        return error_in(dialect, body) or _NOT_JSON
    return error_in(dialect, body)
