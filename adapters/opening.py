"""When a stream has begun in earnest: its first event that says something of the answer, or an error.

Providers open streams before they know whether they can serve them: with the role of a message without any text, the
start of a message, a ping. Until something follows, nothing is lost by asking somebody else. A stream's first events
are looked at here, in the client's dialect; once one of them has said something, no other is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from adapters import google_errors, openai_errors
from adapters.anthropic.wire import ERRORS
from adapters.errors import UpstreamError
from adapters.types import Dialect
from adapters.values import UNREADABLE


class Opening(NamedTuple):
    """What some events of a stream's beginning say: whether there is anything to tell, and if it is an `error`."""

    begun: bool = False
    error: UpstreamError | None = None


NOTHING = Opening()
BEGUN = Opening(True)

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2,}")
_LINE = re.compile(rb"\r\n|\n|\r")


def look(dialect: Dialect, events: bytes) -> Opening:
    """Looks at whole events, the first ones of a stream or those that follow them. Never raises."""
    empty = _EMPTY.get(dialect)
    if empty is None:
        if b'"error"' not in events:
            return BEGUN if events.strip() else NOTHING
        empty = _never
    for name, data in events_in(events):
        if data == b"[DONE]":
            return BEGUN
        try:
            value = _decode(data)
        except UNREADABLE:
            return BEGUN
        if name == b"error" or value.get("error") or value.get("type") == "error":
            found = error_in(dialect, data)
            return BEGUN if found is None else Opening(True, found)
        if not empty(value):
            return BEGUN
    return NOTHING


def error_in(dialect: Dialect, data: bytes) -> UpstreamError | None:
    """The error that an event, or a whole answer under a 200, of this dialect is, if it is one. Never raises."""
    found = google_errors.find(data) if dialect.family in _GOOGLES else None
    if found is not None:
        return found
    found = openai_errors.read_event(data)
    return None if found is None else in_dialect(dialect, found)


_GOOGLES = ("gemini", "gemini_array")


def in_dialect(dialect: Dialect, error: UpstreamError) -> UpstreamError:
    """The error with what its type means to the dialect's provider."""
    if dialect.family == "anthropic" and error.type in ERRORS:
        kind, status = ERRORS[error.type]
        return msgspec.structs.replace(error, kind=kind, status=status)
    return error


def events_in(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and data of each event of a piece of a stream; comments are none."""
    for block in _BLANK.split(text):
        name, data = b"", []
        for line in _LINE.split(block):
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if field == b"event":
                name = value
            elif field == b"data":
                data.append(value)
        if data:
            yield name, b"\n".join(data)


# -- whether an event says nothing yet


def _never(event: Mapping[str, Any]) -> bool:
    return False


def _chat(event: Mapping[str, Any]) -> bool:
    choices = event.get("choices")
    return not choices or (isinstance(choices, list) and all(map(_empty_choice, choices)))


def _empty_choice(choice: Any) -> bool:
    if not isinstance(choice, dict) or choice.get("finish_reason") or choice.get("text"):
        return False
    delta = choice.get("delta")
    return not isinstance(delta, dict) or not any(value for name, value in delta.items() if name != "role")


def _messages(event: Mapping[str, Any]) -> bool:
    kind = event.get("type")
    if kind == "content_block_start":
        block = event.get("content_block")
        return isinstance(block, dict) and not any(block.get(name) for name in ("text", "thinking", "data", "content"))
    return kind in ("message_start", "ping")


def _responses(event: Mapping[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and kind in _RESPONSES


_RESPONSES = frozenset(
    (
        "response.created", "response.queued", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.reasoning_summary_part.added", "keepalive",
    )
)  # fmt: skip
_EMPTY: dict[Dialect, Callable[[Mapping[str, Any]], bool]] = {
    Dialect.OPENAI_CHAT: _chat,
    Dialect.OPENAI_COMPLETIONS: _chat,
    Dialect.OPENAI_RESPONSES: _responses,
    Dialect.ANTHROPIC_MESSAGES: _messages,
}
"""Dialects that are not here have no such events: their streams begin with their first event."""
