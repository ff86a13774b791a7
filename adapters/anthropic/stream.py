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

from adapters.anthropic.response import answers_by_tool, cited, event_error, wish_of
from adapters.anthropic.wire import (
    ABSENT,
    FINISH,
    JSON_TOOL,
    NULL,
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    Empty,
    ErrorBody,
    MessageDelta,
    MessageStart,
    RawBlockDelta,
    Typed,
    counted,
    told,
)
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.types import Call, bodiless

_encode = msgspec.json.Encoder().encode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_raw_delta = msgspec.json.Decoder(RawBlockDelta).decode
_decode_type = msgspec.json.Decoder(Typed).decode

_NO_INPUT = (ABSENT, Raw(b"{}"))


class _Tool:
    """A tool_use block under way. `number` counts the client's tool calls; None marks the tool that is the answer."""

    __slots__ = ("bare", "number")

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.bare = True


class MessagesStream(Machine):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = (
        "_answered",
        "_blocks",
        "_by_tool",
        "_call",
        "_calls",
        "_finished",
        "_head",
        "_include_usage",
        "_legacy",
        "_opened_at",
        "_said",
        "_strict",
        "_tail",
        "_text_head",
        "_text_tail",
        "_tools",
    )

    def __init__(self, call: Call) -> None:
        wish = wish_of(call)
        options = wish.stream_options
        super().__init__()
        self._call = bodiless(call)
        self._strict = call.strict
        self._blocks = call.shows_blocks
        self._include_usage = options is not None and bool(options.include_usage)
        self._by_tool = answers_by_tool(call, wish)
        self._legacy = wish.functions != NULL
        self._finished = False
        self._answered = False
        self._calls = 0
        self._said = self._opened_at = 0  # characters of text: in all, and before this block
        self._tools: dict[int, _Tool] = {}
        self._head = self._tail = self._text_head = self._text_tail = b""

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
        message = event.message
        if message.usage is not None:
            self.usage = counted(message.usage, self.usage)
        if self._head:
            # Seen from servers that repeat the event.
            return
        call = self._call
        provider = b"" if self._strict else b'"provider":"anthropic",'
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,%b"choices":[' % (
            _encode(message.id or f"chatcmpl-{call.id}"),
            call.created,
            _encode(message.model or call.model),
            provider,
        )
        usage = b',"usage":null' if self._include_usage else b""
        self._tail = b',"finish_reason":null}]%b}\n\n' % usage
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._text_tail = b"}" + self._tail
        self._send(b'{"role":"assistant","content":""}', out)

    def _send(self, delta: bytes, out: list[bytes]) -> None:
        out.append(b'%b{"index":0,"delta":%b%b' % (self._head, delta, self._tail))

    def _on_block(self, event: BlockStart, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        block = _decode_block(event.content_block)
        self._opened_at = self._said
        if block.type != "tool_use":
            self._extend(event.index, event.content_block, out)
        elif self._by_tool and block.name == JSON_TOOL:
            self._answered = True
            self._tools[event.index] = _Tool(None)
        else:
            tool = self._tools[event.index] = _Tool(self._calls)
            self._calls += 1
            function = b'{"name":%b,"arguments":""}' % _encode(block.name)
            if not self._legacy:
                call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
                self._send(call % (tool.number, _encode(block.id), function), out)
            elif tool.number == 0:
                self._send(b'{"function_call":%b}' % function, out)
            if block.input not in _NO_INPUT:
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
            self._cite(event, data, out)
        elif delta.type == "input_json_delta" and event.index in self._tools:
            self._argue(self._tools[event.index], delta.partial_json, out)
        elif self._blocks:
            self._extend(event.index, _fields_of(data), out)

    def _cite(self, event: BlockDelta, data: bytes, out: list[bytes]) -> None:
        """A source of the block's text, which came before it."""
        citation = event.delta.citation
        annotations = cited((citation,), self._opened_at, self._said) if citation is not None else []
        told = [b'"annotations":' + _encode(annotations)] if annotations else []
        if self._blocks:
            told.append(b'"content_blocks":[{"index":%d,"delta":%b}]' % (event.index, _one_line(_fields_of(data))))
        if told:
            self._send(b"{%b}" % b",".join(told), out)

    def _on_block_stop(self, event: BlockStop, data: bytes, out: list[bytes]) -> None:
        tool = self._tools.pop(event.index, None)
        if tool is not None and tool.bare:
            # A call without arguments: no fragments came, and an empty string is not JSON to the client.
            self._argue(tool, "{}", out)

    def _argue(self, tool: _Tool, fragment: str, out: list[bytes]) -> None:
        if not fragment:
            return
        tool.bare = False
        text = _encode(fragment)
        if tool.number is None:
            out += (self._text_head, text, self._text_tail)
        elif not self._legacy:
            self._send(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (tool.number, text), out)
        elif tool.number == 0:
            self._send(b'{"function_call":{"arguments":%b}}' % text, out)

    def _extend(self, index: int, fields: Raw, out: list[bytes]) -> None:
        if not self._blocks:
            return
        self._send(b'{"content_blocks":[{"index":%d,"delta":%b}]}' % (index, _one_line(fields)), out)

    def _on_message_delta(self, event: MessageDelta, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        if event.usage is not None:
            self.usage = counted(event.usage, self.usage)
        if event.delta.stop_reason:
            self._finish(event.delta.stop_reason, out)

    def _finish(self, reason: str | None, out: list[bytes]) -> None:
        if self._finished:
            return
        self._finished = True
        if self._answered and not self._calls and reason == "tool_use":
            # The client never asked for a tool: to it this is an answer that came to its end.
            reason = "end_turn"
        elif reason is None and self._calls:
            reason = "tool_use"
        finish = FINISH.get(reason, "stop") if self._strict or reason is None else reason
        if finish == "tool_calls" and self._legacy:
            finish = "function_call"
        usage = b""
        if self._include_usage:
            usage = b',"usage":null'
        elif not self._strict and self.usage is not None:
            usage = b',"usage":%b' % _encode(told(self.usage, strict=False))
        out.append(b'%b{"index":0,"delta":{},"finish_reason":%b}]%b}\n\n' % (self._head, _encode(finish), usage))

    def _on_stop(self, event: Empty, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        self._finish(None, out)
        if self._include_usage and self.usage is not None:
            out.append(b'%b],"usage":%b}\n\n' % (self._head, _encode(told(self.usage, not self._blocks))))
        out.append(b"data: [DONE]\n\n")
        self._end()

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
    """The JSON, which the upstream may have spread over several lines: within an event of ours that would end it."""
    text = bytes(fields)
    text.decode()
    return msgspec.json.format(text, indent=-1) if b"\n" in text else text


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
