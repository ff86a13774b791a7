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

from adapters.anthropic.response import finish_of
from adapters.anthropic.wire import JSON_TOOL
from adapters.bedrock.citations import Citation, annotations_of, told
from adapters.bedrock.response import answers_by_tool, event_error
from adapters.bedrock.said import ANSWERS
from adapters.bedrock.wire import BlockDelta, BlockStart, BlockStop, Metadata, Nothing, Stop, counted, opened
from adapters.chat.response import wish_of
from adapters.chat.stream import OneChoice
from adapters.errors import NO_WORD
from adapters.framing.eventstream import FAILED, Frames
from adapters.framing.sse import Event
from adapters.types import Call

_encode = msgspec.json.Encoder().encode


class ConverseStream(OneChoice):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_begun", "_cited", "_cited_at", "_opened_at", "_reason", "_said", "_shown", "_stopped")

    framing = Frames
    provider = b"bedrock"
    answers = ANSWERS

    def __init__(self, call: Call) -> None:
        wish = wish_of(call)
        super().__init__(call, wish, JSON_TOOL if answers_by_tool(call, wish) else None)
        self._begun = self._stopped = False
        self._reason: str | None = None
        self._shown: set[int] = set()
        self._said = self._opened_at = 0  # characters of text: in all, and before this block
        self._cited: list[Citation] = []
        """The sources of the block of index `_cited_at`, until it is known how far its text goes."""
        self._cited_at = 0
        self._name(None, None)

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
                act(self, decode(data), data, out)
            elif name[:1] == FAILED:
                self._end(event_error(name[1:], data))
            if self._over:
                return

    def _on_start(self, event: Nothing, data: bytes, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            self._tell_role(out)

    def _on_block(self, event: BlockStart, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"contentBlockStart"), data)
        use = event.start.tool_use
        if use is not None:
            self._begin_call(event.content_block_index, use.tool_use_id, use.name, out)

    def _on_delta(self, event: BlockDelta, data: bytes, out: list[bytes]) -> None:
        delta = event.delta
        said = delta.text
        if said is not None:
            text = _encode(said)
            self._said += len(said)
            if self._blocks:
                self._first(event.content_block_index, b'{"type":"text","text":""}', out)
                block = b',"content_blocks":[{"index":%d,"delta":{"text":%b}}]' % (event.content_block_index, text)
                out += (self._text_head, text, block, self._text_tail)
            else:
                out += (self._text_head, text, self._text_tail)
        elif delta.tool_use is not None:
            tool = self._tools.get(event.content_block_index)
            if tool is not None:
                self._argue(tool, delta.tool_use.input, out)
        elif delta.citation is not None:
            self._heed(self._looks.get(b"contentBlockDelta"), data)
            self._cited.append(delta.citation)
            self._cited_at = event.content_block_index
        elif delta.reasoning_content is not None and self._blocks:
            reasoning, index = delta.reasoning_content, event.content_block_index
            if reasoning.redacted_content is not None:
                hidden = _encode(opened(reasoning.redacted_content))
                self._first(index, b'{"type":"redacted_thinking","data":%b}' % hidden, out)
                return
            self._first(index, b'{"type":"thinking","thinking":""}', out)
            if reasoning.text:
                self._extend(index, b'{"thinking":%b}' % _encode(reasoning.text), out)
            if reasoning.signature:
                self._extend(index, b'{"signature":%b}' % _encode(reasoning.signature), out)
        else:
            self._heed(self._looks.get(b"contentBlockDelta"), data)

    def _on_block_stop(self, event: BlockStop, data: bytes, out: list[bytes]) -> None:
        if self._cited:
            self._cite(out)
        self._opened_at = self._said
        self._end_call(event.content_block_index, out)

    def _cite(self, out: list[bytes]) -> None:
        """Tells the sources of a block's text."""
        cited, self._cited = self._cited, []
        annotations = annotations_of(cited, self._opened_at, self._said)
        parts = [b'"annotations":' + _encode(annotations)] if annotations else []
        sources = list(map(told, cited)) if self._blocks else []
        if sources:
            self._first(self._cited_at, b'{"type":"text","text":""}', out)
            blocks = [b'{"index":%d,"delta":{"citation":%b}}' % (self._cited_at, _encode(each)) for each in sources]
            parts.append(b'"content_blocks":[%b]' % b",".join(blocks))
        if parts:
            self._send(b"{%b}" % b",".join(parts), out)

    def _first(self, index: int, delta: bytes, out: list[bytes]) -> None:
        """Begins a block for the client, unless that is done."""
        if index not in self._shown:
            self._shown.add(index)
            self._extend(index, delta, out)

    def _on_stop(self, event: Stop, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"messageStop"), data)
        if not (event.stop_reason or self._said or self._calls or self._answered):
            self._fail(NO_WORD)
            return
        self._stopped = True
        self._reason = event.stop_reason
        if self.usage is not None:
            self._complete(out)

    def _on_metadata(self, event: Metadata, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"metadata"), data)
        if event.usage is not None:
            self.usage = counted(event.usage, event.service_tier)
        if self._stopped:
            self._complete(out)

    def _complete(self, out: list[bytes]) -> None:
        if self._cited:
            self._cite(out)
        answered = self._answered and not self._calls
        self._tell_finish(finish_of(self._reason, self._call.strict, answered=answered, legacy=self._legacy), out)
        self._tell_end(out)


_Act = Callable[[ConverseStream, Any, bytes, list[bytes]], None]

_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"messageStart": (msgspec.json.Decoder(Nothing).decode, ConverseStream._on_start),
    b"contentBlockStart": (msgspec.json.Decoder(BlockStart).decode, ConverseStream._on_block),
    b"contentBlockDelta": (msgspec.json.Decoder(BlockDelta).decode, ConverseStream._on_delta),
    b"contentBlockStop": (msgspec.json.Decoder(BlockStop).decode, ConverseStream._on_block_stop),
    b"messageStop": (msgspec.json.Decoder(Stop).decode, ConverseStream._on_stop),
    b"metadata": (msgspec.json.Decoder(Metadata).decode, ConverseStream._on_metadata),
}
