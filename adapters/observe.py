"""Reading usage and completeness from answers that pass through untouched.

A tap never parses a stream: it keeps a few kilobytes of its head and tail by reference and looks only when the
stream is over. `Usage` follows OpenAI's meaning whatever the dialect: `input` includes cached tokens.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters import google_usage
from adapters.types import Count, CountAsFloat, Dialect, TierName, Usage
from adapters.values import UNREADABLE

_HEAD = 2048
_KEPT = 4096
_SMALL = 128


class _Prompt(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Completion(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None
    thinking_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Written(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: Count | None = None


class _Searched(msgspec.Struct, gc=False):
    web_search_requests: Count | None = None


class _Tokens(msgspec.Struct, gc=False):
    # Both vendors' names side by side; which are set says whose they are.
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None  # all that some embeddings and rankings tell
    prompt_tokens_details: _Prompt | None = None
    completion_tokens_details: _Completion | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _Written | None = None
    input_tokens_details: _Prompt | None = None
    output_tokens_details: _Completion | None = None
    service_tier: TierName | None = None
    server_tool_use: _Searched | None = None
    # OpenAI's transcriptions: their own name for the details, or no tokens at all.
    input_token_details: _Prompt | None = None
    seconds: CountAsFloat | None = None


class _Body(msgspec.Struct, gc=False):
    usage: _Tokens | None = None
    service_tier: TierName | None = None
    usageMetadata: google_usage.Tokens | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_tokens = msgspec.json.Decoder(_Tokens).decode


def usage_of(body: bytes) -> Usage | None:
    """The usage object of a whole JSON answer, or None where there is none."""
    try:
        answer = _decode_body(body)
    except UNREADABLE:
        return None
    tokens = answer.usage
    if tokens is not None:
        return _usage(tokens, answer.service_tier)
    return None if answer.usageMetadata is None else google_usage.counted(answer.usageMetadata)


def _usage(tokens: _Tokens, tier: str | None = None) -> Usage:
    if tokens.prompt_tokens is not None:
        taken, given = tokens.prompt_tokens_details, tokens.completion_tokens_details
        if taken is None and given is None:
            return Usage(tokens.prompt_tokens, tokens.completion_tokens or 0, tier=tier)
        return _of_openai(tokens, tokens.prompt_tokens, tokens.completion_tokens, taken, given, tier)
    taken = tokens.input_tokens_details or tokens.input_token_details
    if taken is not None:
        # OpenAI's Responses: other names, the same meaning.
        given = tokens.output_tokens_details
        return _of_openai(tokens, tokens.input_tokens or 0, tokens.output_tokens, taken, given, tier)
    return _of_anthropic(tokens)


def _of_openai(
    tokens: _Tokens,
    total: int,
    output: int | None,
    taken: _Prompt | None,
    given: _Completion | None,
    tier: str | None,
) -> Usage:
    taken, given = taken or _NO_PROMPT, given or _NO_COMPLETION
    cached = taken.cached_tokens or 0
    # Some hosts tell the same ones twice; this gateway's own answers have Anthropic's word for them.
    written = taken.cache_write_tokens or tokens.cache_creation_input_tokens or 0
    return Usage(
        total,
        output or 0,
        cached,
        min(written, max(0, total - cached)) if written else 0,
        given.reasoning_tokens or 0,
        0,
        taken.audio_tokens or 0,
        given.audio_tokens or 0,
        taken.image_tokens or 0,
        given.image_tokens or 0,
        tier,
    )


def _of_anthropic(tokens: _Tokens) -> Usage:
    read = tokens.cache_read_input_tokens or 0
    written = tokens.cache_creation_input_tokens or 0
    lasting, given = tokens.cache_creation, tokens.output_tokens_details
    fresh = tokens.total_tokens if tokens.input_tokens is None and not tokens.output_tokens else tokens.input_tokens
    return Usage(
        (fresh or 0) + read + written,
        tokens.output_tokens or 0,
        read,
        written,
        0 if given is None else given.thinking_tokens or 0,
        cache_write_1h=0 if lasting is None else lasting.ephemeral_1h_input_tokens or 0,
        tier=tokens.service_tier,
        searches=0 if tokens.server_tool_use is None else tokens.server_tool_use.web_search_requests or 0,
        seconds=tokens.seconds or 0.0,
    )


_NO_PROMPT = _Prompt()
_NO_COMPLETION = _Completion()
_TIER = re.compile(rb'"service_tier"[ \t]*:[ \t]*"([a-z_-]{1,32})"')


class Tap:
    """Watches one verbatim stream. `feed` costs a few references per call; the rest waits for the end."""

    __slots__ = ("_before", "_earlier", "_head", "_last", "_whole", "events")

    def __init__(self, dialect: Dialect) -> None:
        # Anthropic tells the input tokens in its first event: None says that nobody need keep it.
        self._head: bytes | None = b"" if dialect.family == "anthropic" else None
        self._earlier = self._before = self._last = b""
        self._whole = True  # whether nothing was let go yet
        self.events = 0
        """How many events have passed."""

    def feed(self, data: bytes) -> None:
        """Takes the bytes just relayed. Every open stream holds on to what is kept here, so it is the last three reads
        and of small ones a few kilobytes joined, of large ones their end."""
        self.events += data.count(b"\n\n")
        if self._head is not None and len(self._head) < _HEAD:
            self._head += data[:_HEAD]
        if len(data) < _SMALL:
            self._last += data
        else:
            if self._earlier:
                self._whole = False
            self._earlier, self._before, self._last = self._before, self._last, data
        if len(self._last) > _KEPT:
            self._last = self._last[-_KEPT:]
            self._earlier = self._before = b""
            self._whole = False

    def tail(self) -> bytes:
        """The last kilobytes of the stream."""
        return b"".join((self._earlier, self._before, self._last))

    def usage(self) -> Usage | None:
        """What the provider said it counted, as far as it came before the end."""
        tail = self.tail()
        last = _tokens_in(tail, last=True)
        if self._head is None:
            if last is None:
                return None
            tier = _TIER.search(tail)
            return _usage(last, None if tier is None else tier[1].decode())
        first = _tokens_in(self._head, last=False)
        if first is None:
            return None if last is None else _usage(last)
        if last is not None and last.output_tokens is not None:
            first.output_tokens = last.output_tokens
            first.server_tool_use = last.server_tool_use or first.server_tool_use
        return _usage(first)

    def ended(self) -> bool:
        """Whether the dialect's own end marker was seen, or its error event: without one of them even a clean close
        may be a stream cut short."""
        # Only at the start of a line: further on the same words are an answer's text.
        tail = b"\n" + self.tail() if self._whole else self.tail()
        marks = _OPENAI_ENDS if self._head is None else _ANTHROPIC_ENDS
        return marks[0] in tail or any(mark in tail.replace(b"\r", b"\n") for mark in marks)

    def failed(self) -> bool:
        """Whether the provider's own error event is what ended it."""
        tail = b"\n" + self.tail() if self._whole else self.tail()
        marks = _OPENAI_ENDS if self._head is None else _ANTHROPIC_ENDS
        if marks[0] in tail:
            return False
        tail = tail.replace(b"\r", b"\n")
        return any(mark in tail for mark in marks if b"error" in mark)

    def finished(self) -> bool:
        """Whether a finish reason was seen. Some OpenAI-compatible hosts end without `[DONE]`; it is their proof of
        completeness, as far as the framing of the body agrees."""
        return self._head is None and _FINISHED.search(self.tail()) is not None


class ResponsesTap(Tap):
    """The same for OpenAI's Responses, whose last event holds the whole answer again: its start is far from the
    stream's end, so it is looked for as it passes."""

    __slots__ = ("_ended", "_failed", "_seam")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._ended = self._failed = False
        self._seam = b"\n"

    def feed(self, data: bytes) -> None:
        """As the other's."""
        super().feed(data)
        seam = self._seam + data
        found = _RESPONSES_END.search(seam)
        if found is not None:
            self._ended = True
            self._failed = b"failed" in found[0] or b"error" in found[0]
        self._seam = seam[-_LONGEST_END:]

    def ended(self) -> bool:
        """Whether the event came that ends the answer, for good or ill."""
        return self._ended

    def failed(self) -> bool:
        """Whether the event that ended it tells of a failure."""
        return self._failed

    def finished(self) -> bool:
        """Nothing but the last event proves a Response whole."""
        return False

    @property
    def sequence(self) -> int:
        """The number of the event that would come next: that of the last whole one and one more. Where that one is too
        long to be kept, it is how many have passed, for the first has number 0."""
        whole = self.tail().replace(b"\r\n", b"\n").rpartition(b"\n\n")[0]
        for line in reversed(whole.split(b"\n")):
            number = _number_of(line[5:]) if line[:5] == b"data:" else None
            if number is not None:
                return number + 1
        return self.events


class GeminiTap(Tap):
    """The same for Gemini, which has no end marker: a stream is whole when its finish reason has passed. What an answer
    rests on may follow that, and be longer than what is kept."""

    __slots__ = ("_finished", "_seam")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._finished = False
        self._seam = b""

    def feed(self, data: bytes) -> None:
        """As the other's."""
        Tap.feed(self, data)
        self.events += data.count(b"\r\n\r\n")  # so Google's own end
        seam = self._seam + data
        if _GEMINI_FINISH in seam:
            self._finished = True
        self._seam = seam[_GEMINI_SEAM:]

    def usage(self) -> Usage | None:
        """The last count that came whole."""
        tail = self.tail()
        at = tail.rfind(_GEMINI_USAGE)
        while at != -1:
            start = tail.find(b"{", at)
            end = _object_end(tail, start) if start != -1 else -1
            if end != -1:
                try:
                    return google_usage.counted(google_usage.decode(tail[start:end]))
                except UNREADABLE:
                    return None
            at = tail.rfind(_GEMINI_USAGE, 0, at)
        return None

    def finished(self) -> bool:
        """Whether a finish reason was seen, or the reason why there is no answer that could have one."""
        return self._finished or _GEMINI_BLOCKED in self.tail()


_GEMINI_FINISH = b'"finishReason"'
_GEMINI_BLOCKED = b'"blockReason"'
_GEMINI_SEAM = -len(_GEMINI_FINISH)
_GEMINI_USAGE = b'"usageMetadata"'


def tap(dialect: Dialect) -> Tap:
    """What watches a verbatim stream of a dialect."""
    return _TAPS.get(dialect, Tap)(dialect)


_TAPS: dict[Dialect, type[Tap]] = {
    Dialect.OPENAI_RESPONSES: ResponsesTap,
    Dialect.GEMINI_GENERATE: GeminiTap,
    Dialect.GEMINI_STREAM_ARRAY: GeminiTap,
}


class _Numbered(msgspec.Struct, gc=False):
    sequence_number: int | None = None


_decode_numbered = msgspec.json.Decoder(_Numbered).decode


def _number_of(event: bytes) -> int | None:
    try:
        return _decode_numbered(event).sequence_number
    except UNREADABLE:
        return None


_RESPONSES_END = re.compile(
    rb"[\r\n](?:event: ?(?:response\.(?:completed|incomplete|failed)|error)|"
    rb'data: ?\{"type": ?"(?:response\.(?:completed|incomplete|failed)|error)")'
)
_LONGEST_END = 48
_OPENAI_ENDS = (b"\ndata: [DONE]", b"\ndata:[DONE]", b'\ndata: {"error"', b'\ndata:{"error"', b"\nevent: error")
_ANTHROPIC_ENDS = (
    *(b"\nevent: message_stop", b"\nevent:message_stop", b'\ndata: {"type":"message_stop"'),
    *(b"\nevent: error", b"\nevent:error", b'\ndata: {"type":"error"'),
)
_FINISHED = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')


def _tokens_in(text: bytes, *, last: bool) -> _Tokens | None:
    """The first or last `"usage": {…}` in a piece of a stream that decodes."""
    find: Any = text.rfind if last else text.find
    at = find(b'"usage"')
    while at != -1:
        start = text.find(b"{", at + 7)
        if start != -1 and text[at + 7 : start].strip(b" \t") == b":":
            end = _object_end(text, start)
            if end != -1:
                try:
                    return _decode_tokens(text[start:end])
                except UNREADABLE:
                    return None
        at = text.rfind(b'"usage"', 0, at) if last else text.find(b'"usage"', at + 7)
    return None


def _object_end(text: bytes, start: int) -> int:
    # Usage objects hold numbers, names and at most a tier name: counting braces is exact for them.
    depth = 0
    for at in range(start, min(len(text), start + 4096)):
        byte = text[at]
        if byte == 0x7B:
            depth += 1
        elif byte == 0x7D:
            depth -= 1
            if depth == 0:
                return at + 1
    return -1
