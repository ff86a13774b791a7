"""Reading usage and completeness from answers that pass through untouched.

A tap never parses a stream: it keeps a few kilobytes of its head and tail by reference and looks only when the
stream is over. `Usage` follows OpenAI's meaning whatever the dialect: `input` includes cached tokens.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters import claude_usage, google_usage, pieces
from adapters.counting import Tokens, decode_tokens, usage_from, usage_of, with_rare
from adapters.types import Dialect, Rare, Usage
from adapters.values import UNREADABLE

_HEAD = 2048
_KEPT = 4096
_SMALL = 128


_BLANKS = (b"\n\n", b"\r\n\r\n")
_TIER = re.compile(rb'"service_tier"[ \t]*:[ \t]*"([a-z_-]{1,32})"')


class Tap:
    """Watches one verbatim stream. `feed` costs a few references per call; the rest waits for the end."""

    __slots__ = ("_before", "_earlier", "_head", "_last", "_long", "_whole", "events")

    def __init__(self, dialect: Dialect) -> None:
        # Anthropic tells the input tokens in its first event: None says that nobody need keep it.
        self._head: bytes | None = b"" if dialect.family == "anthropic" else None
        self._earlier = self._before = self._last = self._long = b""
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
            if self._last[-1:] == b"\n":
                self.begin(self._last)
            self._last = self._end_of(self._last)
            self._earlier = self._before = b""
            self._whole = False

    def _end_of(self, data: bytes) -> bytes:
        return data[-_KEPT:]

    def _counted(self, tail: bytes) -> Tokens | None:
        """The last count in a stream's tail."""
        return _tokens_in(tail, last=True)

    def begin(self, events: bytes) -> None:
        """Takes note of how the last of these events begins, if it is longer than what is kept of the stream's end."""
        window = len(events) - _KEPT
        if window > 0 and not any(events.find(mark, window, -4) >= 0 for mark in _BLANKS):
            at = max(events.rfind(mark, 0, window) for mark in _BLANKS)
            self._long = events[max(at, 0) :][:_KEPT].lstrip(b"\r\n")

    def long(self) -> bytes:
        """The beginning of the last event that was too long for `tail`."""
        return self._long

    def tail(self) -> bytes:
        """The last kilobytes of the stream."""
        return b"".join((self._earlier, self._before, self._last))

    def usage(self) -> Usage | None:
        """What the provider said it counted, as far as it came before the end."""
        tail = self.tail()
        last = self._counted(tail)
        if self._head is None:
            if last is None:
                return None
            tier = _TIER.search(tail)
            return usage_from(last, None if tier is None else tier[1].decode())
        first = _tokens_in(self._head, last=False)
        if first is None:
            return None if last is None else usage_from(last)
        usage = usage_from(first)
        return usage if last is None else claude_usage.counted(last, usage)

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


class MessagesTap(Tap):
    """The same for Anthropic's Messages, which tell what they searched at their end: of a stream that does not come to
    it, searches count as they passed."""

    __slots__ = ("_part", "_searched")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._searched: Usage | None = None
        self._part = b""  # of an event that has not come to its end

    def feed(self, data: bytes) -> None:
        """As the other's."""
        Tap.feed(self, data)
        if self._part:
            data = self._part + data
        if data.endswith(b"\n\n"):
            self._part = b""
        else:
            whole = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            self._part = data[whole:] if len(data) - whole < _HEAD else b""  # the events that are meant are short
            data = data[:whole]
        if claude_usage.SERVER_TOOL in data:
            self._searched = claude_usage.searched(self._searched, data)

    def _end_of(self, data: bytes) -> bytes:
        # The last count lists every step that a request took, which may be more than is kept else.
        at = data.rfind(_MESSAGE_DELTA, -_LAST_EVENT)
        return data[min(data.rfind(b"\n", 0, at) + 1, len(data) - _KEPT) :] if at >= 0 else data[-_KEPT:]

    def _counted(self, tail: bytes) -> Tokens | None:
        at = tail.rfind(_MESSAGE_DELTA)
        if at >= 0:
            line = tail[tail.rfind(b"\n", 0, at) + 1 : tail.find(b"\n", at)]
            try:
                return _decode_end(line[line.find(b"{") :]).usage
            except UNREADABLE:
                pass  # cut short, or another's way of writing it
        return super()._counted(tail)

    def usage(self) -> Usage | None:
        """As the other's."""
        usage, searched = super().usage(), self._searched
        if searched is None or (usage is not None and usage.rare is not None and usage.rare.searches):
            return usage
        return with_rare(usage or Usage(), searched.rare)


class ResponsesTap(Tap):
    """The same for OpenAI's Responses, whose last event holds the whole answer again: its start is far from the
    stream's end, so it is looked for as it passes."""

    __slots__ = ("_called", "_end", "_ended", "_failed", "_seam")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._ended = self._failed = False
        self._seam = b"\n"
        self._end: bytearray | None = None  # the last event, once it has begun
        self._called: dict[str, int] | None = None  # calls of tools that are charged by the piece, as they pass

    def feed(self, data: bytes) -> None:
        """As the other's."""
        super().feed(data)
        if self._end is not None and len(self._end) < _LAST_EVENT:
            self._end += data
        seam = self._seam + data
        found = _RESPONSES_MARK.search(seam)
        self._seam = seam[-_LONGEST_MARK:] if found is None else self._marked(seam)

    def _marked(self, seam: bytes) -> bytes:
        """Takes note of what passes; gives what may be the beginning of more."""
        at = 0
        for found in _RESPONSES_MARK.finditer(seam):
            at = found.end()
            called = found["call"]
            if called is not None:
                self._called = self._called or {}
                name = called.decode()
                self._called[name] = self._called.get(name, 0) + 1
                continue
            self._ended = True
            self._failed = b"failed" in found[0] or b"error" in found[0]
            if self._end is None:
                self._end = bytearray(seam[found.start() :])
        return seam[max(at, len(seam) - _LONGEST_MARK) :]

    def usage(self) -> Usage | None:
        """As the other's, and what tools were called for: as the last event has it, or as far as they passed."""
        end = self._end
        if end is not None and 0 < len(end) < _LAST_EVENT:
            try:
                return usage_of(bytes(_decode_ended(end[end.find(b"{") :].splitlines()[0]).response))
            except (*UNREADABLE, IndexError):
                pass  # it has not come to its end
        usage, called = super().usage(), self._called
        if called is None:
            return usage
        rare = Rare(
            searches=called.get("web_search", 0),
            files=called.get("file_search", 0),
            sessions=min(1, called.get("code_interpreter", 0)),
            uncounted="image_generation" in called,
        )
        return with_rare(usage or Usage(), rare)

    def ended(self) -> bool:
        """Whether the event came that ends the answer, for good or ill."""
        return self._ended

    def failed(self) -> bool:
        """Whether the event that ended it tells of a failure."""
        return self._failed

    def long(self) -> bytes:
        """The event that ended it with a failure: such a one repeats what the request was."""
        return bytes(self._end) if self._failed and self._end is not None else b""

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

    __slots__ = ("_end", "_finished", "_seam")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._finished = False
        self._seam = b""
        self._end = bytearray()

    def feed(self, data: bytes) -> None:
        """As the other's."""
        Tap.feed(self, data)
        self.events += data.count(b"\r\n\r\n")  # so Google's own end
        seam = self._seam + data
        if _GEMINI_FINISH in seam:
            self._rest(data if self._finished else seam)
        else:
            self._seam = seam[_GEMINI_SEAM:]

    def _end_of(self, data: bytes) -> bytes:
        at = data.rfind(_GEMINI_ERROR, 0, _LONGEST_MARK - _KEPT)
        found = None if at < 0 else _ERROR_ITEM.search(data, max(at - _LONGEST_MARK, 0), at + len(_GEMINI_ERROR))
        if found is not None:
            # An error as an item of an array, whose beginning is let go of here.
            self._long = data[found.start(1) :][:_KEPT]
        return super()._end_of(data)

    def _rest(self, data: bytes) -> None:
        """Keeps what comes with the finish reason, and after it: what the answer has searched."""
        self._finished = True
        self._seam = _GEMINI_FINISH  # so that whatever follows comes here as well
        if len(self._end) < _LAST_EVENT:
            self._end += data

    def usage(self) -> Usage | None:
        """The last count that came whole, and what was searched."""
        usage, rare = self._tokens(), pieces.of_grounding(bytes(self._end))
        return usage if usage is None else with_rare(usage, rare)

    def _tokens(self) -> Usage | None:
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


class Charged(Tap):
    """Watches an answer, whole or not, on a path where something is charged by the piece: `kind` is a word of
    `pieces.PAID`, `body` the request's. Where the answer tells usage, that counts."""

    __slots__ = ("_asked", "_begin", "_drawn", "_kind", "_seam")

    def __init__(self, kind: str, body: bytes) -> None:
        super().__init__(Dialect.PASSTHROUGH)
        self._kind = kind
        self._asked = pieces.of_request(kind, body)
        self._begin = bytearray()
        self._drawn = 0
        self._seam = b""

    def feed(self, data: bytes) -> None:
        """As the other's."""
        super().feed(data)
        if self._kind in ("sound", "pages") and len(self._begin) < _LAST_EVENT:
            self._begin += data
        if self._kind == "images":
            seam = self._seam + data
            found = list(_DRAWN.finditer(seam))
            self._drawn += len(found)
            self._seam = seam[max(found[-1].end() if found else 0, len(seam) - _LONGEST_MARK) :]

    def usage(self) -> Usage | None:
        """What the answer tells, or what it comes to in pieces: nothing that is charged counts as nothing."""
        begin = bytes(self._begin)
        counted = usage_of(begin) or super().usage()
        if counted is not None and counted != Usage():
            return counted
        if self._drawn:
            return Usage(rare=Rare(images=self._drawn))
        return Usage(rare=self._asked or pieces.of_answer(self._kind, begin))


class _MessageDelta(msgspec.Struct, gc=False):
    usage: Tokens | None = None


_decode_end = msgspec.json.Decoder(_MessageDelta).decode
_MESSAGE_DELTA = b'"message_delta"'
_DRAWN = re.compile(rb'"(?:b64_json|url)"\s*:\s*"')
_GEMINI_FINISH = b'"finishReason"'
_GEMINI_BLOCKED = b'"blockReason"'
_GEMINI_ERROR = b'"error"'
_ERROR_ITEM = re.compile(rb'[\[,]\s*(\{)\s*"error"')
_GEMINI_SEAM = -len(_GEMINI_FINISH)
_GEMINI_USAGE = b'"usageMetadata"'


def tap(dialect: Dialect) -> Tap:
    """What watches a verbatim stream of a dialect."""
    return _TAPS.get(dialect, Tap)(dialect)


_TAPS: dict[Dialect, type[Tap]] = {
    Dialect.ANTHROPIC_MESSAGES: MessagesTap,
    Dialect.OPENAI_RESPONSES: ResponsesTap,
    Dialect.GEMINI_GENERATE: GeminiTap,
    Dialect.GEMINI_STREAM_ARRAY: GeminiTap,
}


class _EndedResponse(msgspec.Struct, gc=False):
    response: msgspec.Raw


_decode_ended = msgspec.json.Decoder(_EndedResponse).decode


class _Numbered(msgspec.Struct, gc=False):
    sequence_number: int | None = None


_decode_numbered = msgspec.json.Decoder(_Numbered).decode


def _number_of(event: bytes) -> int | None:
    try:
        return _decode_numbered(event).sequence_number
    except UNREADABLE:
        return None


_RESPONSES_MARK = re.compile(
    rb"[\r\n](?:event: ?(?:response\.(?:completed|incomplete|failed)|error)|"
    rb'data: ?\{"type": ?"(?:response\.(?:completed|incomplete|failed|'
    rb'(?P<call>web_search|file_search|code_interpreter|image_generation)_call\.completed)|error)")'
)
_LONGEST_MARK = 64
_LAST_EVENT = 1 << 20  # bytes of an answer's end that are kept while it passes
_OPENAI_ENDS = (b"\ndata: [DONE]", b"\ndata:[DONE]", b'\ndata: {"error"', b'\ndata:{"error"', b"\nevent: error")
_ANTHROPIC_ENDS = (
    *(b"\nevent: message_stop", b"\nevent:message_stop", b'\ndata: {"type":"message_stop"'),
    *(b"\nevent: error", b"\nevent:error", b'\ndata: {"type":"error"'),
)
_FINISHED = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')


def _tokens_in(text: bytes, *, last: bool) -> Tokens | None:
    """The first or last `"usage": {…}` in a piece of a stream that decodes."""
    find: Any = text.rfind if last else text.find
    at = find(b'"usage"')
    while at != -1:
        start = text.find(b"{", at + 7)
        if start != -1 and text[at + 7 : start].strip(b" \t") == b":":
            end = _object_end(text, start)
            if end != -1:
                try:
                    return decode_tokens(text[start:end])
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
