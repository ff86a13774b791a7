"""Completion events → text completion chunks.

This API ends a stream with an event that has a stop reason and no end marker after it; OpenAI's clients get `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.anthropic.wire import ERRORS, ErrorBody, Typed
from adapters.anthropic_text.wire import Answer, finish_of
from adapters.errors import TRAITS, Kind, UpstreamError
from adapters.framing.sse import Event, Events
from adapters.types import Call, Usage

_encode = msgspec.json.Encoder().encode
_decode_type = msgspec.json.Decoder(Typed).decode

_JUNK = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class CompleteStream:
    """Translates one streamed answer. See `adapters.types.StreamDecoder`. `usage` stays None: the API tells none."""

    __slots__ = ("_call", "_events", "_head", "_over", "error", "usage")

    def __init__(self, call: Call) -> None:
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None
        self._call = call
        self._events = Events()
        self._head = b""
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes from upstream; returns the chunks they complete. Never raises, see `error`."""
        if self._over:
            return b""
        out: list[bytes] = []
        events = self._events
        try:
            self._take(events.feed(data), out)
        except _JUNK:
            self._fail("The provider sent an event that is not of its dialect.")
        if events.overflow:
            self._fail("The provider sent an event that is too large.")
        return b"".join(out)

    def close(self) -> bytes:
        """The upstream ended. Without an event that has a stop reason before, that sets `error`."""
        if self._over:
            return b""
        out: list[bytes] = []
        try:
            self._take(self._events.close(), out)
        except _JUNK:
            # Half an event: the stream was cut, which is said below.
            pass
        self._fail("The upstream ended the stream early.")
        return b"".join(out)

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            entry = _TABLE.get(name or _decode_type(data).type.encode())
            if entry is None:
                continue
            decode, act = entry
            act(self, decode(data), out)
            if self._over:
                return

    def _fail(self, message: str) -> None:
        if not self._over:
            self._over = True
            self.error = UpstreamError(Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status, message)

    def _on_completion(self, event: Answer, out: list[bytes]) -> None:
        call = self._call
        if not self._head:
            self._head = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,%b"choices":[{"text":' % (
                _encode(event.log_id or event.id or f"cmpl-{call.id}"),
                call.created,
                _encode(event.model or call.model),
                b"" if call.strict else b'"provider":"anthropic",',
            )
        finish = b"null"
        if event.stop_reason:
            finish = _encode(finish_of(event.stop_reason, call.strict))
        out.append(self._head)
        out.append(b'%b,"index":0,"logprobs":null,"finish_reason":%b}]}\n\n' % (_encode(event.completion), finish))
        if event.stop_reason:
            out.append(b"data: [DONE]\n\n")
            self._over = True

    def _on_error(self, event: ErrorBody, out: list[bytes]) -> None:
        detail = event.error
        kind, status = ERRORS.get(detail.type) or (Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status)
        message = detail.message or "The provider reported an error within the stream and no message."
        self.error = UpstreamError(kind, status, message, detail.type)
        self._over = True


_Act = Callable[[CompleteStream, Any, list[bytes]], None]

_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"completion": (msgspec.json.Decoder(Answer).decode, CompleteStream._on_completion),
    b"error": (msgspec.json.Decoder(ErrorBody).decode, CompleteStream._on_error),
}
