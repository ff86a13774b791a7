"""Completion events → text completion chunks.

This API ends a stream with an event that has a stop reason and no end marker after it; OpenAI's clients get `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.anthropic.response import event_error
from adapters.anthropic.wire import ErrorBody
from adapters.anthropic_text.wire import Answer, finish_of
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.lists_said import ANTHROPIC_COMPLETE
from adapters.types import Call, bodiless
from adapters.unsaid import client_of

_encode = msgspec.json.Encoder().encode


class _Typed(msgspec.Struct, gc=False):
    # The first version of this API named its events neither outside nor inside.
    type: str = "completion"


_decode_type = msgspec.json.Decoder(_Typed).decode


class CompleteStream(Machine):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`. `usage` stays None: the API tells none."""

    __slots__ = ("_call", "_head", "_look")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = bodiless(call)
        self._head = b""
        self._look = ANTHROPIC_COMPLETE.by(client_of(call)).get(b"")

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            entry = _TABLE.get(name or _decode_type(data).type.encode())
            if entry is None:
                continue
            decode, act = entry
            act(self, decode(data), data, out)
            if self._over:
                return

    def _on_completion(self, event: Answer, data: bytes, out: list[bytes]) -> None:
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
            self._heed(self._look, data)
            out.append(b"data: [DONE]\n\n")
            self._end()

    def _on_error(self, event: ErrorBody, data: bytes, out: list[bytes]) -> None:
        self._end(event_error(event))


_Act = Callable[[CompleteStream, Any, bytes, list[bytes]], None]

_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"completion": (msgspec.json.Decoder(Answer).decode, CompleteStream._on_completion),
    b"error": (msgspec.json.Decoder(ErrorBody).decode, CompleteStream._on_error),
}
