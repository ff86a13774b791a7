"""streamGenerateContent events → chat completion chunks.

Every event is a whole answer of its own, with what is new in it. There is no end marker: a stream is complete when it
ends after every candidate had its finish reason, so finish, usage and `[DONE]` are told at the end. A function call
comes whole, in one event, unless its arguments were asked for as they are made (see `partial`). What a chunk has around
its delta is built once for each candidate; a text delta then costs one decode of the event, and its text crosses as the
JSON it came in.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters import google_errors
from adapters.chat.response import wish_of
from adapters.chat.stream import Chunks
from adapters.chat.wire import EMPTY_STRING, CalledFunction, OutToolCall, OutUsage, searched, told
from adapters.counting import with_rare
from adapters.framing.sse import Event
from adapters.gemini.blocks import Blocks
from adapters.gemini.grounding import citations, logprobs
from adapters.gemini.partial import Arguments
from adapters.gemini.response import arguments, call_id, explained, finish, finish_of_refusal
from adapters.gemini.said import ANSWERS
from adapters.gemini.wire import Answer, AnswerPart, Called, Candidate, Inline, RawAnswer
from adapters.google_usage import Tokens, counted
from adapters.pieces import of_grounding
from adapters.types import Call, Usage
from adapters.unsaid import ITEMS, MESSAGES, client_of
from adapters.values import QUOTE, first, on_one_line

_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(Answer).decode
_raws = msgspec.json.Decoder(RawAnswer).decode
_str = msgspec.json.Decoder(str).decode

_KEPT_LIMIT = 4 * 1024 * 1024
"""Bytes of text kept to turn places in it from bytes into characters; beyond that they stay bytes."""
_MOST_GROUNDS = 1 << 18  # bytes of what an answer rests on that are kept
_SEARCHES = (b"earch", b"ontext", b"aps")
"""Inside of names of tools whose answers say what they rest on."""


class _Choice:
    """One candidate under way: what stands around its deltas, and how far it is."""

    __slots__ = ("blocks", "calls", "head", "kept", "partial", "plain", "reason", "refused", "size", "text_head")

    def __init__(self, head: bytes, index: int, keeps: bool) -> None:
        self.head = b'%b{"index":%d,"delta":' % (head, index)
        self.text_head = self.head + b'{"content":'
        self.blocks = Blocks()
        self.calls = 0
        self.partial: Arguments | None = None
        self.reason: str | None = None
        self.refused = False
        self.kept: list[Raw] | None = [] if keeps else None
        self.plain = not keeps
        self.size = 0


class GeminiStream(Chunks):
    """Translates one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_choices", "_keeps", "_rests", "_tokens")
    _tokens: Tokens | None
    _rests: bytes

    provider = b"google"
    answers = ANSWERS

    def __init__(self, call: Call) -> None:
        wish = wish_of(call)
        super().__init__(call, wish)
        self._keeps = any(word in bytes(wish.tools) + bytes(wish.web_search_options) for word in _SEARCHES)
        self._choices: dict[int, _Choice] = {}

    @property
    def usage(self) -> Usage | None:
        """What the provider counted so far. Every event says it anew, so it is worked out only when asked for."""
        return None if self._tokens is None else with_rare(counted(self._tokens), of_grounding(self._rests))

    @usage.setter
    def usage(self, value: Usage | None) -> None:
        self._tokens, self._rests = None, b""  # a machine is made without any

    def _is_whole(self) -> bool:
        """There is no end marker: every candidate came to its end."""
        return not self._over and bool(self._choices) and all(each.reason for each in self._choices.values())

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for _, data in events:
            if not data.isascii():
                # Text is passed on undecoded; broken bytes must not hide in it.
                data.decode()
            if data[:1] == b"[":
                self._end(google_errors.read_event(data))
                return
            answer = _answer(data)
            if answer.error:
                self._end(google_errors.read_event(data))
                return
            tokens = answer.usage_metadata
            if tokens is not None:
                self._tokens = tokens
            candidates = answer.candidates
            if candidates:
                for candidate in candidates:
                    self._add(candidate, answer, data, out)
            elif (refused := answer.refused) is not None:
                choice = self._choices.get(0) or self._open(0, answer, out)
                self._heed(self._looks.get(b""), data)
                self._explain(choice, refused.block_reason_message, out)
                choice.reason = finish_of_refusal(refused, self._call.strict)
                choice.refused = True

    def _open(self, index: int, answer: Answer, out: list[bytes]) -> _Choice:
        if not self._head:
            self._name(answer.response_id, answer.model_version)
        choice = self._choices[index] = _Choice(self._head, index, self._keeps)
        if index and client_of(self._call) & (ITEMS | MESSAGES):
            self._leave("candidates[1]")
        self._send(choice, b'{"role":"assistant","content":""}', out)
        return choice

    def _send(self, choice: _Choice, delta: bytes, out: list[bytes]) -> None:
        out += (choice.head, delta, self._tail)

    def _add(self, candidate: Candidate, answer: Answer, data: bytes, out: list[bytes]) -> None:
        choice = self._choices.get(candidate.index)
        if choice is None:
            choice = self._open(candidate.index, answer, out)
        content = candidate.content
        if content is not None:
            parts = content.parts
            if self._blocks:
                self._show(candidate, choice, answer, data, out)
            else:
                for part in parts:
                    text = part.text
                    if len(text) > 2 and choice.plain and not part.thought and memoryview(text)[0] == QUOTE:
                        # What nearly every event is: a text that is not empty, and nothing beside it.
                        out += (choice.text_head, text, self._text_tail)
                    elif text:
                        self._say(choice, part, text, b"", out)
                    elif part.function_call is not None:
                        self._call_function(choice, candidate.index, part, b"", out)
                    else:
                        self._heed(self._looks.get(b""), data)
                        if part.inline_data is not None:
                            self._sound(choice, part.inline_data, b"", out)
        if candidate.finish_reason is not None:
            choice.reason = candidate.finish_reason
            self._explain(choice, explained(candidate), out)
            self._heed(self._looks.get(b""), data)
        if candidate.logprobs_result:
            self._tell_logprobs(choice, candidate, out)
        if candidate.grounding_metadata or candidate.citation_metadata:
            self._cite(choice, candidate, out)
            self._heed(self._looks.get(b""), data)
            if len(self._rests) < _MOST_GROUNDS:
                self._rests += bytes(candidate.grounding_metadata)

    def _say(self, choice: _Choice, part: AnswerPart, text: Raw, blocks: bytes, out: list[bytes]) -> None:
        if first(text) != QUOTE:
            raise msgspec.ValidationError("a part's text is not a string")
        if part.thought or text == EMPTY_STRING:
            if blocks:
                self._send(choice, b"{%b}" % blocks[1:], out)
            elif part.thought and not self._blocks:
                self._leave("candidates[].content.parts[].thought")
            return
        out += (choice.text_head, text, blocks, b"}", self._tail)
        kept = choice.kept
        if kept is not None:
            # A copy: the text would keep the whole event that it is a piece of.
            kept.append(text.copy())
            choice.size += len(text)
            if choice.size > _KEPT_LIMIT:
                choice.kept = None

    def _show(self, candidate: Candidate, choice: _Choice, answer: Answer, data: bytes, out: list[bytes]) -> None:
        """As `_add` does it, with `content_blocks` beside."""
        raws: list[Raw] | None = None
        for number, part in enumerate(candidate.content.parts if candidate.content is not None else ()):
            raw = None
            if not part.text and part.function_call is None and part.inline_data is None:
                if raws is None:
                    at = next(at for at, each in enumerate(answer.candidates or ()) if each is candidate)
                    raws = _raws(data).parts()[at]
                raw = raws[number]
            deltas = choice.blocks.deltas(part, raw)
            blocks = b',"content_blocks":[%b]' % b",".join(deltas) if deltas else b""
            if part.text:
                self._say(choice, part, part.text, blocks, out)
            elif part.function_call is not None:
                self._call_function(choice, candidate.index, part, blocks, out)
            elif part.inline_data is not None:
                self._sound(choice, part.inline_data, blocks, out)
            elif blocks:
                self._send(choice, b"{%b}" % blocks[1:], out)

    def _explain(self, choice: _Choice, why: str | None, out: list[bytes]) -> None:
        """Tells what Gemini says of why it refused."""
        if why:
            self._send(choice, b'{"refusal":%b}' % _encode(why), out)

    def _sound(self, choice: _Choice, data: Inline, blocks: bytes, out: list[bytes]) -> None:
        if data.mime_type.startswith("audio/"):
            audio = {"id": f"audio_{self._call.id[-24:]}", "data": data.data}
            self._send(choice, b'{"audio":%b%b}' % (_encode(audio), blocks), out)
        elif blocks:
            self._send(choice, b"{%b}" % blocks[1:], out)

    def _call_function(self, choice: _Choice, index: int, part: AnswerPart, blocks: bytes, out: list[bytes]) -> None:
        called = part.function_call
        assert called is not None
        if choice.partial is not None:
            if not called.name or (called.id is not None and called.id == choice.partial.id):
                self._go_on(choice, part, called, out)
                return
            self._end_call(choice, out)
        if not called.name:
            self._fail("The provider's answer has a function call without a name.")
            return
        comes = called.will_continue or called.partial_args is not None
        function = CalledFunction(called.name, "" if comes else arguments(called))
        if self._blocks:
            function.thought_signature = part.thought_signature
        number = choice.calls
        choice.calls += 1
        if not self._legacy:
            call = OutToolCall(call_id(self._call, called, index * 100 + number), "function", function)
            # The index, which whole answers do not have, goes first.
            told_call = b'{"index":%d,%b' % (number, _encode(call)[1:])
            self._send(choice, b'{"tool_calls":[%b]%b}' % (told_call, blocks), out)
        elif number == 0:
            self._send(choice, b'{"function_call":%b%b}' % (_encode(function), blocks), out)

        if comes:
            choice.partial = Arguments(called.id, part.thought_signature)
            self._go_on(choice, part, called, out)

    def _go_on(self, choice: _Choice, part: AnswerPart, called: Called, out: list[bytes]) -> None:
        """More of the arguments of a call that comes in parts; one that is empty ends it. Its signature may come with
        any of them."""
        partial = choice.partial
        assert partial is not None
        if called.partial_args:
            self._tell_arguments(choice, b"".join(map(partial.add, called.partial_args)), out)
        elif not called.will_continue:
            self._end_call(choice, out)
        signature = part.thought_signature
        if signature and signature != partial.signature and self._blocks:
            partial.signature = signature
            self._tell_more(choice, b'"thought_signature":%b' % _encode(signature), out)

    def _end_call(self, choice: _Choice, out: list[bytes]) -> None:
        partial, choice.partial = choice.partial, None
        if partial is not None:
            self._tell_arguments(choice, partial.close(), out)

    def _tell_arguments(self, choice: _Choice, text: bytes, out: list[bytes]) -> None:
        self._tell_more(choice, b'"arguments":%b' % _encode(text.decode()), out)

    def _tell_more(self, choice: _Choice, fields: bytes, out: list[bytes]) -> None:
        """More of the function that the last call calls."""
        number = choice.calls - 1
        if not self._legacy:
            self._send(choice, b'{"tool_calls":[{"index":%d,"function":{%b}}]}' % (number, fields), out)
        elif number == 0:
            self._send(choice, b'{"function_call":{%b}}' % fields, out)

    def _tell_logprobs(self, choice: _Choice, candidate: Candidate, out: list[bytes]) -> None:
        found = logprobs(candidate.logprobs_result)
        if found is not None:
            out += (choice.head, b'{},"logprobs":', _encode(found), self._tail)

    def _cite(self, choice: _Choice, candidate: Candidate, out: list[bytes]) -> None:
        text = None if choice.kept is None else "".join(map(_str, choice.kept))
        found = citations(candidate.grounding_metadata, candidate.citation_metadata, text)
        delta = b'{"annotations":%b}' % _encode(found) if found else b"{}"
        if candidate.grounding_metadata and not self._call.strict:
            delta += b',"groundingMetadata":' + on_one_line(candidate.grounding_metadata)
        if len(delta) > len(b"{}"):
            self._send(choice, delta, out)

    def _told(self, usage: Usage, own: bool) -> OutUsage:
        # Google tells what it read from a cache, but not what it wrote to one.
        return searched(told(usage), usage) if self._blocks else told(usage)

    def _complete(self, out: list[bytes]) -> None:
        for index, choice in self._choices.items():
            self._end_call(choice, out)
            reason = choice.reason
            if not choice.refused:
                reason = finish(reason, choice.calls, self._call.strict, self._legacy)
            self._tell_finish(reason or "stop", out, index)
        self._tell_end(out)
