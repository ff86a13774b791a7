"""Chat completion chunks → events of streamGenerateContent.

Every event is a whole answer of its own with what is new in it, as server-sent events or as the items of one JSON
array. Prose goes out as it comes. A function call must be told whole, so calls wait until their choice has finished,
or its next call has begun. Finish reasons and usage come in the last event, one for each choice.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from adapters.errors import BadAnswer
from adapters.gemini_client.response import (
    EMPTY,
    Thoughts,
    call_part,
    finish_reason,
    grounding,
    logprobs_result,
    part_of,
    usage_metadata,
)
from adapters.gemini_client.wire import OutCandidate, OutContent, OutPart
from adapters.pivot import TEXT, CallPart, ChatStream, Choice, FunctionPart, Head, Said, calls_of, pieces
from adapters.types import Call
from adapters.values import ABSENT, BRACE, BRACKET, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode

_HELD_LIMIT = 32 * 1024 * 1024
"""Bytes of tool arguments: an upstream that never stops must not fill the memory."""
_SEARCH = re.compile(rb'"google_?[sS]earch')
_NOTHING = len(b'""')
_CALL_SIZE = 512
"""What a tool call counts for beside its arguments."""


class _Pending:
    """A tool call under way. `fragments` are its arguments so far, as JSON strings."""

    __slots__ = ("fragments", "id", "name", "signature")

    def __init__(self, part: CallPart, function: FunctionPart) -> None:
        self.id = part.id
        self.name = function.name
        self.signature = function.thought_signature
        self.fragments: list[Raw] = []


class _Candidate:
    """One choice under way."""

    __slots__ = ("annotations", "calls", "finish", "head", "notes", "numbers", "tail", "texts", "thoughts")

    def __init__(self, index: int, notes: bool) -> None:
        # What stands around a text, and nothing else, of this candidate.
        self.head = b'"candidates":[{"content":{"parts":[{"text":'
        self.tail = b'}],"role":"model"},"index":%d}]' % index
        self.thoughts = Thoughts()
        self.calls: list[_Pending] = []
        self.numbers: dict[int | None, _Pending] = {}
        self.finish: str | None = None
        self.annotations: list[Raw] = []
        self.texts: list[Raw] = []
        """What has been said, where it must be known for the places of sources."""
        self.notes = notes
        """Whether somebody may want to know of what is said."""


class GenerateStream(ChatStream):
    """One streamed answer; see `adapters.types.StreamDecoder`."""

    __slots__ = ("_array", "_candidates", "_close", "_kept", "_open", "_searches", "_tail", "_told")

    def __init__(self, call: Call, *, array: bool) -> None:
        super().__init__(call)
        self._array = array
        self._open, self._close = (b"[{", b"}") if array else (b"data: {", b"}\r\n\r\n")
        self._candidates: dict[int, _Candidate] = {}
        self._tail = b""
        self._kept = 0
        self._searches = _SEARCH.search(call.body) is not None

    def _begin(self, head: Head, out: list[bytes]) -> None:
        self._tail = b',"modelVersion":%b,"responseId":%b' % (
            _encode(head.model or self.call.model),
            _encode(head.id or f"chatcmpl-{self.call.id}"),
        )

    def _send(self, candidate: bytes, out: list[bytes], more: bytes = b"") -> None:
        out += (self._open, b'"candidates":[', candidate, b"]", more, self._tail, self._close)
        if self._array:
            self._open = b",\r\n{"

    def _say(self, index: int, parts: bytes, out: list[bytes]) -> None:
        self._send(b'{"content":{"parts":[%b],"role":"model"},"index":%d}' % (parts, index), out)

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        index = choice.index
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index, self._searches)
        delta = choice.delta
        if delta is not None:
            content = delta.content
            if content and memoryview(content)[0] == QUOTE and delta == Said(content):
                # What nearly every chunk is: a text, and nothing beside it.
                if len(content) > _NOTHING:
                    if candidate.notes:
                        self._note(candidate, content)
                    out += (self._open, candidate.head, content, candidate.tail, self._tail, self._close)
                    if self._array:
                        self._open = b",\r\n{"
            else:
                self._add_said(index, candidate, delta, out)
        if choice.finish_reason:
            candidate.finish = choice.finish_reason
        if choice.logprobs and first(choice.logprobs) == BRACE:
            result = _encode(logprobs_result(choice.logprobs) or {})
            self._send(b'{"content":{"parts":[]},"logprobsResult":%b,"index":%d}' % (result, index), out)

    def _add_said(self, index: int, candidate: _Candidate, delta: Said, out: list[bytes]) -> None:
        for piece in pieces(delta):
            if piece[0] == TEXT:
                if candidate.notes:
                    self._note(candidate, piece[1])
                self._say(index, b'{"text":%b}' % piece[1], out)
                continue
            candidate.notes = True
            part = part_of(piece, candidate.thoughts)
            if part is not None:
                self._say(index, _encode(part), out)
        for call in calls_of(delta):
            self._add_call(candidate, call)
        if first(delta.annotations) == BRACKET:
            candidate.annotations.append(delta.annotations.copy())
            self._keep(len(delta.annotations))

    def _add_call(self, candidate: _Candidate, part: CallPart) -> None:
        function = part.function or FunctionPart()
        pending = candidate.numbers.get(part.index)
        # Some providers give all calls one index, or none; a name is told once for each.
        if pending is None or (function.name and (part.id != pending.id if part.id else part.index is None)):
            pending = candidate.numbers[part.index] = _Pending(part, function)
            candidate.calls.append(pending)
            self._keep(_CALL_SIZE)
        pending.name = pending.name or function.name
        pending.signature = pending.signature or function.thought_signature
        arguments = function.arguments
        if first(arguments) == BRACE:
            arguments = Raw(_encode(bytes(arguments).decode()))
        if first(arguments) == QUOTE and len(arguments) > len(b'""'):
            # A copy: the fragment would keep the whole event that it is a piece of.
            pending.fragments.append(arguments.copy())
            self._keep(len(arguments))

    def _note(self, candidate: _Candidate, text: Raw) -> None:
        """Takes note of a text that is told, for the places of thoughts and sources."""
        if candidate.thoughts.kept:
            candidate.thoughts.said(text)
        if self._searches:
            candidate.texts.append(text.copy())
            self._keep(len(text))

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > _HELD_LIMIT:
            self._fail("The provider's answer is too large to translate.")

    def _finish(self, out: list[bytes]) -> None:
        usage = usage_metadata(self.usage)
        more = b"" if usage is None else b',"usageMetadata":%b' % _encode(usage)
        for index, candidate in self._candidates.items():
            try:
                parts = self._calls(index, candidate)
            except BadAnswer as error:
                self._fail(str(error))
                return
            last = OutCandidate(
                OutContent(parts or [OutPart(text=EMPTY)]),
                finish_reason(candidate.finish),
                grounding(candidate.annotations, joined(candidate.texts) if candidate.texts else None),
                None,
                index,
            )
            self._send(_encode(last), out, more)
        if self._array:
            out.append(b"]")

    def _calls(self, index: int, candidate: _Candidate) -> list[OutPart]:
        parts = []
        for number, pending in enumerate(candidate.calls):
            arguments = joined(pending.fragments) if pending.fragments else ABSENT
            whole = CallPart(number, pending.id, FunctionPart(pending.name, arguments, pending.signature))
            parts.append(call_part(self.call, whole, arguments, index * 100 + number, candidate.thoughts))
        rest = candidate.thoughts.told()
        if rest:
            parts.append(OutPart(text=EMPTY, thought_signature=rest))
        return parts
