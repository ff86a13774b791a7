"""Messages events → chat completion chunks.

One table: event name → (decoder, method). Names that are not in it, `ping` among them, are skipped: Anthropic adds
events and asks clients to expect that. What a chunk has around its delta is built once, when the message starts; a
text delta then costs one decode of the event and one encode of its text.

With `strict` off, blocks also appear as `content_blocks` deltas `{"index": …, "delta": {…}}`: a block's start whole,
its type included, then the fields that its deltas add.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic.response import answers_by_tool, cited, event_error, finish_of
from adapters.anthropic.said import ANSWERS
from adapters.anthropic.wire import (
    JSON_TOOL,
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    Citation,
    Empty,
    ErrorBody,
    MessageDelta,
    MessageStart,
    RawBlockDelta,
    Typed,
)
from adapters.chat.response import wish_of
from adapters.chat.stream import OneChoice
from adapters.claude_usage import counted, searched
from adapters.errors import NO_WORD
from adapters.framing.sse import Event
from adapters.types import Call
from adapters.values import ABSENT, on_one_line

_encode = msgspec.json.Encoder().encode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_raw_delta = msgspec.json.Decoder(RawBlockDelta).decode
_decode_type = msgspec.json.Decoder(Typed).decode

_CARRIED = ("thinking_delta", "signature_delta", "input_json_delta")
_NO_INPUT = (ABSENT, Raw(b"{}"))


class MessagesStream(OneChoice):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_citations", "_cited", "_finished", "_opened_at", "_said")

    provider = b"anthropic"
    answers = ANSWERS

    def __init__(self, call: Call) -> None:
        wish = wish_of(call)
        super().__init__(call, wish, JSON_TOOL if answers_by_tool(call, wish) else None)
        self._finished = False
        self._said = self._opened_at = 0  # characters of text: in all, and before this block
        self._cited: list[Citation] = []
        self._citations: list[bytes] = []
        """The sources of the block, which come before its text, and what `content_blocks` tell of them."""

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            entry = _TABLE.get(name)
            if entry is None:
                # Some servers of this dialect leave the event line out.
                entry = None if name else _TABLE.get(_decode_type(data).type.encode())
                if entry is None:
                    continue
            decode, act = entry
            act(self, decode(data), data, out)
            if self._over:
                return

    def _on_start(self, event: MessageStart, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"message_start"), data)
        message = event.message
        if message.usage is not None:
            self.usage = counted(message.usage, self.usage)
        if not self._head:  # some servers repeat the event
            self._name(message.id, message.model)
            self._tell_role(out)

    def _on_block(self, event: BlockStart, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        block = _decode_block(event.content_block)
        self._cite(out)
        self._heed(self._looks.get(b"content_block_start"), data)
        self._opened_at = self._said
        if block.type != "tool_use":
            self.usage = searched(self.usage, data)
            told = []
            if block.text:  # Anthropic begins with nothing; servers of its dialect may not
                self._said += len(block.text)
                told.append(b'"content":' + _encode(block.text))
            if self._blocks:
                start = (event.index, _one_line(event.content_block))
                told.append(b'"content_blocks":[{"index":%d,"delta":%b}]' % start)
            if told:
                self._send(b"{%b}" % b",".join(told), out)
            return
        tool = self._begin_call(event.index, block.id, block.name, out)
        if tool.number is not None and block.input not in _NO_INPUT:
            # Anthropic streams a tool's input; servers of its dialect may give it whole.
            self._argue(tool, str(block.input, "utf-8"), out)

    def _on_delta(self, event: BlockDelta, data: bytes, out: list[bytes]) -> None:
        delta = event.delta
        if not self._head:
            self._begun()
        elif delta.type == "text_delta":
            text = _encode(delta.text)
            self._said += len(delta.text)
            out.append(self._text_head)
            out.append(text)
            if self._blocks:
                out.append(b',"content_blocks":[{"index":%d,"delta":{"text":%b}}]' % (event.index, text))
            out.append(self._text_tail)
        elif delta.type == "citations_delta":
            self._heed(self._looks.get(b"citations_delta"), data)
            if delta.citation is not None:
                self._cited.append(delta.citation)
            if self._blocks:
                self._citations.append(b'{"index":%d,"delta":%b}' % (event.index, _one_line(_fields_of(data))))
        elif delta.type == "input_json_delta" and event.index in self._tools:
            self._argue(self._tools[event.index], delta.partial_json, out)
        elif self._blocks:
            if delta.type not in _CARRIED:
                self._heed(self._looks.get(b"content_block_delta"), data)
            self._extend(event.index, _one_line(_fields_of(data)), out)

    def _cite(self, out: list[bytes]) -> None:
        """Tells the sources of a block's text, once it is known how far that goes."""
        if not self._cited and not self._citations:
            return
        annotations = cited(self._cited, self._opened_at, self._said)
        told = [b'"annotations":' + _encode(annotations)] if annotations else []
        if self._citations:
            told.append(b'"content_blocks":[%b]' % b",".join(self._citations))
        self._cited, self._citations = [], []
        if told:
            self._send(b"{%b}" % b",".join(told), out)

    def _on_block_stop(self, event: BlockStop, data: bytes, out: list[bytes]) -> None:
        self._cite(out)
        self._end_call(event.index, out)

    def _on_message_delta(self, event: MessageDelta, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        self._heed(self._looks.get(b"message_delta"), data)
        if event.usage is not None:
            self.usage = counted(event.usage, self.usage)
        details = event.delta.stop_details
        if details is not None and details.explanation and not self._finished:
            self._send(b'{"refusal":%b}' % _encode(details.explanation), out)
        if event.delta.stop_reason:
            self._finish(event.delta.stop_reason, out)

    def _finish(self, reason: str | None, out: list[bytes]) -> None:
        if self._finished:
            return
        self._finished = True
        self._cite(out)
        if reason is None and self._calls:
            reason = "tool_use"
        answered = self._answered and not self._calls
        self._tell_finish(finish_of(reason, self._call.strict, answered=answered, legacy=self._legacy), out)

    def _on_stop(self, event: Empty, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        if not (self._finished or self._said or self._calls or self._answered):
            self._fail(NO_WORD)
            return
        self._finish(None, out)
        self._tell_end(out)

    def _on_error(self, event: ErrorBody, data: bytes, out: list[bytes]) -> None:
        self._end(event_error(event))

    def _begun(self) -> bool:
        if not self._head:
            self._fail("The provider's stream did not begin with message_start.")
        return not self._over


def _fields_of(data: bytes) -> Raw:
    fields = _decode_raw_delta(data).delta
    del fields["type"]
    return Raw(_encode(fields))


def _one_line(fields: Raw) -> bytes:
    text = on_one_line(fields)
    text.decode()
    return text


_Act = Callable[[MessagesStream, Any, bytes, list[bytes]], None]

_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"message_start": (msgspec.json.Decoder(MessageStart).decode, MessagesStream._on_start),
    b"content_block_start": (msgspec.json.Decoder(BlockStart).decode, MessagesStream._on_block),
    b"content_block_delta": (msgspec.json.Decoder(BlockDelta).decode, MessagesStream._on_delta),
    b"content_block_stop": (msgspec.json.Decoder(BlockStop).decode, MessagesStream._on_block_stop),
    b"message_delta": (msgspec.json.Decoder(MessageDelta).decode, MessagesStream._on_message_delta),
    b"message_stop": (msgspec.json.Decoder(Empty).decode, MessagesStream._on_stop),
    b"error": (msgspec.json.Decoder(ErrorBody).decode, MessagesStream._on_error),
}
