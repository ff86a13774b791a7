"""Reading OpenAI chat answers, whole and streamed, for every codec whose upstream speaks the pivot dialect.

Text is never decoded: `Raw` values keep the JSON they came in, an empty `Raw` means absent, and strings are joined as
they stand. Only the fields that some client dialect can show are named.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from adapters import counting, openai_errors, sources
from adapters.chat.said import ANSWERS
from adapters.errors import NO_WORD, BadAnswer
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.reasoning import Details
from adapters.types import Call, bodiless
from adapters.unsaid import client_of
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, UNREADABLE, first, joined


class FunctionPart(Struct, gc=False):
    name: str | None = None
    arguments: Raw = ABSENT
    thought_signature: str | None = None


class CallPart(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Said(Struct, gc=False):
    """The `message` of an answer and the `delta` of a chunk."""

    content: Raw = ABSENT
    reasoning_content: Raw = ABSENT
    reasoning: Raw = ABSENT
    reasoning_details: Raw = ABSENT
    refusal: Raw = ABSENT
    tool_calls: list[CallPart] | None = None
    function_call: FunctionPart | None = None
    content_blocks: list[Raw] | None = None
    annotations: Raw = ABSENT


class ContentPart(Struct, gc=False):
    """Some providers answer with a list of parts instead of a string; `thinking` then holds parts again."""

    text: Raw = ABSENT
    thinking: Raw = ABSENT


class Block(Struct, gc=False):
    """One of an answer's `content_blocks`, or what a delta adds to one: the fields that some client can show."""

    type: str = ""
    text: Raw = ABSENT
    thinking: Raw = ABSENT
    signature: Raw = ABSENT
    data: Raw = ABSENT
    citations: Raw = ABSENT
    citation: Raw = ABSENT
    partial_json: Raw = ABSENT
    phase: Raw = ABSENT


class UrlCitation(Struct, gc=False):
    url: str
    title: str | None = None
    start_index: int = 0
    end_index: int = 0


class Annotation(Struct, gc=False):
    """One of a message's `annotations`."""

    type: str = ""
    url_citation: UrlCitation | None = None


class BlockDelta(Struct, gc=False):
    delta: Raw
    index: int = 0


class Choice(Struct, gc=False):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: Raw = ABSENT
    usage: Raw = ABSENT


class Completion(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Raw = ABSENT
    search_results: Raw = ABSENT
    citations: Raw = ABSENT
    id: str | None = None
    model: str | None = None
    created: int | None = None


class Chunk(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT
    search_results: Raw = ABSENT
    citations: Raw = ABSENT


class Head(Struct, gc=False):
    """What only the first chunk is asked for."""

    id: str | None = None
    model: str | None = None
    created: int | None = None


_completion = msgspec.json.Decoder(Completion).decode
_chunk = msgspec.json.Decoder(Chunk).decode
_head = msgspec.json.Decoder(Head).decode
_parts = msgspec.json.Decoder(list[ContentPart]).decode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_block = msgspec.json.Decoder(Block).decode
_block_delta = msgspec.json.Decoder(BlockDelta).decode
_raws = msgspec.json.Decoder(list[Raw]).decode

BROKEN = frozenset(("error", "insufficient_system_resource"))
"""Finish reasons of what is no answer: OpenRouter's and Mistral's, and DeepSeek's."""
_FAILED = "The provider failed while it answered."
_SILENT = Said()
_HAS_DETAILS = b'"reasoning_details"'
_DETAILS_LIMIT = 32 << 20
"""Bytes of `reasoning_details`: an upstream that never stops must not fill the memory."""


def read_completion(body: bytes) -> Completion:
    """A whole answer. Raises BadAnswer when the body is no chat completion."""
    try:
        _check_text(body)
        completion = _completion(body)
    except UNREADABLE as error:
        raise bad_answer(error) from error
    if not completion.choices or any(choice.message is None for choice in completion.choices):
        raise BadAnswer("The provider's answer has no choices with a message.")
    if any(choice.finish_reason in BROKEN for choice in completion.choices):
        raise BadAnswer(_FAILED)
    if completion.search_results or completion.citations:
        for choice in completion.choices:
            if choice.message is not None and first(choice.message.annotations) == NULL:
                choice.message.annotations = sources.cited(completion.search_results, completion.citations)
    return completion


def bad_answer(error: Exception) -> BadAnswer:
    """What an error of `UNREADABLE` says about a whole answer."""
    return BadAnswer(f"The provider's answer is not a chat completion: {error}.")


def _check_text(data: bytes) -> None:
    """Raises UnicodeDecodeError: text moves undecoded, so nothing else would notice broken UTF-8."""
    if not data.isascii():
        data.decode()


Piece: TypeAlias = tuple[int, Raw]
"""A kind and its value: a JSON string that is not empty, but for the kinds that say otherwise."""

TEXT: Final = 0
THINKING: Final = 1
REFUSAL: Final = 2
SIGNATURE: Final = 3
"""Of the thinking before it, which ends there."""
REDACTED: Final = 4
"""A whole block of thinking that only its provider can read."""
CITATION: Final = 5
"""One source of the text before it, in Anthropic's shape: an object."""
FOREIGN: Final = 6
"""The start of any other block, such as a tool that ran at the provider: an object."""
FOREIGN_INPUT: Final = 7
"""More of that block's input."""
THOUGHT: Final = 8
"""Another block of thinking begins; the value is absent. Where blocks are not told apart, none does."""
PHASE: Final = 9
"""What OpenAI's model says next is a comment, or its answer."""


def pieces(said: Said) -> list[Piece]:
    """What an answer or a delta says, in its order, but for its tool calls.

    Where `content_blocks` tell it, `content` is not looked at, unless they hold no text. Raises one of `UNREADABLE`
    where content is neither a string nor a list of parts.
    """
    found: list[Piece] = []
    told = said.content_blocks
    if told:
        if said.content and len(told) == 1 and bytes(told[0])[:8] == _DELTA and len(said.content) > len(b'""'):
            # A word of a stream, which stands in both: what most events are.
            return [(TEXT, said.content)]
        _of_blocks(found, told)
    elif said.reasoning_details and first(said.reasoning_details) == BRACKET:
        _of_details(found, said)
    elif said.reasoning_content or said.reasoning:
        _collect(found, THINKING, said.reasoning_content)
        if not found:
            # Some hosts have both names, one of them null or empty.
            _collect(found, THINKING, said.reasoning)
    if said.content and not (told and any(kind == TEXT for kind, _ in found)):
        _collect(found, TEXT, said.content)
    if said.refusal:
        _collect(found, REFUSAL, said.refusal)
    return found


def _collect(found: list[Piece], kind: int, value: Raw) -> None:
    shape = first(value)
    if shape == QUOTE:
        if len(value) > len(b'""'):
            found.append((kind, value))
    elif shape == BRACKET:
        for part in _parts(value):
            if first(part.thinking) == NULL:
                _collect(found, kind, part.text)
            else:
                _collect(found, THINKING, part.thinking)
    elif shape != NULL:
        raise msgspec.ValidationError("content is neither a string nor a list of parts")


def _of_blocks(found: list[Piece], raws: list[Raw]) -> None:
    for raw in raws:
        block = _block(raw)
        if not block.type:
            # A delta: `{"index": …, "delta": {…}}`.
            raw = _block_delta(raw).delta
            block = _block(raw)
        if block.type in _PLAIN:
            if block.type == "thinking":
                found.append((THOUGHT, ABSENT))
            if block.phase and first(block.phase) == QUOTE:
                found.append((PHASE, block.phase))
            for kind, value in (
                (THINKING, block.thinking),
                (SIGNATURE, block.signature),
                (REDACTED, block.data),
                (TEXT, block.text),
                (FOREIGN_INPUT, block.partial_json),
            ):
                if len(value) > len(b'""') and first(value) == QUOTE:
                    found.append((kind, value))
            if first(block.citation) == BRACE:
                found.append((CITATION, block.citation))
            if first(block.citations) == BRACKET:
                found += [(CITATION, each) for each in _raws(block.citations)]
        elif block.type != "tool_use":
            found.append((FOREIGN, raw))


def _of_details(found: list[Piece], said: Said) -> None:
    """Of a whole answer; those of a stream are put together first (see `ChatStream`)."""
    details = Details()
    text = details.add(said.reasoning_details, whole=True)
    _collect(found, THINKING, text if len(text) > len(b'""') else said.reasoning)
    if details:
        found.append((SIGNATURE, details.sealed()))


_DELTA = b'{"index"'
_PLAIN = frozenset(("", "text", "thinking", "redacted_thinking"))
"""Blocks whose fields are told one by one; deltas have no type."""


def calls_of(said: Said) -> list[CallPart]:
    """The tool calls of an answer or a delta, the single call of older providers among them."""
    if said.tool_calls:
        return said.tool_calls
    single = said.function_call
    # Some providers send an empty one with every answer.
    if single is None or not (single.name or len(single.arguments) > len(b'""')):
        return []
    return [CallPart(0, None, single)]


def same_call(part: CallPart, function: FunctionPart, id: str, started: bool) -> bool:
    """Whether a delta at the index of a call with this id, whose arguments have `started`, is more of it. Some
    providers give all calls one index, or none."""
    if not function.name:
        return True
    if part.id:
        return part.id == id
    return part.index is not None or not started


def is_complete(fragments: list[Raw]) -> bool:
    """Whether a call's arguments are an object from brace to brace, after which nothing can follow."""
    try:
        _object(_str(joined(fragments)))
    except UNREADABLE:
        return False
    return True


def _says(choice: Choice) -> bool:
    """Whether there is anything in a choice of a stream."""
    delta = choice.delta
    return delta is not None and any(each not in _NO_WORDS for each in msgspec.structs.astuple(delta))


_NO_WORDS: tuple[Any, ...] = (None, ABSENT, Raw(b"null"), Raw(b'""'), Raw(b"[]"), Raw(b"{}"), [], False)


class ChatStream(Machine):
    """The half of a stream machine that reads chunks; see `adapters.types.StreamDecoder` for the whole.

    A subclass says what the client gets, in `_begin` (the first chunk), `_add` (a choice) and `_finish` (the answer is
    complete); each appends to `out`, and may `_fail`.
    """

    __slots__ = (
        "_began", "_choices", "_details", "_finished", "_look", "_plain", "_silent", "_sources", "call", "raw_usage",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = bodiless(call)
        self.raw_usage = ABSENT
        """The last usage object as the provider sent it."""
        self._look = ANSWERS.by(client_of(call)).get(b"")
        self._began = False
        self._choices: set[int] = set()
        self._finished: set[int] = set()
        self._details: dict[int, Details] = {}
        """Of choices that think, until they say something else."""
        self._sources = ABSENT
        """What an answer rests on, as annotations, where it is told beside the choices."""
        self._silent = True
        """Whether nothing was said yet, for which chunks are looked through until something is."""
        self._plain = False
        """Whether the next chunk has nothing to begin or to end before it is told."""

    def _begin(self, head: Head, out: list[bytes]) -> None:
        raise NotImplementedError

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        raise NotImplementedError

    def _finish(self, out: list[bytes]) -> None:
        raise NotImplementedError

    def _is_whole(self) -> bool:
        """Where a provider sends no `[DONE]`, finish reasons prove it."""
        return bool(self._finished) and self._finished == self._choices

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
        if chunk.usage and first(chunk.usage) == BRACE:
            self.raw_usage = chunk.usage
            self._heed(self._look, event)
            self.usage = counting.usage_of(event) or self.usage
            # Those who tell sources beside the choices do so with the usage.
            self._sources = sources.cited(chunk.search_results, chunk.citations) or self._sources
        if choices is None or chunk.error:
            error = openai_errors.read_event(event)
            if error is not None:
                self._end(error)
                return
            if choices is None:
                return
        if not self._plain or _HAS_DETAILS in event:
            self._prepare(event, choices, out)
        for choice in choices:
            self._choices.add(choice.index)
            if choice.finish_reason:
                self._finished.add(choice.index)
                self._count(choice)
                self._heed(self._look, event)
                self._add(choice, out)
                if choice.finish_reason in BROKEN:
                    self._fail(_FAILED)
                continue
            self._add(choice, out)

    def _pass_by(self, choice: Choice) -> None:
        """Names a choice after the first, for clients that know one alone."""
        if choice.finish_reason:
            self._leave("choices[1]")

    def _count(self, choice: Choice) -> None:
        """Takes the usage that Moonshot tells in a choice."""
        if self.usage is None and first(choice.usage) == BRACE:
            self.raw_usage = choice.usage
            self.usage = counting.usage_from(counting.decode_tokens(choice.usage))

    def _prepare(self, event: bytes, choices: list[Choice], out: list[bytes]) -> None:
        """What the first chunk needs, and those around `reasoning_details`."""
        if not self._began:
            self._began = True
            self._heed(self._look, event)
            self._begin(_head(event), out)
        if self._details or _HAS_DETAILS in event:
            for choice in choices:
                self._reason(choice, out)
        self._silent = self._silent and not any(map(_says, choices))
        self._plain = not self._details and not self._silent

    def _reason(self, choice: Choice, out: list[bytes]) -> None:
        """Takes the details of what a choice thinks. Their text is told at once, their signature when the choice goes
        on to something else."""
        delta, index = choice.delta or _SILENT, choice.index
        details = self._details.get(index)
        if first(delta.reasoning_details) == BRACKET:
            if details is None:
                details = self._details[index] = Details()
            text = details.add(delta.reasoning_details, whole=False)
            delta.reasoning_details = ABSENT
            if details.size > _DETAILS_LIMIT:
                self._fail("The provider's answer is too large to translate.")
                return
            if len(text) > len(b'""'):
                delta.reasoning = delta.reasoning_content = ABSENT
                self._add(Choice(index, delta=Said(reasoning=text)), out)
        said = delta.content if first(delta.content) == QUOTE else ABSENT
        if details is not None and (choice.finish_reason or delta.tool_calls or len(said) > len(b'""')):
            self._seal(index, out)

    def _seal(self, index: int, out: list[bytes]) -> None:
        details = self._details.pop(index)
        if details:
            signature = Raw(b'{"index":0,"delta":{"signature":%b}}' % details.sealed())
            self._add(Choice(index, delta=Said(content_blocks=[signature])), out)

    def _complete(self, out: list[bytes]) -> None:
        if not self._over:
            if self._choices and self._silent and not self._finished:
                self._fail(NO_WORD)
            elif self._choices:
                for index in tuple(self._details):
                    self._seal(index, out)
                if self._sources:
                    for index in self._finished:
                        self._add(Choice(index, delta=Said(annotations=self._sources)), out)
                self._finish(out)
                self._end()
            else:
                self._fail("The provider's stream held no answer.")
