"""What the second half of a chain finds wrong is told with the path that it has in the client's own request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.chain import Chain
from adapters.errors import InvalidRequest
from adapters.registry import codec
from adapters.types import Call, Dialect

MESSAGES, RESPONSES, GEMINI = Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE
CLAUDE, CONVERSE, COHERE = Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE, Dialect.COHERE_CHAT

AUDIO = {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}
LINK = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
TEXT = {"type": "text", "text": "a"}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "a", "output": "x"}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def model(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


CASES: list[tuple[Dialect, Dialect, dict[str, Any], str]] = [
    (MESSAGES, CONVERSE, {"messages": [user(TEXT, LINK)]}, "messages[0].content[1].source"),
    # The system's text is a message of the chat, and results come before the rest of a turn.
    (
        MESSAGES,
        CONVERSE,
        {
            "system": "s",
            "messages": [
                user(TEXT),
                model(TEXT, USE),
                user(TEXT, {"type": "tool_result", "tool_use_id": "t", "content": "x"}, LINK),
            ],
        },
        "messages[2].content[2].source",
    ),
    (
        MESSAGES,
        CONVERSE,
        {
            "messages": [
                user(TEXT),
                model(USE),
                user(TEXT, {"type": "tool_result", "tool_use_id": "t", "content": [TEXT, LINK]}),
            ]
        },
        "messages[2].content[1]",
    ),
    (MESSAGES, COHERE, {"messages": [user(TEXT), model(TEXT), user(TEXT, PDF)]}, "messages[2].content[1].type"),
    (
        RESPONSES,
        CLAUDE,
        {"instructions": "s", "input": [user({"type": "input_text", "text": "x"}), CALL, {**CALL, "arguments": "{"}]},
        "input[2].arguments",
    ),
    (
        RESPONSES,
        CLAUDE,
        {"input": [user({"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "ftp://x"})]},
        "input[0].content[1].image_url",
    ),
    (
        RESPONSES,
        CLAUDE,
        {"input": [user({"type": "input_text", "text": "a"}), CALL, {**RESULT, "output": [
            {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "ftp://x"}]}]},
        "input[2].output[1].image_url",
    ),
    (
        GEMINI,
        CLAUDE,
        {"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [
            {"role": "user", "parts": [{"text": "a"}]}, {"role": "user", "parts": [{"text": "b"}, AUDIO]}]},
        "contents[1].parts[1]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("client", "upstream", "body", "path"), CASES)
def test_a_path_is_that_of_the_clients_request(
    client: Dialect, upstream: Dialect, body: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(client, upstream, body)
    assert refused.value.param == path


def ask(client: Dialect, upstream: Dialect, body: dict[str, Any]) -> None:
    raw = json.dumps({"model": "m", "max_tokens": 9, **body}).encode()
    codec(client, upstream).request(Call(client, "amazon.nova-pro-v1:0", False, raw, "0a1b", 1))


def test_of_a_large_request_only_the_fields_name_is_told() -> None:
    body = {"messages": [user({"type": "text", "text": "x" * 300_000}), model(TEXT), user(TEXT, LINK)]}
    with pytest.raises(InvalidRequest) as refused:
        ask(MESSAGES, CONVERSE, body)
    assert refused.value.param == "messages[].content[].source"


def test_a_refusal_of_a_long_history_asks_the_translation_a_dozen_times_or_two() -> None:
    asked = 0
    pair: Any = codec(MESSAGES, CONVERSE)
    first = pair._first.request

    def counted(call: Call) -> Any:
        nonlocal asked
        asked += 1
        return first(call)

    class Counting:
        request = staticmethod(counted)

    history = [user(TEXT), model(TEXT)] * 500
    raw = json.dumps({"model": "m", "max_tokens": 9, "messages": [*history, user(*[TEXT] * 100, LINK)]}).encode()
    with pytest.raises(InvalidRequest) as refused:
        Chain(Counting(), pair._second).request(Call(MESSAGES, "amazon.nova-pro-v1:0", False, raw, "0a1b", 1))  # type: ignore[arg-type]
    assert refused.value.param == "messages[1000].content[100].source"
    assert asked < 30
