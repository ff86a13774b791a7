"""Chat completion → message, and what the stream machine shares with it."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import Raw

from adapters import counting
from adapters.anthropic_client.wire import (
    ContentBlock,
    MessageAnswer,
    MessageUsage,
    OutputDetails,
    RedactedBlock,
    SearchCitation,
    Searched,
    TextBlock,
    ThinkingBlock,
    ToolUse,
    Written,
)
from adapters.errors import BadAnswer
from adapters.packing import FINAL_ANSWER, OPENAI_ITEM, pack, pack_phase, pack_signature, read_head
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
    Annotation,
    FunctionPart,
    Piece,
    Said,
    bad_answer,
    calls_of,
    pieces,
    read_completion,
)
from adapters.types import Call, Reply, Usage
from adapters.values import BRACE, BRACKET, QUOTE, UNREADABLE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_annotations = msgspec.json.Decoder(list[Annotation]).decode

_EMPTY = Raw(b'""')
_UNFIT = re.compile(r"[^A-Za-z0-9]")
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "model_length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_message(call: Call, body: bytes) -> Reply:
    """Builds the message out of the first choice. Raises BadAnswer when the body is no chat completion."""
    completion = read_completion(body)
    assert completion.choices is not None
    choice = completion.choices[0]
    assert choice.message is not None
    try:
        content = _content(call, choice.message)
    except UNREADABLE as error:
        raise bad_answer(error) from error
    usage = counting.usage_of(body)
    calls = any(type(block) is ToolUse for block in content)
    answer = MessageAnswer(
        message_id(call, completion.id),
        "assistant",
        completion.model or call.model,
        content,
        stop_reason(choice.finish_reason, calls),
        None,
        message_usage(usage),
    )
    return Reply(_encode(answer), usage)


def message_id(call: Call, upstream: str | None) -> str:
    """An id as Anthropic's look, made of the upstream's own or of the call's."""
    return f"msg_{(upstream or call.id).removeprefix('chatcmpl-').removeprefix('msg_')}"


def stop_reason(finish_reason: str | None, calls: bool) -> str:
    """Anthropic's word for a finish reason. Some providers say `stop` after tool calls, which no client would run."""
    reason = _STOP_REASONS.get(finish_reason or "", "end_turn")
    return "tool_use" if calls and reason == "end_turn" else reason


def message_usage(usage: Usage | None) -> MessageUsage:
    """Anthropic counts cached tokens apart from `input_tokens`; OpenAI counts them in."""
    if usage is None:
        return MessageUsage(0, 0, 0, 0)
    fresh = max(usage.input - usage.cached - usage.cache_write, 0)
    details = OutputDetails(usage.reasoning) if usage.reasoning else None
    made = MessageUsage(fresh, usage.cache_write, usage.cached, usage.output, details)
    if usage.cache_write_1h:
        made.cache_creation = Written(usage.cache_write - usage.cache_write_1h, usage.cache_write_1h)
    if usage.rare is not None and usage.rare.searches:
        made.server_tool_use = Searched(usage.rare.searches)
    if usage.tier == "priority":
        made.service_tier = usage.tier
    return made


def call_id(call: Call, number: int) -> str:
    """An id for a tool call to which the provider gave none, at most 40 characters: it comes back as `tool_call_id`."""
    return f"toolu_{_UNFIT.sub('', call.id)[-24:]}_{number}"


def tool_input(arguments: Raw) -> Raw:
    """The arguments of a whole call as a JSON object.

    What a model cut short or garbled is kept under `INVALID_JSON`, the key that Anthropic's documentation proposes.
    """
    kind = first(arguments)
    if kind == BRACE:
        return arguments
    text = _str(arguments) if kind == QUOTE else ""
    if not text.strip():
        return Raw(b"{}")
    encoded = text.encode()
    try:
        _object(encoded)
    except UNREADABLE:
        return Raw(_encode({"INVALID_JSON": text}))
    return Raw(encoded)


def redacted(call: str, signature: str) -> Raw:
    """The data of the block of redacted thinking that carries the signature of a tool call: a JSON string."""
    return Raw(_encode(pack_signature(call, signature)))


def phased(phase: Raw) -> Raw:
    """The data of the block of redacted thinking that carries the phase of the text after it: a JSON string."""
    return Raw(_encode(pack_phase(phase)))


def sources(annotations: Raw) -> list[Piece]:
    """OpenAI's URL citations as Anthropic's. Raises one of `UNREADABLE`."""
    if first(annotations) != BRACKET:
        return []
    found: list[Piece] = []
    for each in _annotations(annotations):
        if each.url_citation is not None:
            url, title = each.url_citation.url, each.url_citation.title
            found.append((CITATION, Raw(_encode(SearchCitation(url, title)))))
    return found


def said_pieces(said: Said) -> list[Piece]:
    """As `pivot.pieces`, with the sources that are told beside the text."""
    found = pieces(said)
    if said.annotations and not any(kind == CITATION for kind, _ in found):
        found += sources(said.annotations)
    return found


def _content(call: Call, said: Said) -> list[ContentBlock]:
    content: list[ContentBlock] = []
    phase = FINAL_ANSWER
    for kind, value in said_pieces(said):
        if kind != PHASE:
            _ADD[kind](content, value)
        elif value != phase:
            phase = value
            content.append(RedactedBlock(phased(phase)))
    for number, part in enumerate(calls_of(said)):
        function = part.function or FunctionPart()
        if not function.name:
            raise BadAnswer("The provider's answer has a tool call without a function name.")
        id = part.id or call_id(call, number)
        if function.thought_signature:
            content.append(RedactedBlock(redacted(id, function.thought_signature)))
        content.append(ToolUse(id, function.name, tool_input(function.arguments)))
    return content


def _add_text(content: list[ContentBlock], value: Raw) -> None:
    content.append(TextBlock(value))


def _add_thought(content: list[ContentBlock], value: Raw) -> None:
    content.append(ThinkingBlock(_EMPTY, _EMPTY))


def _add_thinking(content: list[ContentBlock], value: Raw) -> None:
    last = content[-1] if content else None
    if isinstance(last, ThinkingBlock) and last.thinking == _EMPTY == last.signature:
        last.thinking = value
    else:
        content.append(ThinkingBlock(value, _EMPTY))


def _add_signature(content: list[ContentBlock], value: Raw) -> None:
    last = content[-1] if content else None
    if isinstance(last, ThinkingBlock):
        last.signature = joined([last.signature, value])
    else:
        content.append(ThinkingBlock(_EMPTY, value))


def _add_redacted(content: list[ContentBlock], value: Raw) -> None:
    content.append(RedactedBlock(value))


def _add_citation(content: list[ContentBlock], value: Raw) -> None:
    last = content[-1] if content else None
    if isinstance(last, TextBlock):
        last.citations = [*(last.citations or ()), value]


def foreign(value: Raw) -> RedactedBlock | Raw:
    """The block of a tool that ran at the provider. What no client of this dialect knows travels packed."""
    if read_head(value).type == OPENAI_ITEM:
        return RedactedBlock(Raw(_encode(pack([value]))))
    return value


def _add_foreign(content: list[ContentBlock], value: Raw) -> None:
    content.append(foreign(value))


def _add_nothing(content: list[ContentBlock], value: Raw) -> None:
    """Input that streams; in a whole answer it stands in its block."""


_ADD: dict[int, Callable[[list[ContentBlock], Raw], None]] = {
    TEXT: _add_text,
    REFUSAL: _add_text,
    THOUGHT: _add_thought,
    THINKING: _add_thinking,
    SIGNATURE: _add_signature,
    REDACTED: _add_redacted,
    CITATION: _add_citation,
    FOREIGN: _add_foreign,
    FOREIGN_INPUT: _add_nothing,
}
