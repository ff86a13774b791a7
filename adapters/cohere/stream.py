"""Cohere's events → chat completion chunks. One table: event type → method; what is not in it is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw, Struct

from adapters import openai_errors
from adapters.cohere.response import (
    Content,
    Counted,
    ToolCall,
    annotations_of,
    encode,
    finish_of,
    told,
    usage_of,
)
from adapters.errors import TRAITS, Kind, UpstreamError
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.pivot import ABSENT, BRACE, first, on_one_line
from adapters.types import Call, bodiless


class Said(Struct, gc=False):
    content: Content | list[Content] | None = None
    tool_plan: str = ""
    tool_calls: ToolCall | list[ToolCall] | None = None
    citations: Raw = ABSENT


class Delta(Struct, gc=False):
    message: Said | None = None
    finish_reason: str | None = None
    usage: Counted | None = None
    error: str | None = None


class CohereEvent(Struct, gc=False):
    type: str = ""
    index: int = 0
    id: str | None = None
    delta: Delta | None = None
    message: str | None = None


class Options(Struct, gc=False):
    include_usage: bool | None = None


class Wish(Struct, gc=False):
    stream_options: Options | None = None


_event = msgspec.json.Decoder(CohereEvent).decode
_wish = msgspec.json.Decoder(Wish).decode
_NOTHING = Said()


class CohereStream(Machine):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_blocks", "_call", "_calls", "_head", "_include_usage", "_open", "_tail", "_text_head", "_text_tail")

    def __init__(self, call: Call) -> None:
        super().__init__()
        try:
            options = _wish(call.body).stream_options
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            options = None
        self._call = bodiless(call)
        self._blocks = call.shows_blocks
        self._include_usage = options is not None and bool(options.include_usage)
        self._head = self._tail = self._text_head = self._text_tail = b""
        self._calls: dict[int, int] = {}
        self._open = -1
        """The number of the call whose arguments have not begun."""

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for _, data in events:
            if data.startswith(b"[DONE]"):
                continue
            event = _event(data)
            act = _TABLE.get(event.type)
            if act is not None:
                act(self, event, out)
            elif not event.type and event.message is not None:
                self._fail_as(data)
            if self._over:
                return

    def _fail_as(self, data: bytes) -> None:
        error = openai_errors.read_event(data)
        self._end(error or UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider reported an error within the stream."))

    def _on_start(self, event: CohereEvent, out: list[bytes]) -> None:
        if self._head:
            return
        call = self._call
        provider = b"" if call.strict else b'"provider":"cohere",'
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,%b"choices":[' % (
            encode(event.id or f"chatcmpl-{call.id}"),
            call.created,
            encode(call.model),
            provider,
        )
        usage = b',"usage":null' if self._include_usage else b""
        self._tail = b',"finish_reason":null}]%b}\n\n' % usage
        self._text_head = self._head + b'{"index":0,"delta":{"content":'
        self._text_tail = b"}" + self._tail
        self._send(b'{"role":"assistant","content":""}', out)

    def _send(self, delta: bytes, out: list[bytes]) -> None:
        out += (self._head, b'{"index":0,"delta":', delta, self._tail)

    def _on_content(self, event: CohereEvent, out: list[bytes]) -> None:
        said = self._said(event)
        if said is None or said.content is None:
            return
        for part in said.content if isinstance(said.content, list) else (said.content,):
            if part.text:
                out += (self._text_head, encode(part.text), self._text_tail)
            if self._blocks and (part.thinking or part.type == "thinking"):
                kind = b'"type":"thinking",' if part.type else b""
                fields = b'{%b"thinking":%b}' % (kind, encode(part.thinking))
                self._send(b'{"content_blocks":[{"index":%d,"delta":%b}]}' % (event.index, fields), out)

    def _on_plan(self, event: CohereEvent, out: list[bytes]) -> None:
        said = self._said(event)
        if said is not None and said.tool_plan:
            out += (self._text_head, encode(said.tool_plan), self._text_tail)

    def _on_call(self, event: CohereEvent, out: list[bytes]) -> None:
        call = self._tool(event)
        if call is None or call.function is None:
            return
        number = self._calls[event.index] = len(self._calls)
        self._open = number
        function = b'{"name":%b,"arguments":""}' % encode(call.function.name)
        made = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
        self._send(made % (number, encode(call.id), function), out)
        if call.function.arguments:
            self._argue(number, call.function.arguments, out)

    def _on_arguments(self, event: CohereEvent, out: list[bytes]) -> None:
        call, number = self._tool(event), self._calls.get(event.index)
        if call is not None and call.function is not None and number is not None and call.function.arguments:
            self._argue(number, call.function.arguments, out)

    def _argue(self, number: int, arguments: str, out: list[bytes]) -> None:
        if self._open == number:
            if arguments == "null":
                return
            self._open = -1
        made = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
        self._send(made % (number, encode(arguments)), out)

    def _on_call_end(self, event: CohereEvent, out: list[bytes]) -> None:
        if self._open >= 0 and self._calls.get(event.index) == self._open:
            # A call without arguments: no fragments came, and an empty string is not JSON to the client.
            self._argue(self._open, "{}", out)

    def _on_citation(self, event: CohereEvent, out: list[bytes]) -> None:
        said = self._said(event)
        if said is None or first(said.citations) != BRACE:
            return
        listed = b"[%b]" % on_one_line(said.citations)
        annotations = annotations_of(Raw(listed))
        fields = [b'"annotations":' + encode(annotations)] if annotations else []
        if self._blocks:
            fields.append(b'"citations":' + listed)
        if fields:
            self._send(b"{%b}" % b",".join(fields), out)

    def _on_end(self, event: CohereEvent, out: list[bytes]) -> None:
        if not self._begun():
            return
        delta = event.delta or Delta()
        if delta.error:
            self._end(UpstreamError(Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status, delta.error))
            return
        self.usage = usage_of(delta.usage)
        finish = encode(finish_of(delta.finish_reason, self._call.strict))
        usage = b',"usage":null' if self._include_usage else b""
        out.append(b'%b{"index":0,"delta":{},"finish_reason":%b}]%b}\n\n' % (self._head, finish, usage))
        if self._include_usage and self.usage is not None:
            out.append(b'%b],"usage":%b}\n\n' % (self._head, encode(told(self.usage))))
        out.append(b"data: [DONE]\n\n")
        self._end()

    def _said(self, event: CohereEvent) -> Said | None:
        if not self._begun():
            return None
        return event.delta.message if event.delta is not None else None

    def _tool(self, event: CohereEvent) -> ToolCall | None:
        calls = (self._said(event) or _NOTHING).tool_calls
        return (calls[0] if calls else None) if isinstance(calls, list) else calls

    def _begun(self) -> bool:
        if not self._head:
            self._fail("The provider's stream did not begin with message-start.")
        return not self._over


_TABLE: Mapping[str, Callable[[CohereStream, CohereEvent, list[bytes]], None]] = {
    "message-start": CohereStream._on_start,
    "content-start": CohereStream._on_content,
    "content-delta": CohereStream._on_content,
    "tool-plan-delta": CohereStream._on_plan,
    "tool-call-start": CohereStream._on_call,
    "tool-call-delta": CohereStream._on_arguments,
    "tool-call-end": CohereStream._on_call_end,
    "citation-start": CohereStream._on_citation,
    "message-end": CohereStream._on_end,
}
