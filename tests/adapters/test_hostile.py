"""Values that no honest client or provider sends: a request that has one is refused with its place, an answer is read
as far as it can be or is no answer at all. Nothing else is ever raised."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from adapters.errors import BadAnswer, InvalidRequest
from adapters.registry import codec
from adapters.types import Call, Dialect

ASKED = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CLAUDE = "anthropic.claude-sonnet-4-5-v1:0"
MESSAGE = {"role": "assistant", "content": "x"}
THOUGHT = {"reasoningContent": {"redactedContent": "\N{GRINNING FACE}"}}


def call(client: Dialect, fields: dict[str, Any], stream: bool = False) -> Call:
    body = msgspec.json.encode({"model": CLAUDE, **fields}).replace(b'"HUGE"', b"1e400")
    return Call(client, CLAUDE, stream, body, "id", 0, strict=False)


@pytest.mark.parametrize(
    ("upstream", "fields", "place"),
    [
        (Dialect.ANTHROPIC_MESSAGES, {"reasoning": {"max_tokens": "x"}}, "reasoning.max_tokens"),
        (Dialect.BEDROCK_CONVERSE, {"metadata": {"user_id": "HUGE"}}, "metadata.user_id"),
        (Dialect.BEDROCK_CONVERSE, {"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        (Dialect.ANTHROPIC_MESSAGES, {"tools": [TOOL], "tool_choice": {"type": "tool", "name": 1}}, "tool_choice.name"),
    ],
)
def test_a_chat_that_cannot_be_read_is_refused_with_the_place(
    upstream: Dialect, fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        codec(Dialect.OPENAI_CHAT, upstream).request(call(Dialect.OPENAI_CHAT, {"messages": [ASKED], **fields}))
    assert refused.value.param == place


def test_a_block_that_nobody_can_read_does_not_stop_a_history() -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [], "refusal": {}}
    history = [ASKED, {"role": "assistant", "content": [found, {"type": "text", "text": "ok"}]}, ASKED]
    asked = call(Dialect.ANTHROPIC_MESSAGES, {"max_tokens": 9, "messages": history})
    assert b'"ok"' in codec(Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES).request(asked).body


@pytest.mark.parametrize(
    ("upstream", "answer"),
    [
        (
            Dialect.MISTRAL_CHAT,
            {
                "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "num_cached_tokens": "x"},
            },
        ),
        (
            Dialect.MISTRAL_CHAT,
            {
                "choices": [
                    {"index": 0, "message": {**MESSAGE, "reasoning_details": [{"type": {}}]}, "finish_reason": "stop"}
                ]
            },
        ),
        (
            Dialect.BEDROCK_CONVERSE,
            {
                "output": {"message": {"role": "assistant", "content": [THOUGHT, {"text": "x"}]}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            },
        ),
        (
            Dialect.GEMINI_GENERATE,
            {
                "candidates": [
                    {"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "finishMessage": None},
                    {"content": {"parts": [{"text": "y"}, {"text": "z"}]}, "finishReason": "STOP"},
                ]
            },
        ),
    ],
)
@pytest.mark.parametrize("client", [Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES])
def test_a_strange_value_in_an_answer_costs_at_most_that_value(
    client: Dialect, upstream: Dialect, answer: dict[str, Any]
) -> None:
    asked = {"input": "hi"} if client is Dialect.OPENAI_RESPONSES else {"max_tokens": 9, "messages": [ASKED]}
    try:
        told = codec(client, upstream).response(call(client, asked), msgspec.json.encode(answer))
    except BadAnswer:
        pytest.fail("an answer that says something is one")
    assert b'"x"' in told.body
