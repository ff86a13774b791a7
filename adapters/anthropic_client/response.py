"""Chat completion → message, and what the stream machine shares with it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters import observe
from adapters.anthropic_client.wire import (
    BRACE,
    BRACKET,
    NULL,
    QUOTE,
    CallPart,
    Completion,
    ContentBlock,
    ContentPart,
    FunctionPart,
    MessageAnswer,
    MessageUsage,
    OutputDetails,
    Said,
    TextBlock,
    ThinkingBlock,
    ToolUse,
    first,
)
from adapters.errors import BadAnswer
from adapters.types import Call, Reply, Usage

_encode = msgspec.json.Encoder().encode
_completion = msgspec.json.Decoder(Completion).decode
_parts = msgspec.json.Decoder(list[ContentPart]).decode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "model_length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_message(call: Call, body: bytes) -> Reply:
    """Builds the message. Raises BadAnswer when the body is no chat completion."""
    try:
        if not body.isascii():
            body.decode()
        completion = _completion(body)
        if not completion.choices or completion.choices[0].message is None:
            raise BadAnswer("The provider's answer has no choices[0].message.")
        choice = completion.choices[0]
        content = _content(call, completion.choices[0].message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"The provider's answer is not a chat completion: {error}.") from error
    usage = observe.usage_of(body)
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
    return MessageUsage(fresh, usage.cache_write, usage.cached, usage.output, details)


def pieces(said: Said) -> list[tuple[bool, Raw]]:
    """The prose of an answer or a delta in its order: whether it is thinking, and a JSON string that is not empty.

    Raises ValidationError where content is neither a string nor a list of parts.
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
            inner = part.thinking
            if first(inner) == NULL:
                _collect(found, thinking, part.text)
            else:
                _collect(found, True, inner)
    elif kind != NULL:
        raise msgspec.ValidationError("content is neither a string nor a list of parts")


def calls_of(said: Said) -> list[CallPart]:
    """The tool calls of an answer or a delta, the single call of older providers among them."""
    if said.tool_calls:
        return said.tool_calls
    return [] if said.function_call is None else [CallPart(0, None, said.function_call)]


def call_id(call: Call, number: int) -> str:
    """An id for a tool call to which the provider gave none."""
    return f"toolu_{call.id}_{number}"


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
    except (msgspec.MsgspecError, RecursionError):
        return Raw(_encode({"INVALID_JSON": text}))
    return Raw(encoded)


def _content(call: Call, said: Said) -> list[ContentBlock]:
    content: list[ContentBlock] = [
        ThinkingBlock(text) if thinking else TextBlock(text) for thinking, text in pieces(said)
    ]
    for number, part in enumerate(calls_of(said)):
        function = part.function or FunctionPart()
        if not function.name:
            raise BadAnswer("The provider's answer has a tool call without a function name.")
        content.append(ToolUse(part.id or call_id(call, number), function.name, tool_input(function.arguments)))
    return content
