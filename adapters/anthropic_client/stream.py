"""Chat completion chunks → message events.

Anthropic's content blocks follow one another, while OpenAI's tool calls may be told interleaved. The rule here: one
block is live and its deltas go out as they come. Prose is closed as soon as something else begins. A tool call gives
way only if its arguments are complete by then; if they are not, it stays live to the end, and what else begins is
held back until then and told block by block. So nothing is lost whatever the order, and in the order that providers
really keep (one call after the other) nothing is held.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters import observe, openai_errors
from adapters.anthropic_client.response import call_id, calls_of, message_id, message_usage, pieces, stop_reason
from adapters.anthropic_client.wire import (
    BRACE,
    QUOTE,
    CallPart,
    Chunk,
    ChunkHead,
    FunctionPart,
    MessageAnswer,
    MessageDelta,
    MessageStart,
    Said,
    Stop,
    ToolUse,
    first,
    joined,
)
from adapters.errors import TRAITS, Kind, UpstreamError
from adapters.framing.sse import Events
from adapters.types import Call, Usage

_encode = msgspec.json.Encoder().encode
_chunk = msgspec.json.Decoder(Chunk).decode
_head = msgspec.json.Decoder(ChunkHead).decode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_HELD_LIMIT = 32 * 1024 * 1024
"""Bytes of tool arguments and held prose: an upstream that never stops must not fill the memory."""

_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b:'
_END = b"}}\n\n"
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_NO_INPUT = Raw(b"{}")
_NO_FUNCTION = FunctionPart()


class _Prose:
    """A block of text or thinking. `fragments` are JSON strings that wait to be told."""

    __slots__ = ("fragments", "thinking")

    def __init__(self, thinking: bool) -> None:
        self.thinking = thinking
        self.fragments: list[Raw] = []

    def opening(self) -> tuple[bytes, bytes]:
        """The empty block, and the type and field of its deltas."""
        if self.thinking:
            return b'{"type":"thinking","thinking":"","signature":""}', b'"thinking_delta","thinking"'
        return b'{"type":"text","text":""}', b'"text_delta","text"'


class _ToolCall:
    """A tool call. `fragments` are all its arguments so far, as JSON strings."""

    __slots__ = ("closed", "fragments", "id", "name")

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self.fragments: list[Raw] = []
        self.closed = False

    def continued_by(self, part: CallPart, function: FunctionPart) -> bool:
        """Whether a delta at this call's index is more of it. Some providers give all calls one index, or none."""
        if not function.name:
            return True
        if part.id:
            return part.id == self.id
        return part.index is not None or not self.fragments

    def opening(self) -> tuple[bytes, bytes]:
        """As for prose."""
        return _encode(ToolUse(self.id, self.name, _NO_INPUT)), b'"input_json_delta","partial_json"'

    def complete(self) -> bool:
        """Whether the arguments are an object from brace to brace, after which nothing can follow."""
        try:
            _object(_str(joined(self.fragments)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return True


_Block = _Prose | _ToolCall


class MessageStream:
    """One streamed answer; see `adapters.types.StreamDecoder`."""

    def __init__(self, call: Call) -> None:
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None
        self._call = call
        self._events = Events()
        self._out: list[bytes | Raw] = []
        self._started = False
        self._done = False
        self._finish_reason: str | None = None
        self._live: _Block | None = None
        self._index = -1
        self._prefix = b""
        self._tools: dict[int, _ToolCall] = {}
        self._calls = 0
        self._held: list[_Block] = []
        self._kept = 0

    def feed(self, data: bytes) -> bytes:
        """Takes chunks, gives events; b"" after the end and after an error."""
        if self._done or self.error is not None:
            return b""
        for _, event in self._events.feed(data):
            if not self._take(event):
                return self._flush()
        if self._events.overflow:
            self._fail("The provider sent an event that is too large.")
        return self._flush()

    def close(self) -> bytes:
        """The rest. A finish reason counts as the end where a provider sends no `[DONE]`; without either, `error`."""
        if self._done or self.error is not None:
            return b""
        if all(self._take(event) for _, event in self._events.close()):
            if self._finish_reason is None:
                self._fail("The provider's stream ended early.")
            else:
                self._finish()
        return self._flush()

    def _flush(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _fail(self, message: str) -> None:
        self.error = UpstreamError(Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status, message)

    def _take(self, event: bytes) -> bool:
        """Translates one event. False when the answer ends with it, well or not."""
        if event.startswith(b"[DONE]"):
            self._finish()
            return False
        try:
            if not event.isascii():
                # Text moves undecoded, so nothing else would notice broken UTF-8.
                event.decode()
            chunk = _chunk(event)
            if chunk.choices is None or chunk.error:
                error = openai_errors.read_event(event)
                if error is not None:
                    self.error = error
                    return False
            if chunk.usage and first(chunk.usage) == BRACE:
                self.usage = observe.usage_of(event) or self.usage
            if not self._started:
                self._start(_head(event))
            for choice in chunk.choices or ():
                if choice.index == 0:
                    if choice.delta is not None:
                        self._add(choice.delta)
                    if choice.finish_reason:
                        self._finish_reason = choice.finish_reason
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._fail("The provider sent an event that is not a chat completion chunk.")
        return self.error is None

    def _start(self, head: ChunkHead) -> None:
        self._started = True
        answer = MessageAnswer(
            message_id(self._call, head.id),
            "assistant",
            head.model or self._call.model,
            [],
            None,
            None,
            message_usage(self.usage),
        )
        self._out.append(b"event: message_start\ndata: %b\n\n" % _encode(MessageStart(answer)))

    def _add(self, delta: Said) -> None:
        for thinking, text in pieces(delta):
            live = self._live
            if type(live) is _Prose and live.thinking is thinking:
                self._out += (self._prefix, text, _END)
            elif self._may_open():
                self._open(_Prose(thinking))
                self._out += (self._prefix, text, _END)
            else:
                self._hold(thinking, text)
        if delta.tool_calls or delta.function_call is not None:
            for part in calls_of(delta):
                self._add_call(part)

    def _hold(self, thinking: bool, text: Raw) -> None:
        last = self._held[-1] if self._held else None
        if type(last) is not _Prose or last.thinking is not thinking:
            last = _Prose(thinking)
            self._held.append(last)
        last.fragments.append(text)
        self._keep(text)

    def _keep(self, text: Raw) -> None:
        self._kept += len(text)
        if self._kept > _HELD_LIMIT:
            self._fail("The provider's answer is too large to translate.")

    def _add_call(self, part: CallPart) -> None:
        function = part.function or _NO_FUNCTION
        key = -1 if part.index is None else part.index
        tool = self._tools.get(key)
        if tool is None or not tool.continued_by(part, function):
            tool = _ToolCall(part.id or call_id(self._call, self._calls), function.name or "")
            self._tools[key] = tool
            self._calls += 1
            if tool.name and self._may_open():
                self._open(tool)
            else:
                self._held.append(tool)
        elif not tool.name:
            tool.name = function.name or ""
        arguments = function.arguments
        if first(arguments) == BRACE:
            arguments = Raw(_encode(bytes(arguments).decode()))
        if first(arguments) == QUOTE and len(arguments) > len(b'""'):
            self._add_arguments(tool, arguments)

    def _add_arguments(self, tool: _ToolCall, fragment: Raw) -> None:
        if tool.closed:
            if _str(fragment).strip():
                self._fail("The provider went on with the arguments of a tool call that were complete.")
            return
        tool.fragments.append(fragment)
        self._keep(fragment)
        if tool is self._live:
            self._out += (self._prefix, fragment, _END)

    def _may_open(self) -> bool:
        """Whether the live block can give way to another."""
        if self._held:
            return False
        return type(self._live) is not _ToolCall or self._live.complete()

    def _open(self, block: _Block) -> None:
        self._close_live()
        self._index += 1
        self._live = block
        opening, delta = block.opening()
        self._out.append(_START % (self._index, opening))
        self._prefix = _DELTA % (self._index, delta)

    def _close_live(self) -> None:
        live = self._live
        if live is None:
            return
        if type(live) is _ToolCall:
            live.closed = True
        self._out.append(_STOP % self._index)
        self._live = None

    def _finish(self) -> None:
        if not self._started:
            self._fail("The provider's stream held no answer.")
            return
        for block in self._held:
            if type(block) is _ToolCall and not block.name:
                self._fail("The provider's answer has a tool call without a function name.")
                return
            self._open(block)
            self._out += (self._prefix, joined(block.fragments), _END)
        self._close_live()
        self._held.clear()
        reason = Stop(stop_reason(self._finish_reason, bool(self._calls)))
        delta = MessageDelta(reason, message_usage(self.usage))
        self._out += (b"event: message_delta\ndata: %b\n\n" % _encode(delta), _MESSAGE_STOP)
        self._done = True
