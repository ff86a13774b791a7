"""Reading OpenAI chat answers, whole and streamed, for every codec whose upstream speaks the pivot dialect.

Text is never decoded: `Raw` values keep the JSON they came in, an empty `Raw` means absent, and strings are joined as
they stand. Only the fields that some client dialect can show are named.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from adapters import observe, openai_errors
from adapters.errors import BadAnswer
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.types import Call, bodiless

ABSENT = Raw(b"")

QUOTE, BRACE, BRACKET, NULL = b'"{[n'
"""First bytes of JSON strings, objects, arrays and null."""


def first(raw: Raw) -> int:
    """The first byte of a value, which tells its JSON type; NULL for an absent one."""
    return memoryview(raw)[0] if raw else NULL


def joined(texts: list[Raw], separator: bytes = b"") -> Raw:
    """One JSON string made of several, none of them decoded. `separator` is the inside of a JSON string."""
    if len(texts) == 1:
        return texts[0]
    return Raw(b'"%b"' % separator.join([memoryview(text)[1:-1] for text in texts]))


class FunctionPart(Struct, gc=False):
    name: str | None = None
    arguments: Raw = ABSENT


class CallPart(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Said(Struct, gc=False):
    """The `message` of an answer and the `delta` of a chunk."""

    content: Raw = ABSENT
    reasoning_content: Raw = ABSENT
    reasoning: Raw = ABSENT
    refusal: Raw = ABSENT
    tool_calls: list[CallPart] | None = None
    function_call: FunctionPart | None = None


class ContentPart(Struct, gc=False):
    """Some providers answer with a list of parts instead of a string; `thinking` then holds parts again."""

    text: Raw = ABSENT
    thinking: Raw = ABSENT


class Choice(Struct, gc=False):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class Completion(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Raw = ABSENT
    id: str | None = None
    model: str | None = None
    created: int | None = None


class Chunk(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT


class Head(Struct, gc=False):
    """What only the first chunk is asked for."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


_completion = msgspec.json.Decoder(Completion).decode
_chunk = msgspec.json.Decoder(Chunk).decode
_head = msgspec.json.Decoder(Head).decode
_parts = msgspec.json.Decoder(list[ContentPart]).decode

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading an answer that is not of the dialect raises."""


def read_completion(body: bytes) -> Completion:
    """A whole answer. Raises BadAnswer when the body is no chat completion."""
    try:
        _check_text(body)
        completion = _completion(body)
    except UNREADABLE as error:
        raise bad_answer(error) from error
    if not completion.choices or any(choice.message is None for choice in completion.choices):
        raise BadAnswer("The provider's answer has no choices with a message.")
    return completion


def bad_answer(error: Exception) -> BadAnswer:
    """What an error of `UNREADABLE` says about a whole answer."""
    return BadAnswer(f"The provider's answer is not a chat completion: {error}.")


def _check_text(data: bytes) -> None:
    """Raises UnicodeDecodeError: text moves undecoded, so nothing else would notice broken UTF-8."""
    if not data.isascii():
        data.decode()


def pieces(said: Said) -> list[tuple[bool, Raw]]:
    """The prose of an answer or a delta in its order: whether it is thinking, and a JSON string that is not empty.

    Raises one of `UNREADABLE` where content is neither a string nor a list of parts.
    """
    found: list[tuple[bool, Raw]] = []
    if said.reasoning_content or said.reasoning:
        _collect(found, True, said.reasoning_content or said.reasoning)
    if said.content:
        _collect(found, False, said.content)
    if said.refusal:
        _collect(found, False, said.refusal)
    return found


def _collect(found: list[tuple[bool, Raw]], thinking: bool, value: Raw) -> None:
    kind = first(value)
    if kind == QUOTE:
        if len(value) > len(b'""'):
            found.append((thinking, value))
    elif kind == BRACKET:
        for part in _parts(value):
            if first(part.thinking) == NULL:
                _collect(found, thinking, part.text)
            else:
                _collect(found, True, part.thinking)
    elif kind != NULL:
        raise msgspec.ValidationError("content is neither a string nor a list of parts")


def calls_of(said: Said) -> list[CallPart]:
    """The tool calls of an answer or a delta, the single call of older providers among them."""
    if said.tool_calls:
        return said.tool_calls
    single = said.function_call
    # Some providers send an empty one with every answer.
    if single is None or not (single.name or len(single.arguments) > len(b'""')):
        return []
    return [CallPart(0, None, single)]


class ChatStream(Machine):
    """The half of a stream machine that reads chunks; see `adapters.types.StreamDecoder` for the whole.

    A subclass says what the client gets, in `_begin` (the first chunk), `_add` (a choice) and `_finish` (the answer is
    complete); each appends to `out`, and may `_fail`.
    """

    __slots__ = ("_began", "_choices", "_finished", "call", "raw_usage")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = bodiless(call)
        self.raw_usage = ABSENT
        """The last usage object as the provider sent it."""
        self._began = False
        self._choices: set[int] = set()
        self._finished: set[int] = set()

    def _begin(self, head: Head, out: list[bytes]) -> None:
        raise NotImplementedError

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        raise NotImplementedError

    def _finish(self, out: list[bytes]) -> None:
        raise NotImplementedError

    def close(self) -> bytes:
        """The rest. Where a provider sends no `[DONE]`, finish reasons prove the answer whole; else sets `error`."""
        if self._over:
            return b""
        out: list[bytes] = []
        try:
            self._take(self._events.close(), out)
            if self._finished and self._finished == self._choices:
                self._complete(out)
        except UNREADABLE:
            # Half an event: the stream was cut, which is said below.
            pass
        self._fail("The upstream ended the stream early.")
        return b"".join(out)

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for _, event in events:
            if event.startswith(b"[DONE]"):
                self._complete(out)
            else:
                self._read(event, out)
            if self._over:
                return

    def _read(self, event: bytes, out: list[bytes]) -> None:
        _check_text(event)
        chunk = _chunk(event)
        choices = chunk.choices
        if choices is None or chunk.error:
            error = openai_errors.read_event(event)
            if error is not None:
                self._end(error)
                return
        if chunk.usage and first(chunk.usage) == BRACE:
            self.raw_usage = chunk.usage
            self.usage = observe.usage_of(event) or self.usage
        if choices is None:
            return
        if not self._began:
            self._began = True
            self._begin(_head(event), out)
        for choice in choices:
            self._choices.add(choice.index)
            if choice.finish_reason:
                self._finished.add(choice.index)
            self._add(choice, out)

    def _complete(self, out: list[bytes]) -> None:
        if not self._over:
            if self._began:
                self._finish(out)
                self._end()
            else:
                self._fail("The provider's stream held no answer.")
