"""Converse events → chat completion chunks.

One table: event type → (decoder, method). What a chunk has around its delta is built once; a text delta then costs one
decode of the event and one encode of its text. The stop reason comes before the usage, so the last chunk waits for it,
or for the stream's end.

With `strict` off, blocks also appear as `content_blocks` deltas `{"index": …, "delta": {…}}`: a block's beginning with
its type, then what is added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.anthropic.response import wish_of
from adapters.anthropic.wire import JSON_TOOL, NULL, told
from adapters.bedrock.response import answers_by_tool, event_error, finish_of
from adapters.bedrock.wire import BlockDelta, BlockStart, BlockStop, Metadata, Nothing, Stop, counted, opened
from adapters.framing.eventstream import FAILED, Frames
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.types import Call, bodiless

_encode = msgspec.json.Encoder().encode


class _Tool:
    """A tool call under way. `number` counts the client's tool calls; None marks the tool that is the answer."""

    __slots__ = ("bare", "number")

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.bare = True


class ConverseStream(Machine):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = (
        "_answered",
        "_begun",
        "_blocks",
        "_by_tool",
        "_calls",
        "_head",
        "_include_usage",
        "_legacy",
        "_reason",
        "_shown",
        "_stopped",
        "_strict",
        "_tail",
        "_text_head",
        "_text_tail",
        "_tools",
    )

    framing = Frames

    def __init__(self, call: Call) -> None:
        super().__init__()
        wish = wish_of(call)
        options = wish.stream_options
        self._strict = call.strict
        self._blocks = call.shows_blocks
        self._include_usage = options is not None and bool(options.include_usage)
        self._by_tool = answers_by_tool(call, wish)
        self._legacy = wish.functions != NULL
        self._begun = self._stopped = self._answered = False
        self._reason: str | None = None
        self._calls = 0
        self._tools: dict[int, _Tool] = {}
        self._shown: set[int] = set()
        call = bodiless(call)
        provider = b"" if call.strict else b'"provider":"bedrock",'
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,%b"choices":[' % (
            _encode(f"chatcmpl-{call.id}"),
            call.created,
            _encode(call.model),
            provider,
        )
        self._tail = b',"finish_reason":null}]%b}\n\n' % (b',"usage":null' if self._include_usage else b"")
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._text_tail = b"}" + self._tail

    def close(self) -> bytes:
        """The rest. Once the stop reason has come, an answer whose usage never does is whole all the same."""
        if self._over:
            return b""
        out: list[bytes] = []
        if self._stopped and not self._events.pending:
            self._complete(out)
        else:
            self._fail("The upstream ended the stream early.")
        return b"".join(out)

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            entry = _TABLE.get(name)
            if entry is not None:
                decode, act = entry
                act(self, decode(data), out)
            elif name[:1] == FAILED:
                self._end(event_error(name[1:], data))
            if self._over:
                return

    def _send(self, delta: bytes, out: list[bytes]) -> None:
        out.append(b'%b{"index":0,"delta":%b%b' % (self._head, delta, self._tail))

    def _on_start(self, event: Nothing, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            self._send(b'{"role":"assistant","content":""}', out)

    def _on_block(self, event: BlockStart, out: list[bytes]) -> None:
        use = event.start.tool_use
        if use is None:
            return
        if self._by_tool and use.name == JSON_TOOL:
            self._answered = True
            self._tools[event.content_block_index] = _Tool(None)
            return
        tool = self._tools[event.content_block_index] = _Tool(self._calls)
        self._calls += 1
        function = b'{"name":%b,"arguments":""}' % _encode(use.name)
        if not self._legacy:
            call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
            self._send(call % (tool.number, _encode(use.tool_use_id), function), out)
        elif tool.number == 0:
            self._send(b'{"function_call":%b}' % function, out)

    def _on_delta(self, event: BlockDelta, out: list[bytes]) -> None:
        delta = event.delta
        if delta.text is not None:
            text = _encode(delta.text)
            if self._blocks:
                self._first(event.content_block_index, b'"type":"text","text":""', out)
                block = b',"content_blocks":[{"index":%d,"delta":{"text":%b}}]' % (event.content_block_index, text)
                out += (self._text_head, text, block, self._text_tail)
            else:
                out += (self._text_head, text, self._text_tail)
        elif delta.tool_use is not None:
            tool = self._tools.get(event.content_block_index)
            if tool is not None:
                self._argue(tool, delta.tool_use.input, out)
        elif delta.reasoning_content is not None and self._blocks:
            reasoning, index = delta.reasoning_content, event.content_block_index
            if reasoning.redacted_content is not None:
                data = _encode(opened(reasoning.redacted_content))
                self._first(index, b'"type":"redacted_thinking","data":%b' % data, out)
                return
            self._first(index, b'"type":"thinking","thinking":""', out)
            if reasoning.text:
                self._extend(index, b'"thinking":%b' % _encode(reasoning.text), out)
            if reasoning.signature:
                self._extend(index, b'"signature":%b' % _encode(reasoning.signature), out)

    def _on_block_stop(self, event: BlockStop, out: list[bytes]) -> None:
        tool = self._tools.pop(event.content_block_index, None)
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

    def _first(self, index: int, fields: bytes, out: list[bytes]) -> None:
        """Begins a block for the client, unless that is done."""
        if index not in self._shown:
            self._shown.add(index)
            self._extend(index, fields, out)

    def _extend(self, index: int, fields: bytes, out: list[bytes]) -> None:
        self._send(b'{"content_blocks":[{"index":%d,"delta":{%b}}]}' % (index, fields), out)

    def _on_stop(self, event: Stop, out: list[bytes]) -> None:
        self._stopped = True
        self._reason = event.stop_reason
        if self.usage is not None:
            self._complete(out)

    def _on_metadata(self, event: Metadata, out: list[bytes]) -> None:
        if event.usage is not None:
            self.usage = counted(event.usage, event.service_tier)
        if self._stopped:
            self._complete(out)

    def _complete(self, out: list[bytes]) -> None:
        reason = self._reason
        if self._answered and not self._calls and reason == "tool_use":
            # The client never asked for a tool: to it this is an answer that came to its end.
            reason = "end_turn"
        finish = finish_of(reason, self._strict)
        if finish == "tool_calls" and self._legacy:
            finish = "function_call"
        usage = b""
        if self._include_usage:
            usage = b',"usage":null'
        elif not self._strict and self.usage is not None:
            usage = b',"usage":%b' % _encode(told(self.usage, strict=False))
        out.append(b'%b{"index":0,"delta":{},"finish_reason":%b}]%b}\n\n' % (self._head, _encode(finish), usage))
        if self._include_usage and self.usage is not None:
            out.append(b'%b],"usage":%b}\n\n' % (self._head, _encode(told(self.usage, self._strict))))
        out.append(b"data: [DONE]\n\n")
        self._end()


_Act = Callable[[ConverseStream, Any, list[bytes]], None]

_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"messageStart": (msgspec.json.Decoder(Nothing).decode, ConverseStream._on_start),
    b"contentBlockStart": (msgspec.json.Decoder(BlockStart).decode, ConverseStream._on_block),
    b"contentBlockDelta": (msgspec.json.Decoder(BlockDelta).decode, ConverseStream._on_delta),
    b"contentBlockStop": (msgspec.json.Decoder(BlockStop).decode, ConverseStream._on_block_stop),
    b"messageStop": (msgspec.json.Decoder(Stop).decode, ConverseStream._on_stop),
    b"metadata": (msgspec.json.Decoder(Metadata).decode, ConverseStream._on_metadata),
}
