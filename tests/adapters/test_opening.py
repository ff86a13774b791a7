"""Which of a stream's first events say something of the answer, and which are errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.errors import Kind
from adapters.opening import BEGUN, NOTHING, look
from adapters.types import Dialect

CHAT, TEXT, RESPONSES, MESSAGES = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_COMPLETIONS,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
)


def sent(*values: Any, line: str = "\n") -> bytes:
    return "".join(f"data: {json.dumps(value)}{line}{line}" for value in values).encode()


def choice(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("dialect", "values"),
    [
        (CHAT, [choice(role="assistant", content="")]),
        (CHAT, [choice(role="assistant", content=None, refusal=None)]),
        (CHAT, [{"choices": [], "prompt_filter_results": [{}]}]),
        (TEXT, [{"choices": [{"text": "", "index": 0, "finish_reason": None}]}]),
        (MESSAGES, [{"type": "message_start", "message": {}}, {"type": "ping"}]),
        (MESSAGES, [{"type": "content_block_start", "content_block": {"type": "text", "text": ""}}]),
        (MESSAGES, [{"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "input": {}}}]),
        (RESPONSES, [{"type": "response.created"}, {"type": "response.output_item.added"}]),
    ],
)
def test_what_only_opens_a_stream_says_nothing(dialect: Dialect, values: list[Any]) -> None:
    assert look(dialect, sent(*values)) == NOTHING
    assert look(dialect, b": comment\n\n" + sent(*values, line="\r\n")) == NOTHING


@pytest.mark.parametrize(
    ("dialect", "value"),
    [
        (CHAT, choice(content="a")),
        (CHAT, choice(tool_calls=[{"index": 0}])),
        (CHAT, choice(reasoning_content="hm")),
        (CHAT, choice(finish="stop")),
        (TEXT, {"choices": [{"text": "a", "index": 0}]}),
        (MESSAGES, {"type": "content_block_delta", "delta": {}}),
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "redacted_thinking", "data": "x"}}),
        (MESSAGES, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        (RESPONSES, {"type": "response.output_text.delta", "delta": "a"}),
        (Dialect.ANTHROPIC_COMPLETE, {"completion": "a"}),
    ],
)
def test_what_says_something_begins_it(dialect: Dialect, value: Any) -> None:
    assert look(dialect, sent(value)) == BEGUN


@pytest.mark.parametrize("events", [b"data: [DONE]\n\n", b"data: junk\n\n", b"data: [1]\n\n"])
def test_what_is_not_understood_is_not_held(events: bytes) -> None:
    assert look(CHAT, events) == BEGUN


@pytest.mark.parametrize(
    ("dialect", "value", "kind", "status"),
    [
        (CHAT, {"error": {"message": "busy", "type": "overloaded_error", "code": None}}, Kind.OVERLOADED, 503),
        (CHAT, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, Kind.RATE_LIMITED, 429),
        (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, Kind.OVERLOADED, 529),
        (MESSAGES, {"type": "error", "error": {"type": "api_error", "message": "x"}}, Kind.BAD_UPSTREAM, 500),
    ],
)
def test_an_error_is_told_with_the_status_it_would_have_had(
    dialect: Dialect, value: Any, kind: Kind, status: int
) -> None:
    error = look(dialect, sent(value)).error
    assert error is not None
    assert (error.kind, error.status) == (kind, status)
