"""How a stream that passed through untouched has ended: with an answer, or with its provider's error.

Errors within a stream come last, so its tail tells, and it is looked at once, when the stream is over. OpenAI's
imitators end theirs in several ways: with the error alone, with `[DONE]` behind it, or with a last chunk that has an
`error` beside its choices (https://openrouter.ai/docs/api/reference/errors-and-debugging).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import openai_errors
from adapters.errors import Kind, UpstreamError
from adapters.observe import Tap
from adapters.opening import events_in, in_dialect
from adapters.types import Dialect
from adapters.values import UNREADABLE

_LAST = 3  # events that are looked at: usage or an empty one may follow an error

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def failure(dialect: Dialect, tap: Tap) -> UpstreamError | None:
    """The provider's own error that ended a stream; None where it ended well, or merely broke off. Never raises."""
    tail = tap.tail()
    if b"error" in tail:
        said = [event for event in events_in(tail) if event[1] != b"[DONE]"][-_LAST:]
        for name, data in reversed(said):
            error = _error(name, data)
            if error is not None:
                return in_dialect(dialect, error)
    # One too long to be kept was seen all the same.
    return _UNREAD if tap.failed() else None


def remark(dialect: Dialect, rest: bytes) -> UpstreamError | None:
    """The provider's error where a stream's last words are no event but plain JSON, as Google's servers put it; None
    where they are anything else. Never raises."""
    if rest.lstrip()[:1] not in (b"{", b"["):
        return None
    error = openai_errors.read_event(rest)
    return None if error is None else in_dialect(dialect, error)


def _error(name: bytes, data: bytes) -> UpstreamError | None:
    if b"error" not in data and name != b"error":
        return None
    try:
        value = _decode(data)
    except UNREADABLE:
        return None  # the rest of an event whose beginning is gone, or none of this language
    if value.get("type") == "response.failed":
        response = value.get("response")
        error = response.get("error") if isinstance(response, Mapping) else None
        return openai_errors.read_event(msgspec.json.encode({"error": error})) or _UNREAD
    if name == b"error" or value.get("error") or value.get("type") == "error" or value.get("object") == "error":
        return openai_errors.read_event(data)
    return None


_UNREAD = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider ended the stream with an error.")
