"""What a `Form` is, and what the forms of several dialects share."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from adapters import estimate
from adapters.errors import InvalidRequest
from adapters.framing.sse import Event, Events
from adapters.types import Usage
from adapters.values import UNREADABLE

_STREAM_LIMIT = 64 << 20

Json = dict[str, Any]

_decode = msgspec.json.Decoder(Json).decode
encode = msgspec.json.Encoder().encode


class Assembled(msgspec.Struct, frozen=True, gc=False):
    """A whole answer made of a stream. `estimated`: the provider counted no tokens there, so its usage is a guess."""

    body: bytes
    estimated: bool = False


class Form(Protocol):
    """One dialect's answers as streams and as wholes."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """A complete stream as a whole answer; None if it may not be kept or is not readable. Never raises.

        `usage` is what the provider counted, where the stream does not tell its client.
        """

    def keeps(self, body: bytes) -> bool:
        """Whether a whole answer may be kept: readable, no error, no tool called. Never raises."""

    def events(self, body: bytes, request: bytes) -> bytes:
        """A kept answer as the whole event stream that `request` would have had."""


class Plain:
    """Answers that are never streamed."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """None."""
        return None

    def keeps(self, body: bytes) -> bool:
        """Whether it is an object without an error."""
        answer = read(body)
        return answer is not None and answer.get("error") is None

    def events(self, body: bytes, request: bytes) -> bytes:
        """The same bytes."""
        return body


def read(body: bytes) -> Json | None:
    """A JSON object, or None where there is none."""
    try:
        return _decode(body)
    except UNREADABLE:
        return None


def cut(stream: bytes) -> list[Event]:
    """The events of a whole stream."""
    events = Events(_STREAM_LIMIT)
    return events.feed(stream) + events.close()


def told(usage: Usage) -> Json:
    """Counted tokens in OpenAI's words."""
    said: Json = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }
    if usage.cached:
        said["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning:
        said["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return said


def guessed_input(request: bytes) -> int:
    """About how many tokens a request has, for answers whose provider did not say."""
    try:
        return max(1, estimate.input_tokens(request))
    except InvalidRequest:
        return 1


def guessed_output(text: str) -> int:
    """About how many tokens an answer has."""
    return max(1, len(text.encode("utf-8", "replace")) // 4)


class _Parts(list[str]):
    """A string under way. Adding strings to one another, fragment by fragment, would take the square of its length."""


def grow(into: Json, part: Json) -> None:
    """Adds a delta: strings and lists grow, objects grow inside, and of everything else the last one counts."""
    for name, value in part.items():
        before = into.get(name)
        if isinstance(value, str) and name not in _NAMES:
            if isinstance(before, _Parts):
                before.append(value)
            else:
                into[name] = _Parts((value,) if not isinstance(before, str) else (before, value))
        elif isinstance(value, list):
            into[name] = value if not isinstance(before, list) else [*before, *value]
        elif isinstance(before, dict) and isinstance(value, dict):
            grow(before, value)
        elif value is not None or name not in into:
            into[name] = value


def grown(value: Any) -> Any:
    """What grew, with its strings whole."""
    if isinstance(value, _Parts):
        return "".join(value)
    if isinstance(value, dict):
        return {name: grown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [grown(item) for item in value]
    return value


_NAMES = frozenset(("id", "name", "object", "role", "type"))
