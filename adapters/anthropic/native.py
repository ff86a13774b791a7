"""Anthropic's own events on their way to Anthropic's own clients, where a cloud has wrapped them."""

from __future__ import annotations

import msgspec

from adapters.anthropic.response import event_error
from adapters.anthropic.wire import ErrorBody, MessageDelta, MessageStart, Typed
from adapters.claude_usage import counted, searched
from adapters.framing.machine import Machine

_decode_type = msgspec.json.Decoder(Typed).decode
_decode_start = msgspec.json.Decoder(MessageStart).decode
_decode_delta = msgspec.json.Decoder(MessageDelta).decode
_decode_error = msgspec.json.Decoder(ErrorBody).decode


class NativeStream(Machine):
    """Passes each event as it is, and looks at it for usage, errors and the end. Clouds differ in what is around it."""

    __slots__ = ()

    def _pass(self, event: bytes, out: list[bytes]) -> None:
        event.decode()
        kind = _decode_type(event).type
        if kind == "error":
            self._end(event_error(_decode_error(event)))
            return
        if kind == "message_start":
            usage = _decode_start(event).message.usage
            self.usage = self.usage if usage is None else counted(usage)
        elif kind == "message_delta":
            usage = _decode_delta(event).usage
            self.usage = self.usage if usage is None else counted(usage, self.usage)
        elif kind == "content_block_start":
            self.usage = searched(self.usage, event)
        if b"\n" in event:
            event = msgspec.json.format(event, indent=-1)
        out.append(b"event: %b\ndata: %b\n\n" % (kind.encode().replace(b"\n", b""), event))
        if kind == "message_stop":
            self._end()
