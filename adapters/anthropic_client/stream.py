"""Chat completion chunks → message events.

Anthropic's content blocks follow one another, while OpenAI's tool calls may be told interleaved. The rule here: one
block is live and its deltas go out as they come. Prose is closed as soon as something else begins. A tool call gives
way only if its arguments are complete by then; if they are not, it stays live to the end, and what else begins is
held back until then and told block by block. So nothing is lost whatever the order, and in the order that providers
really keep (one call after the other) nothing is held.
"""

from __future__ import annotations

from itertools import groupby

import msgspec
from msgspec import Raw

from adapters.anthropic_client.response import (
    call_id,
    foreign,
    message_id,
    message_usage,
    phased,
    redacted,
    said_pieces,
    stop_reason,
)
from adapters.anthropic_client.wire import MessageAnswer, MessageDelta, MessageStart, RedactedBlock, Stop, ToolUse
from adapters.packing import FINAL_ANSWER
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
    ChatStream,
    Choice,
    FunctionPart,
    Head,
    Piece,
    calls_of,
    is_complete,
    same_call,
)
from adapters.types import Call
from adapters.values import BRACE, QUOTE, first, joined, on_one_line

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode

_HELD_LIMIT = 32 * 1024 * 1024
"""Bytes of tool arguments and held prose: an upstream that never stops must not fill the memory."""
_CALL_SIZE = 512
"""What a tool call counts for beside its arguments."""

_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:'
_END = b"}}\n\n"
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_NO_INPUT = Raw(b"{}")
_NO_FUNCTION = FunctionPart()


class _Prose:
    """A block that is no tool call. `kind` is that of its pieces; `fragments` are pieces that wait to be told."""

    __slots__ = ("fragments", "kind", "over", "start")

    def __init__(self, kind: int, start: bytes) -> None:
        self.kind = kind
        self.start = start
        self.over = False
        self.fragments: list[Piece] = []

    def takes(self, kind: int) -> bool:
        """Whether a piece belongs to this block."""
        return _BELONGS.get(kind, kind) == self.kind and kind not in _WHOLE and not self.over

    def opening(self) -> tuple[bytes, bytes]:
        """The empty block, and the type and field of its deltas."""
        return self.start, _FIELDS[self.kind]


_BELONGS = {REFUSAL: TEXT, CITATION: TEXT, FOREIGN_INPUT: FOREIGN, SIGNATURE: THINKING}
_WHOLE = (REDACTED, FOREIGN)
_FIELDS: dict[int, bytes] = {
    TEXT: b'"text_delta","text"',
    REFUSAL: b'"text_delta","text"',
    THINKING: b'"thinking_delta","thinking"',
    SIGNATURE: b'"signature_delta","signature"',
    REDACTED: b"",
    CITATION: b'"citations_delta","citation"',
    FOREIGN: b"",
    FOREIGN_INPUT: b'"input_json_delta","partial_json"',
}
"""The type and field of the delta that tells a piece; empty where the block's start says all."""
_STARTS: dict[int, bytes] = {
    TEXT: b'{"type":"text","text":""}',
    REFUSAL: b'{"type":"text","text":""}',
    THINKING: b'{"type":"thinking","thinking":"","signature":""}',
    SIGNATURE: b'{"type":"thinking","thinking":"","signature":""}',
}


def _block_of(kind: int, value: Raw) -> _Prose:
    """The block that a piece begins."""
    if kind == REDACTED:
        return _Prose(kind, _encode(RedactedBlock(value)))
    if kind == FOREIGN:
        block = foreign(value)
        return _Prose(kind, on_one_line(block) if isinstance(block, Raw) else _encode(block))
    return _Prose(_BELONGS.get(kind, kind), _STARTS[kind])


class _ToolCall:
    """A tool call. `fragments` are all its arguments so far, as JSON strings."""

    __slots__ = ("closed", "fragments", "id", "name")

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.fragments: list[Raw] = []
        self.closed = False

    def opening(self) -> tuple[bytes, bytes]:
        """As for prose."""
        return _encode(ToolUse(self.id, self.name, _NO_INPUT)), b'"input_json_delta","partial_json"'


_Block = _Prose | _ToolCall


class MessageStream(ChatStream):
    """One streamed answer; see `adapters.types.StreamDecoder`."""

    __slots__ = ("_calls", "_finish_reason", "_held", "_index", "_kept", "_live", "_phase", "_prefix", "_tools")

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._finish_reason: str | None = None
        self._live: _Block | None = None
        self._index = -1
        self._phase = FINAL_ANSWER
        self._prefix = b""
        self._tools: dict[int, _ToolCall] = {}
        self._calls = 0
        self._held: list[_Block] = []
        self._kept = 0

    def _begin(self, head: Head, out: list[bytes]) -> None:
        answer = MessageAnswer(
            message_id(self.call, head.id),
            "assistant",
            head.model or self.call.model,
            [],
            None,
            None,
            message_usage(self.usage),
        )
        out.append(b"event: message_start\ndata: %b\n\n" % _encode(MessageStart(answer)))

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        if choice.index:
            self._pass_by(choice)
            return
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return
        for kind, value in said_pieces(delta):
            live = self._live
            if type(live) is _Prose and live.kind == kind and kind < REDACTED and not live.over:
                out += (self._prefix, value, _END)
            else:
                self._say(kind, value, out)
        if delta.tool_calls or delta.function_call is not None:
            for part in calls_of(delta):
                self._add_call(part, out)

    def _say(self, kind: int, value: Raw, out: list[bytes]) -> None:
        """A piece that does not just go on with the live block."""
        live = self._live
        if kind == THOUGHT:
            last = self._held[-1] if self._held else live
            if isinstance(last, _Prose):
                last.over = True
            return
        if kind == PHASE:
            if value == self._phase:
                return
            self._phase = value.copy()
            kind, value = REDACTED, phased(value)
        if type(live) is _Prose and not self._held and live.takes(kind):
            self._tell(live, kind, value, out)
            return
        if kind in (CITATION, FOREIGN_INPUT) and not self._held:
            # Its block is over, or never was.
            return
        if self._may_open():
            block = _block_of(kind, value)
            self._open(block, out)
            if _FIELDS[block.kind]:
                self._tell(block, kind, value, out)
        else:
            self._hold(kind, value)

    def _tell(self, block: _Prose, kind: int, value: Raw, out: list[bytes]) -> None:
        if kind in (CITATION, FOREIGN):
            value = Raw(on_one_line(value))
        out += (_DELTA % (self._index, _FIELDS[kind]), value, _END)

    def _hold(self, kind: int, value: Raw) -> None:
        last = self._held[-1] if self._held else None
        if type(last) is not _Prose or not last.takes(kind):
            if kind in (CITATION, FOREIGN_INPUT):
                return
            last = _block_of(kind, value)
            self._held.append(last)
        if _FIELDS[kind]:
            last.fragments.append((kind, value.copy()))
        self._keep(len(value))

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > _HELD_LIMIT:
            self._fail("The provider's answer is too large to translate.")

    def _add_call(self, part: CallPart, out: list[bytes]) -> None:
        function = part.function or _NO_FUNCTION
        key = -1 if part.index is None else part.index
        tool = self._tools.get(key)
        if tool is None or not same_call(part, function, tool.id, bool(tool.fragments)):
            tool = _ToolCall(part.id or call_id(self.call, self._calls), function.name or "")
            self._tools[key] = tool
            self._calls += 1
            self._keep(_CALL_SIZE)
            if function.thought_signature:
                self._say(REDACTED, redacted(tool.id, function.thought_signature), out)
            if tool.name and self._may_open():
                self._open(tool, out)
            else:
                self._held.append(tool)
        else:
            tool.name = tool.name or function.name or ""
            if function.thought_signature:
                # Late, and in a block of its own: by the call's id, not its place, it is known whose it is.
                self._say(REDACTED, redacted(tool.id, function.thought_signature), out)
        arguments = function.arguments
        if first(arguments) == BRACE:
            arguments = Raw(_encode(bytes(arguments).decode()))
        if first(arguments) == QUOTE and len(arguments) > len(b'""'):
            self._add_arguments(tool, arguments, out)

    def _add_arguments(self, tool: _ToolCall, fragment: Raw, out: list[bytes]) -> None:
        if tool.closed:
            if _str(fragment).strip():
                self._fail("The provider went on with the arguments of a tool call that were complete.")
            return
        # A copy: the fragment would keep the whole event that it is a piece of.
        tool.fragments.append(fragment.copy())
        self._keep(len(fragment))
        if tool is self._live:
            out += (self._prefix, fragment, _END)

    def _may_open(self) -> bool:
        """Whether the live block can give way to another."""
        if self._held:
            return False
        return type(self._live) is not _ToolCall or is_complete(self._live.fragments)

    def _open(self, block: _Block, out: list[bytes]) -> None:
        self._close_live(out)
        self._index += 1
        self._live = block
        opening, delta = block.opening()
        out.append(_START % (self._index, opening))
        self._prefix = _DELTA % (self._index, delta)

    def _close_live(self, out: list[bytes]) -> None:
        live = self._live
        if live is None:
            return
        if type(live) is _ToolCall:
            live.closed = True
        out.append(_STOP % self._index)
        self._live = None

    def _tell_all(self, block: _Prose, out: list[bytes]) -> None:
        """The pieces of a block that was held, those of one kind that follow one another in one delta."""
        for kind, run in groupby(block.fragments, key=lambda piece: piece[0]):
            values = [value for _, value in run]
            for value in values if kind == CITATION else [joined(values)]:
                self._tell(block, kind, value, out)

    def _finish(self, out: list[bytes]) -> None:
        for block in self._held:
            if type(block) is _ToolCall and not block.name:
                self._fail("The provider's answer has a tool call without a function name.")
                return
            self._open(block, out)
            if isinstance(block, _ToolCall):
                out += (self._prefix, joined(block.fragments), _END)
            else:
                self._tell_all(block, out)
        self._close_live(out)
        self._held.clear()
        reason = Stop(stop_reason(self._finish_reason, bool(self._calls)))
        delta = MessageDelta(reason, message_usage(self.usage))
        out += (b"event: message_delta\ndata: %b\n\n" % _encode(delta), _MESSAGE_STOP)
