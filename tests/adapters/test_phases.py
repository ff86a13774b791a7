"""OpenAI's word for whether its model comments or answers comes back to it, and is named where it cannot go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect
from tests.adapters.responses.script import events, message, response, text

ITEMS = [
    message(text("Let me "), text("look."), phase="commentary"),
    message(text("Sunny."), phase="final_answer"),
]
OTHERS = [Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.BEDROCK_CONVERSE, Dialect.COHERE_CHAT]


def call(client: Dialect, stream: bool = False, **body: Any) -> Call:
    raw = json.dumps({"model": "gpt-5-codex", "max_tokens": 99, **body}).encode()
    return Call(client, "gpt-5-codex", stream, raw, "0a1b", 1700000000)


def sse(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]


def answered(client: Dialect, stream: bool, asked: dict[str, Any], items: list[Any]) -> Any:
    """The whole answer, or the events of a streamed one, as the client gets it."""
    pair = codec(client, Dialect.OPENAI_RESPONSES)
    first = call(client, stream, **asked)
    if not stream:
        return json.loads(pair.response(first, json.dumps(response(*items)).encode()).body)
    machine = pair.stream(first)
    found = sse(machine.feed(b"".join(events(response(*items)))) + machine.close())
    assert machine.error is None
    return found


def messages_history(stream: bool, items: list[Any]) -> dict[str, Any]:
    asked = {"role": "user", "content": "?"}
    answer = answered(Dialect.ANTHROPIC_MESSAGES, stream, {"messages": [asked]}, items)
    blocks: list[Any] = [] if stream else answer["content"]
    for event in answer if stream else ():
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
            blocks[-1]["text"] += event["delta"]["text"]
    return {"messages": [asked, {"role": "assistant", "content": blocks}, asked]}


def contents_history(stream: bool, items: list[Any]) -> dict[str, Any]:
    asked = {"role": "user", "parts": [{"text": "?"}]}
    answers = answered(Dialect.GEMINI_GENERATE, stream, {"contents": [asked]}, items)
    found = answers if stream else [answers]
    parts = [part for each in found for part in each["candidates"][0]["content"].get("parts", ())]
    return {"contents": [asked, {"role": "model", "parts": parts}, asked]}


HISTORIES = {Dialect.ANTHROPIC_MESSAGES: messages_history, Dialect.GEMINI_GENERATE: contents_history}


def said(items: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [
        ("".join(part["text"] for part in item["content"]), item.get("phase"))
        for item in items
        if item.get("role") == "assistant"
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", HISTORIES)
def test_a_phase_comes_back_in_the_next_turn(client: Dialect, stream: bool) -> None:
    history = HISTORIES[client](stream, ITEMS)
    sent = json.loads(codec(client, Dialect.OPENAI_RESPONSES).request(call(client, **history)).body)
    assert said(sent["input"]) == [("Let me look.", "commentary"), ("Sunny.", "final_answer")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", HISTORIES)
def test_an_answer_that_is_only_one_looks_as_it_always_did(client: Dialect, stream: bool) -> None:
    history = json.dumps(HISTORIES[client](stream, ITEMS[1:]))
    assert "redacted_thinking" not in history
    assert "thoughtSignature" not in history


@pytest.mark.parametrize("upstream", OTHERS)
@pytest.mark.parametrize(
    ("client", "name"),
    [
        (Dialect.ANTHROPIC_MESSAGES, "messages[].content[].redacted_thinking"),
        (Dialect.GEMINI_GENERATE, "contents[].parts[].thoughtSignature"),
    ],
)
def test_other_makers_do_not_get_it_and_that_is_named(client: Dialect, name: str, upstream: Dialect) -> None:
    if client is upstream:
        pytest.skip("bytes pass as they are")
    history = HISTORIES[client](False, [ITEMS[0]])
    sent = codec(client, upstream).request(call(client, **history))
    assert b"phase" not in sent.body
    assert b"Let me" in sent.body
    assert name in sent.dropped


@pytest.mark.parametrize("upstream", [Dialect.OPENAI_CHAT, *OTHERS])
def test_responses_clients_are_told_that_a_phase_went_nowhere(upstream: Dialect) -> None:
    pair = codec(Dialect.OPENAI_RESPONSES, upstream)
    asked, comment = {"role": "user", "content": "?"}, {"role": "assistant", "content": "Hm.", "phase": "commentary"}
    assert "input[].phase" in pair.request(call(Dialect.OPENAI_RESPONSES, input=[asked, comment, asked])).dropped
    final = {**comment, "phase": "final_answer"}
    assert "input[].phase" not in pair.request(call(Dialect.OPENAI_RESPONSES, input=[asked, final, asked])).dropped
