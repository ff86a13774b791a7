"""Whether a whole answer that passes untouched is an answer at all.

Usage proves it, and nearly all answers have some. Hosts that imitate a dialect leave out much, so one field is enough
else: without it no client of the dialect could make anything of the answer. Of one whose end has not come, as its
beginning is on its way to the client, only the first byte is looked at.
"""

from __future__ import annotations

import msgspec

from adapters import openai_errors
from adapters.errors import Kind, UpstreamError
from adapters.opening import in_dialect
from adapters.types import Dialect
from adapters.values import UNREADABLE

_FIELDS: dict[Dialect, tuple[str, ...]] = {
    Dialect.OPENAI_CHAT: ("choices",),
    Dialect.OPENAI_COMPLETIONS: ("choices",),
    Dialect.OPENAI_RESPONSES: ("output", "status"),
    Dialect.OPENAI_EMBEDDINGS: ("data", "embeddings"),
    Dialect.ANTHROPIC_MESSAGES: ("content",),
    Dialect.GEMINI_GENERATE: ("candidates", "promptFeedback"),
}
"""Of these fields an answer has one at least. Dialects that are not here may answer with any JSON."""
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_JSON = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider's answer is no JSON object.")


def failure(dialect: Dialect, body: bytes, *, whole: bool = True) -> UpstreamError | None:
    """What is wrong with an answer of this dialect under a 2xx; None where nothing is, as far as it goes. It may be the
    provider's own error. Never raises."""
    wanted = _FIELDS.get(dialect)
    if wanted is None:
        return None
    if not whole:
        return None if body.lstrip()[:1] in (b"{", b"") else _NOT_JSON
    try:
        answer = _decode(body)
    except UNREADABLE:
        return _NOT_JSON
    if any(name in answer for name in wanted):
        return None
    return error_in(dialect, body) or UpstreamError(
        Kind.BAD_UPSTREAM, 502, f"The provider's answer is none of {dialect}: it has no {' or '.join(wanted)}."
    )


def error_in(dialect: Dialect, body: bytes) -> UpstreamError | None:
    """The provider's own error that an answer of this dialect under a 2xx is, if it is one. Never raises."""
    error = openai_errors.read_event(body)
    return None if error is None else in_dialect(dialect, error)
