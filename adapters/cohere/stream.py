"""Cohere's events → chat completion chunks. One table: event type → method; what is not in it is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters import openai_errors
from adapters.chat.response import wish_of
from adapters.chat.stream import OneChoice, Tool
from adapters.chat.wire import OutUsage, told
from adapters.cohere.response import FAILED, annotations_of, chances_of, encode, finish_of, usage_of
from adapters.cohere.said import ANSWERS
from adapters.cohere.wire import BROKEN, CohereEvent, Delta, Said, ToolCall
from adapters.errors import NO_WORD, Kind, UpstreamError
from adapters.framing.sse import Event
from adapters.types import Call, Usage
from adapters.values import BRACE, first, on_one_line

_event = msgspec.json.Decoder(CohereEvent).decode
_NOTHING = Said()


class CohereStream(OneChoice):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_spoke",)

    provider = b"cohere"
    answers = ANSWERS

    def __init__(self, call: Call) -> None:
        super().__init__(call, wish_of(call))
        self._spoke = False
        """Whether anything was said but calls."""

    def _told(self, usage: Usage, own: bool) -> OutUsage:
        # Cohere tells what it read from a cache, but not what it wrote to one.
        return told(usage)

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for _, data in events:
            if data.startswith(b"[DONE]"):
                continue
            event = _event(data)
            act = _TABLE.get(event.type)
            if act is not None:
                act(self, event, data, out)
            elif not event.type and event.message is not None:
                self._fail_as(data)
            if self._over:
                return

    def _fail_as(self, data: bytes) -> None:
        error = openai_errors.read_event(data)
        self._end(error or UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider reported an error within the stream."))

    def _on_start(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        if not self._head:
            self._name(event.id, None)
            self._tell_role(out)

    def _on_block(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        self._spoke = True
        self._on_content(event, data, out)

    def _on_content(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        said = self._said(event)
        if said is None or said.content is None:
            return
        for part in said.content if isinstance(said.content, list) else (said.content,):
            if part.text:
                out += (self._text_head, encode(part.text), self._tail_of(event, data))
            if not self._blocks:
                if part.thinking or part.type:
                    self._heed(self._looks.get(b"content-start"), data)
            elif part.thinking or part.type == "thinking":
                kind = b'"type":"thinking",' if part.type else b""
                fields = b'{%b"thinking":%b}' % (kind, encode(part.thinking))
                self._extend(event.index, fields, out)

    def _tail_of(self, event: CohereEvent, data: bytes) -> bytes:
        """What stands behind a text, with its chances where they were asked for."""
        given = event.logprobs
        if given is None:
            return self._text_tail
        self._heed(self._looks.get(b"content-delta"), data)
        told = chances_of(given if isinstance(given, list) else (given,))
        return b'},"logprobs":%b%b' % (encode(told), self._tail)

    def _on_plan(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        said = self._said(event)
        if said is not None and said.tool_plan:
            self._spoke = True
            out += (self._text_head, encode(said.tool_plan), self._text_tail)

    def _on_call(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"tool-call-start"), data)
        call = self._tool(event)
        if call is None or call.function is None:
            return
        tool = self._begin_call(event.index, call.id, call.function.name, out)
        self._argue(tool, call.function.arguments or "", out)

    def _on_arguments(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        call, tool = self._tool(event), self._tools.get(event.index)
        if call is not None and call.function is not None and tool is not None:
            self._argue(tool, call.function.arguments or "", out)

    def _argue(self, tool: Tool, fragment: str, out: list[bytes]) -> None:
        if not (tool.bare and fragment == "null"):  # said of a tool without any
            super()._argue(tool, fragment, out)

    def _on_call_end(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        self._end_call(event.index, out)

    def _on_citation(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        self._heed(self._looks.get(b"citation-start"), data)
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

    def _on_end(self, event: CohereEvent, data: bytes, out: list[bytes]) -> None:
        if not self._begun():
            return
        self._heed(self._looks.get(b"message-end"), data)
        delta = event.delta or Delta()
        if delta.error or delta.finish_reason == BROKEN:
            self._fail(delta.error or FAILED)
            return
        if not (delta.finish_reason or self._spoke or self._calls):
            self._fail(NO_WORD)
            return
        self.usage = usage_of(delta.usage)
        self._tell_finish(finish_of(delta.finish_reason, self._call.strict), out)
        self._tell_end(out)

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


_TABLE: Mapping[str, Callable[[CohereStream, CohereEvent, bytes, list[bytes]], None]] = {
    "message-start": CohereStream._on_start,
    "content-start": CohereStream._on_block,
    "content-delta": CohereStream._on_content,
    "tool-plan-delta": CohereStream._on_plan,
    "tool-call-start": CohereStream._on_call,
    "tool-call-delta": CohereStream._on_arguments,
    "tool-call-end": CohereStream._on_call_end,
    "citation-start": CohereStream._on_citation,
    "message-end": CohereStream._on_end,
}
