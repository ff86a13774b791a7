"""Responses events → chat completion chunks.

One table: the event's type → (decoder, method). Types that are not in it are skipped: OpenAI adds some, and most tell
again what deltas told. Text is never decoded: what stands around it is built once.

With `strict` off, blocks also appear as `content_blocks` deltas `{"index": …, "delta": {…}}`: a block's start, its type
included, then what is added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters import counting, pieces
from adapters.chat.response import wish_of
from adapters.chat.stream import OneChoice, Tool
from adapters.framing.sse import Event
from adapters.packing import OPENAI_ITEM
from adapters.responses.response import call_id, cited, event_error, finish_of
from adapters.responses.said import ANSWERS
from adapters.responses.wire import (
    AnnotationEvent,
    Delta,
    Ended,
    ErrorEvent,
    Failure,
    Item,
    ItemEvent,
    Opened,
    Outcome,
    Signature,
    TextDelta,
    TextDone,
    Typed,
    Written,
    item_of,
)
from adapters.types import Call, Usage
from adapters.values import BRACKET, PARAGRAPH, QUOTE, first, on_one_line

_encode = msgspec.json.Encoder().encode
_decode_type = msgspec.json.Decoder(Typed).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode

_EMPTY_DELTA = Raw(b'""')
_BREAK = _encode(PARAGRAPH)


class _Block:
    """A content block under way: its place among the client's blocks, and the part of its item that it shows."""

    __slots__ = ("index", "part")

    def __init__(self, index: int, part: int) -> None:
        self.index = index
        self.part = part


class ResponsesStream(OneChoice):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_block_count", "_custom", "_open", "_part_start", "_phases")

    provider = b"openai"
    answers = ANSWERS

    def __init__(self, call: Call) -> None:
        super().__init__(call, wish_of(call))
        self._open: dict[int, _Block] = {}
        self._block_count = 0
        self._phases: dict[int, str] = {}
        self._custom: set[int] = set()
        self._part_start = 0  # characters of text before this part

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            entry = _TABLE.get(name or _decode_type(data).type.encode())
            if entry is None:
                continue
            if not data.isascii():
                # Text moves undecoded, so nothing else would notice broken UTF-8.
                data.decode()
            decode, act = entry
            act(self, decode(data), data, out)
            if self._over:
                return

    def _on_begin(self, event: Opened, data: bytes, out: list[bytes]) -> None:
        if not self._head:
            self._name(event.response.id, event.response.model)
            self._tell_role(out)

    def _begun(self) -> bool:
        if not self._head:
            self._fail("The provider's stream did not begin with response.created.")
        return not self._over

    # -- words

    def _on_text(self, event: Delta, data: bytes, out: list[bytes]) -> None:
        text = event.delta
        if first(text) != QUOTE or not self._begun():
            return
        out.append(self._text_head)
        out.append(text)
        if self._blocks:
            out.append(b',"content_blocks":[%b]' % self._in_block(event, text))
        if first(event.logprobs) == BRACKET and len(event.logprobs) > 2:
            chances = on_one_line(event.logprobs)
            out.append(b'},"logprobs":{"content":%b,"refusal":null}' % chances)
            out.append(self._tail)
        else:
            out.append(self._text_tail)

    def _in_block(self, event: Delta, text: Raw) -> bytes:
        block = self._open.get(event.output_index)
        if block is not None and block.part == event.content_index:
            return b'{"index":%d,"delta":{"text":%b}}' % (block.index, text)
        index = self._open_block(event.output_index, event.content_index).index
        phase = self._phases.get(event.output_index)
        if phase is None:
            return b'{"index":%d,"delta":{"type":"text","text":%b}}' % (index, text)
        # Apart from the words: readers take a delta of one text for nothing but that.
        opening = b'{"index":%d,"delta":{"type":"text","text":"","phase":%b}}' % (index, _encode(phase))
        return b'%b,{"index":%d,"delta":{"text":%b}}' % (opening, index, text)

    def _open_block(self, output_index: int, part: int) -> _Block:
        block = self._open[output_index] = _Block(self._block_count, part)
        self._block_count += 1
        return block

    def _on_refusal(self, event: Delta, data: bytes, out: list[bytes]) -> None:
        if first(event.delta) == QUOTE and self._begun():
            self._send(b'{"refusal":%b}' % event.delta, out)

    def _on_text_done(self, event: TextDone, data: bytes, out: list[bytes]) -> None:
        # Places in the text count from the start of a part there, and of the answer here.
        self._part_start += len(event.text or "")

    def _on_annotation(self, event: AnnotationEvent, data: bytes, out: list[bytes]) -> None:
        annotations = cited((event.annotation,), self._part_start)
        if annotations and self._begun():
            self._send(b'{"annotations":%b}' % _encode(annotations), out)

    # -- thinking

    def _on_thinking(self, event: Delta, data: bytes, out: list[bytes]) -> None:
        if not self._blocks or first(event.delta) != QUOTE or not self._begun():
            return
        part = event.summary_index or event.content_index
        block = self._open.get(event.output_index)
        if block is None:
            index = self._open_block(event.output_index, part).index
            self._extend(index, b'{"type":"thinking","thinking":%b}' % event.delta, out)
            return
        if block.part != part:
            block.part = part
            self._extend(block.index, b'{"thinking":%b}' % _BREAK, out)
        self._extend(block.index, b'{"thinking":%b}' % event.delta, out)

    def _end_thought(self, item: Item, output_index: int, out: list[bytes]) -> None:
        encrypted = item.encrypted_content
        block = self._open.pop(output_index, None)
        if not encrypted:
            return
        signature = _encode(Signature(self._calls, item.id or "", encrypted).text())
        if block is None:
            index, self._block_count = self._block_count, self._block_count + 1
            self._extend(index, b'{"type":"thinking","thinking":"","signature":%b}' % signature, out)
        else:
            self._extend(block.index, b'{"signature":%b}' % signature, out)

    # -- items

    def _on_item(self, event: ItemEvent, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        item = item_of(event.item)
        if item is None:
            return
        if item.type == "function_call":
            self._begin_call(event.output_index, call_id(item), item.name, out)
        elif item.type == "custom_tool_call":
            self._begin_custom(event.output_index, call_id(item), item.name, out)
        elif item.type == "message" and item.phase:
            self._phases[event.output_index] = item.phase

    def _on_item_done(self, event: ItemEvent, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        item, index = item_of(event.item), event.output_index
        if item is None:
            # What is charged by the piece, for a stream that does not come to its own count.
            used = pieces.of_response(b'{"output":[%b]}' % event.item)
            if used is not None:
                self.usage = counting.with_rare(self.usage or Usage(), used)
            if self._blocks:
                number, self._block_count = self._block_count, self._block_count + 1
                told = (OPENAI_ITEM.encode(), self._calls, on_one_line(event.item))
                self._extend(number, b'{"type":"%b","after":%d,"item":%b}' % told, out)
        elif item.type == "message":
            self._open.pop(index, None)
        elif item.type == "reasoning":
            if self._blocks:
                self._end_thought(item, index, out)
        else:
            if index not in self._tools:
                # A server that tells of a call only when it is whole.
                self._on_item(event, data, out)
            self._write(index, item.arguments or item.input, out)
            self._end_call(index, out)

    def _begin_custom(self, index: int, id: str, name: str, out: list[bytes]) -> None:
        if self._legacy:
            return
        tool = self._tools[index] = Tool(self._calls)
        tool.bare = False  # free text may be empty
        self._custom.add(index)
        self._calls += 1
        call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"custom","custom":{"name":%b,"input":""}}]}'
        self._send(call % (tool.number or 0, _encode(id), _encode(name)), out)

    def _on_arguments(self, event: TextDelta, data: bytes, out: list[bytes]) -> None:
        tool = self._tools.get(event.output_index)
        if tool is not None:
            self._argue(tool, event.delta or "", out)

    def _on_input(self, event: Delta, data: bytes, out: list[bytes]) -> None:
        tool = self._tools.get(event.output_index)
        if tool is not None and first(event.delta) == QUOTE and event.delta != _EMPTY_DELTA:
            self._custom.discard(event.output_index)
            self._send(b'{"tool_calls":[{"index":%d,"custom":{"input":%b}}]}' % (tool.number or 0, event.delta), out)

    def _on_written(self, event: Written, data: bytes, out: list[bytes]) -> None:
        self._write(event.output_index, event.arguments or event.input, out)

    def _write(self, index: int, text: str | None, out: list[bytes]) -> None:
        """The whole of a call's arguments or input, where no piece of it came."""
        tool = self._tools.get(index)
        if tool is None or not text:
            return
        if index in self._custom:
            self._custom.discard(index)
            self._send(b'{"tool_calls":[{"index":%d,"custom":{"input":%b}}]}' % (tool.number or 0, _encode(text)), out)
        elif tool.bare:
            self._argue(tool, text, out)

    # -- ends

    def _on_end(self, event: Ended, data: bytes, out: list[bytes]) -> None:
        outcome = _decode_outcome(event.response)
        if outcome.error is not None:
            self._end(event_error(outcome.error))
            return
        if not self._begun():
            return
        for index in list(self._tools):
            self._end_call(index, out)
        self._heed(self._looks.get(b"event"), data)
        self.usage = counting.usage_of(bytes(event.response))
        finish = finish_of(outcome.status, outcome.incomplete_details, self._calls > 0, self._legacy)
        self._tell_finish(finish, out)
        self._tell_end(out)

    def _on_failed(self, event: Ended, data: bytes, out: list[bytes]) -> None:
        self._end(event_error(_decode_outcome(event.response).error))

    def _on_error(self, event: ErrorEvent, data: bytes, out: list[bytes]) -> None:
        self._end(event_error(event.error or Failure(event.code, event.message, None, event.param)))


_Act = Callable[[ResponsesStream, Any, bytes, list[bytes]], None]


def _entry(type: Any, act: _Act) -> tuple[Callable[[bytes], Any], _Act]:
    return msgspec.json.Decoder(type).decode, act


_TABLE: dict[bytes, tuple[Callable[[bytes], Any], _Act]] = {
    b"response.created": _entry(Opened, ResponsesStream._on_begin),
    b"response.in_progress": _entry(Opened, ResponsesStream._on_begin),
    b"response.output_item.added": _entry(ItemEvent, ResponsesStream._on_item),
    b"response.output_text.delta": _entry(Delta, ResponsesStream._on_text),
    b"response.output_text.done": _entry(TextDone, ResponsesStream._on_text_done),
    b"response.output_text.annotation.added": _entry(AnnotationEvent, ResponsesStream._on_annotation),
    b"response.refusal.delta": _entry(Delta, ResponsesStream._on_refusal),
    b"response.reasoning_summary_text.delta": _entry(Delta, ResponsesStream._on_thinking),
    b"response.reasoning_text.delta": _entry(Delta, ResponsesStream._on_thinking),
    b"response.function_call_arguments.delta": _entry(TextDelta, ResponsesStream._on_arguments),
    b"response.function_call_arguments.done": _entry(Written, ResponsesStream._on_written),
    b"response.custom_tool_call_input.delta": _entry(Delta, ResponsesStream._on_input),
    b"response.custom_tool_call_input.done": _entry(Written, ResponsesStream._on_written),
    b"response.output_item.done": _entry(ItemEvent, ResponsesStream._on_item_done),
    b"response.completed": _entry(Ended, ResponsesStream._on_end),
    b"response.incomplete": _entry(Ended, ResponsesStream._on_end),
    b"response.failed": _entry(Ended, ResponsesStream._on_failed),
    b"error": _entry(ErrorEvent, ResponsesStream._on_error),
}
