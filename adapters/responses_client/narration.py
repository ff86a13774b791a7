"""An answer told item by item, as Responses events; a whole answer is the same told to nobody.

Words and thinking follow one another: one such item is live, and closed as soon as something else begins. Tool calls
may be told interleaved, for every event names its item; a call is closed when something else begins and its arguments
are complete, at the latest when the answer ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.packing import CALL_SIGNATURE
from adapters.pivot import (
    CITATION,
    FOREIGN,
    FOREIGN_INPUT,
    PHASE,
    REDACTED,
    REFUSAL,
    SIGNATURE,
    TEXT,
    THINKING,
    THOUGHT,
    CallPart,
    FunctionPart,
    is_complete,
    same_call,
)
from adapters.responses_client import output
from adapters.responses_client.output import encode
from adapters.types import Call
from adapters.values import ABSENT, BRACE, BRACKET, QUOTE, UNREADABLE, first, joined

_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_HELD_LIMIT = 32 * 1024 * 1024
"""Bytes of an answer that are kept, to be told again at its end: an upstream that never stops must not fill the memory.
"""
_CALL_SIZE = 512
_UNFIT = re.compile(r"[^A-Za-z0-9]")
_EMPTY = Raw(b'""')
_NO_FUNCTION = FunctionPart()
_TEXT_TAIL = b',"logprobs":[],"sequence_number":%d}\n\n'
_TAIL = b',"sequence_number":%d}\n\n'


class TooLarge(Exception):
    """The answer is larger than what may be kept of it."""


class BadCall(Exception):
    """A tool call that no client could make; the message says why."""


class _Message:
    """A message item. `parts` are its closed parts; `texts` the JSON strings of the open one, of kind `kind`."""

    __slots__ = ("annotations", "id", "index", "kind", "logprobs", "parts", "prefix", "texts")

    def __init__(self, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.kind = TEXT
        self.prefix = b""
        self.texts: list[Raw] = []
        self.parts: list[bytes] = []
        self.annotations: list[dict[str, Any]] = []
        self.logprobs: list[bytes] = []


class _Reasoning:
    """A reasoning item. `blocks` are those that it stands for, beside its own thinking and signature."""

    __slots__ = ("blocks", "foreign_input", "id", "index", "over", "prefix", "signature", "texts")

    def __init__(self, id: str, index: int) -> None:
        self.id = id
        self.index = index
        self.prefix = b""
        self.texts: list[Raw] = []
        self.signature: list[Raw] = []
        self.blocks: list[Raw | dict[str, Any]] = []
        self.foreign_input: list[Raw] = []
        self.over = False


class _ToolCall:
    """A function call item, or with `custom` one whose input is free text. `texts` are its arguments so far."""

    __slots__ = ("closed", "custom", "id", "index", "item", "name", "prefix", "texts")

    def __init__(self, item: str, index: int, id: str, name: str, custom: bool) -> None:
        self.item = item
        self.index = index
        self.id = id
        self.name = name
        self.custom = custom
        self.prefix = b""
        self.texts: list[Raw] = []
        self.closed = False


class Narration:
    """One answer under way. Events are appended to the `out` of each call; `items` are the finished ones."""

    __slots__ = ("_before", "_call", "_calls", "_cited", "_custom", "_kept", "_live", "_order", "items", "sequence")

    def __init__(self, call: Call, custom: frozenset[str], sequence: int = 0) -> None:
        self.items: list[bytes] = []
        self.sequence = sequence
        self._call = call
        self._custom = custom
        self._live: _Message | _Reasoning | None = None
        self._calls: dict[int, _ToolCall] = {}
        self._order: list[_ToolCall] = []
        self._kept = 0
        self._before = 0
        """Characters of the answer's text before the part under way: sources count from the answer's beginning."""
        self._cited: list[tuple[int, dict[str, Any]]] = []
        """The sources of a whole answer and where they stand, until the part comes that they stand in."""

    def event(self, name: bytes, fields: bytes, out: list[bytes]) -> None:
        """Tells one event; `fields` are the inside of its object."""
        out.append(
            b'event: response.%b\ndata: {"type":"response.%b",%b,"sequence_number":%d}\n\n'
            % (name, name, fields, self.sequence)
        )
        self.sequence += 1

    def say(self, kind: int, value: Raw, out: list[bytes], logprobs: Raw = ABSENT) -> None:
        """Takes one of `pivot.pieces`. Raises TooLarge."""
        live = self._live
        if kind == TEXT and type(live) is _Message and live.kind == TEXT and not logprobs:
            # What most events of a stream are.
            self._keep(live.texts, value)
            out += (live.prefix, value, _TEXT_TAIL % self.sequence)
            self.sequence += 1
        elif kind in (TEXT, REFUSAL):
            self._word(kind, value, logprobs, out)
        else:
            _ACTS[kind](self, value, out)

    def _keep(self, texts: list[Raw], value: Raw) -> None:
        # A copy: the piece would keep the whole event that it is part of.
        texts.append(value.copy())
        self._kept += len(value)
        if self._kept > _HELD_LIMIT:
            raise TooLarge

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._call.id}_{len(self.items)}"

    def _reserve(self) -> int:
        self.items.append(b"")
        return len(self.items) - 1

    # -- words

    def _word(self, kind: int, value: Raw, logprobs: Raw, out: list[bytes]) -> None:
        live = self._live
        if type(live) is not _Message:
            live = self._open_message(out)
            self._open_part(live, kind, out)
        elif live.kind != kind:
            self._close_part(live, out)
            self._open_part(live, kind, out)
        self._keep(live.texts, value)
        chances = _chances(logprobs)
        if chances:
            live.logprobs.append(chances)
        shown = b',"logprobs":[%b]' % chances if kind == TEXT else b""
        out += (live.prefix, value, shown, _TAIL % self.sequence)
        self.sequence += 1

    def _open_message(self, out: list[bytes]) -> _Message:
        self._settle(out)
        live = _Message(self._id("msg"), self._reserve())
        self._live = live
        item = output.message(live.id, [], b"in_progress")
        self.event(b"output_item.added", b'"output_index":%d,"item":%b' % (live.index, item), out)
        return live

    def _open_part(self, live: _Message, kind: int, out: list[bytes]) -> None:
        live.kind, live.texts, live.logprobs, live.annotations = kind, [], [], []
        name, part = (
            (b"output_text", output.text_part(_EMPTY, []))
            if kind == TEXT
            else (b"refusal", output.refusal_part(_EMPTY))
        )
        place = _place(live)
        self.event(b"content_part.added", b'%b,"part":%b' % (place, part), out)
        live.prefix = b'event: response.%b.delta\ndata: {"type":"response.%b.delta",%b,"delta":' % (name, name, place)

    def _close_part(self, live: _Message, out: list[bytes]) -> None:
        text, place = joined(live.texts), _place(live)
        if live.kind == TEXT:
            self._before = self._cite_part(live, self._before + len(_str(text)), out)
            chances = b"[%b]" % b",".join(live.logprobs)
            self.event(b"output_text.done", b'%b,"text":%b,"logprobs":%b' % (place, text, chances), out)
            part = output.text_part(text, live.annotations, Raw(chances))
        else:
            self.event(b"refusal.done", b'%b,"refusal":%b' % (place, text), out)
            part = output.refusal_part(text)
        self.event(b"content_part.done", b'%b,"part":%b' % (place, part), out)
        live.parts.append(part)

    def expect(self, annotations: Raw, texts: list[Raw]) -> None:
        """Takes the sources of a whole answer of these `texts`, before it is told. Raises one of `UNREADABLE`."""
        last = max(len(_str(joined(texts))) - 1, 0) if texts else 0
        self._cited = [(min(each["start_index"], last), each) for each in output.annotations_of(annotations)]

    def annotate(self, annotations: Raw, out: list[bytes]) -> None:
        """Takes the sources of the text before. Raises one of `UNREADABLE`."""
        live = self._live
        if type(live) is _Message and live.kind == TEXT:
            for each in output.annotations_of(annotations):
                self._cite(live, each, out)

    def _cite_part(self, live: _Message, end: int, out: list[bytes]) -> int:
        """Tells the sources that stand in a part of a whole answer, which ends here; returns its end."""
        if self._cited:
            for at, each in self._cited:
                if at < end:
                    self._cite(live, each, out)
            self._cited = [(at, each) for at, each in self._cited if at >= end]
        return end

    def _cite(self, live: _Message, source: dict[str, Any], out: list[bytes]) -> None:
        for name in ("start_index", "end_index"):
            source[name] = max(source[name] - self._before, 0)
        fields = b'%b,"annotation_index":%d,"annotation":%b' % (_place(live), len(live.annotations), encode(source))
        self.event(b"output_text.annotation.added", fields, out)
        live.annotations.append(source)

    def chances(self, logprobs: Raw) -> None:
        """Takes the chances of text that was told before, where a provider tells them apart from it."""
        live, chances = self._live, _chances(logprobs)
        if type(live) is _Message and live.kind == TEXT and chances:
            live.logprobs.append(chances)

    # -- thinking

    def _thought(self, value: Raw, out: list[bytes]) -> None:
        live = self._live
        if type(live) is _Reasoning:
            live.over = True

    def _think(self, value: Raw, out: list[bytes]) -> None:
        live = self._reasoning(out)
        if not live.prefix:
            place = b'"item_id":"%b","output_index":%d,"summary_index":0' % (live.id.encode(), live.index)
            part = output.summary_part(_EMPTY)
            self.event(b"reasoning_summary_part.added", b'%b,"part":%b' % (place, part), out)
            name = b"reasoning_summary_text.delta"
            live.prefix = b'event: response.%b\ndata: {"type":"response.%b",%b,"delta":' % (name, name, place)
        self._keep(live.texts, value)
        out += (live.prefix, value, _TAIL % self.sequence)
        self.sequence += 1

    def _sign(self, value: Raw, out: list[bytes]) -> None:
        self._keep(self._reasoning(out).signature, value)

    def _reasoning(self, out: list[bytes]) -> _Reasoning:
        """The live thinking, or a new item for it."""
        live = self._live
        if type(live) is _Reasoning and not live.over and not live.blocks:
            return live
        return self._open_reasoning(out)

    def _open_reasoning(self, out: list[bytes]) -> _Reasoning:
        self._settle(out)
        live = _Reasoning(self._id("rs"), self._reserve())
        self._live = live
        item = output.reasoning(live.id, _EMPTY, [], b"in_progress")
        self.event(b"output_item.added", b'"output_index":%d,"item":%b' % (live.index, item), out)
        return live

    def _redacted(self, value: Raw, out: list[bytes]) -> None:
        self._stand_for({"type": "redacted_thinking", "data": value.copy()}, out)

    def _foreign(self, value: Raw, out: list[bytes]) -> None:
        self._stand_for(value.copy(), out)

    def _stand_for(self, block: Raw | dict[str, Any], out: list[bytes]) -> None:
        live = self._live
        if type(live) is not _Reasoning or not live.blocks:
            live = self._open_reasoning(out)
        _take_input(live)
        live.blocks.append(block)

    def _foreign_input(self, value: Raw, out: list[bytes]) -> None:
        live = self._live
        if type(live) is _Reasoning and live.blocks:
            self._keep(live.foreign_input, value)

    def _nothing(self, value: Raw, out: list[bytes]) -> None:
        """Anthropic's sources; where they are addresses they come as annotations as well."""

    # -- calls

    def call(self, part: CallPart, out: list[bytes]) -> None:
        """Takes a tool call of a message or a delta. Raises TooLarge, or BadCall for a call that
        no client could make."""
        function = part.function or _NO_FUNCTION
        key = -1 if part.index is None else part.index
        call = self._calls.get(key)
        if call is None or not same_call(part, function, call.id, bool(call.texts)):
            call = self._open_call(part, function, out)
            self._calls[key] = call
        elif function.thought_signature:
            self._sign_call(call.id, function.thought_signature, out)
        arguments = function.arguments
        if first(arguments) == BRACE:
            arguments = Raw(encode(bytes(arguments).decode()))
        if first(arguments) != QUOTE or len(arguments) <= len(b'""'):
            return
        if call.closed:
            if _str(arguments).strip():
                raise BadCall("The provider went on with the arguments of a tool call that were complete.")
            return
        self._keep(call.texts, arguments)
        if not call.custom:
            out += (call.prefix, arguments, _TAIL % self.sequence)
            self.sequence += 1

    def _open_call(self, part: CallPart, function: FunctionPart, out: list[bytes]) -> _ToolCall:
        if not function.name:
            raise BadCall("The provider's answer has a tool call without a function name.")
        self._settle(out)
        number = len(self._order)
        id = part.id or f"call_{_UNFIT.sub('', self._call.id)[-24:]}_{number}"
        if function.thought_signature:
            self._sign_call(id, function.thought_signature, out)
        custom = function.name in self._custom
        call = _ToolCall(self._id("ctc" if custom else "fc"), self._reserve(), id, function.name, custom)
        self._order.append(call)
        self._kept += _CALL_SIZE
        make = output.custom_call if custom else output.function_call
        item = make(call.item, id, call.name, _EMPTY, b"in_progress")
        self.event(b"output_item.added", b'"output_index":%d,"item":%b' % (call.index, item), out)
        name = b"function_call_arguments.delta"
        place = b'"item_id":"%b","output_index":%d' % (call.item.encode(), call.index)
        call.prefix = b'event: response.%b\ndata: {"type":"response.%b",%b,"delta":' % (name, name, place)
        return call

    def _sign_call(self, id: str, signature: str, out: list[bytes]) -> None:
        """The item that carries the signature of a call; it is known by its id whose it is, wherever it stands."""
        self._settle(out)
        self._open_reasoning(out).blocks.append({"type": CALL_SIGNATURE, "call_id": id, "signature": signature})
        self._settle(out)

    def _close_call(self, call: _ToolCall, status: bytes, out: list[bytes]) -> None:
        call.closed = True
        place = b'"item_id":"%b","output_index":%d' % (call.item.encode(), call.index)
        arguments: Raw = joined(call.texts)
        if call.custom:
            text = _free_text(arguments)
            self.event(b"custom_tool_call_input.delta", b'%b,"delta":%b' % (place, text), out)
            self.event(b"custom_tool_call_input.done", b'%b,"input":%b' % (place, text), out)
            item = output.custom_call(call.item, call.id, call.name, text, status)
        else:
            if arguments == _EMPTY:
                arguments = Raw(b'"{}"')
            fields = b'%b,"name":%b,"arguments":%b' % (place, encode(call.name), arguments)
            self.event(b"function_call_arguments.done", fields, out)
            item = output.function_call(call.item, call.id, call.name, arguments, status)
        self._done(call.index, item, out)

    # -- ends

    def _settle(self, out: list[bytes], status: bytes = b"completed") -> None:
        """Closes what something else that begins brings to its end."""
        live, self._live = self._live, None
        if type(live) is _Message:
            self._close_part(live, out)
            self._done(live.index, output.message(live.id, live.parts, status), out)
        elif type(live) is _Reasoning:
            self._close_reasoning(live, status, out)
        for call in self._order:
            if not call.closed and is_complete(call.texts):
                self._close_call(call, b"completed", out)

    def _close_reasoning(self, live: _Reasoning, status: bytes, out: list[bytes]) -> None:
        text = joined(live.texts)
        if live.prefix:
            place = b'"item_id":"%b","output_index":%d,"summary_index":0' % (live.id.encode(), live.index)
            self.event(b"reasoning_summary_text.done", b'%b,"text":%b' % (place, text), out)
            part = output.summary_part(text)
            self.event(b"reasoning_summary_part.done", b'%b,"part":%b' % (place, part), out)
        _take_input(live)
        blocks = live.blocks
        if live.signature:
            blocks = [{"type": "thinking", "thinking": text, "signature": joined(live.signature)}]
        self._done(live.index, output.reasoning(live.id, text, blocks, status), out)

    def _done(self, index: int, item: bytes, out: list[bytes]) -> None:
        self.items[index] = item
        self.event(b"output_item.done", b'"output_index":%d,"item":%b' % (index, item), out)

    def end(self, complete: bool, out: list[bytes]) -> None:
        """Closes everything; what is open is then `completed`, or `incomplete`."""
        status = b"completed" if complete else b"incomplete"
        self._settle(out, status)
        for call in self._order:
            if not call.closed:
                self._close_call(call, status, out)


_ACTS: dict[int, Callable[[Narration, Raw, list[bytes]], None]] = {
    THOUGHT: Narration._thought,
    THINKING: Narration._think,
    SIGNATURE: Narration._sign,
    REDACTED: Narration._redacted,
    FOREIGN: Narration._foreign,
    FOREIGN_INPUT: Narration._foreign_input,
    CITATION: Narration._nothing,
    PHASE: Narration._nothing,
}


def _place(live: _Message) -> bytes:
    return b'"item_id":"%b","output_index":%d,"content_index":%d' % (live.id.encode(), live.index, len(live.parts))


def _take_input(live: _Reasoning) -> None:
    """Puts the streamed input of the last foreign block into it."""
    if not live.foreign_input:
        return
    written, live.foreign_input = _str(joined(live.foreign_input)), []
    block = live.blocks[-1]
    try:
        fields = {**(_object(block) if isinstance(block, Raw) else block), "input": Raw(written.encode())}
        _object(fields["input"])
    except UNREADABLE:
        return
    live.blocks[-1] = fields


def _chances(logprobs: Raw) -> bytes:
    """The inside of the list of logprobs that a choice gives for its text."""
    if first(logprobs) != BRACE:
        return b""
    content = _object(logprobs).get("content", ABSENT)
    return msgspec.json.format(bytes(content), indent=-1)[1:-1] if first(content) == BRACKET else b""


def _free_text(arguments: Raw) -> bytes:
    """The input of a custom tool's call: its one argument, or what the model wrote instead."""
    try:
        text = _object(_str(arguments)).get("input", ABSENT)
    except UNREADABLE:
        return bytes(arguments)
    return bytes(text) if first(text) == QUOTE else bytes(arguments)
