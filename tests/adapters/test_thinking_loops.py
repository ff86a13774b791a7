"""Thinking survives a loop of tools: what a model signed comes back to it in the next turn, through any client."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters.providers import PROVIDERS
from adapters.quirks import Quirks
from adapters.registry import codec
from adapters.types import Call, Dialect

PARTS = [
    {"text": "Let me look.", "thought": True},
    {"functionCall": {"name": "weather", "args": {"city": "Praha"}}, "thoughtSignature": "c2ln"},
]
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8},
}
STREAM = b"data: %b\r\n\r\n" % json.dumps(ANSWER).encode()
PARTIAL = {"jsonPath": "$.city", "stringValue": "Praha"}
LATE = {
    "with the last arguments": [{"partialArgs": [PARTIAL]}],
    "with an empty call": [{"partialArgs": [PARTIAL], "willContinue": True}, {}],
    "before all arguments": [{"willContinue": True}, {"partialArgs": [PARTIAL]}],
}
"""What follows on a call's name."""


def told_late(calls: list[dict[str, Any]], at: int) -> bytes:
    """A stream of a call whose signature comes with that of its later parts."""
    parts: list[dict[str, Any]] = [{"functionCall": {"name": "weather", "willContinue": True}}]
    parts += [{"functionCall": each} for each in calls]
    parts[at + 1]["thoughtSignature"] = "c2ln"
    candidates: list[dict[str, Any]] = [{"content": {"role": "model", "parts": [part]}, "index": 0} for part in parts]
    candidates[-1]["finishReason"] = "STOP"
    return b"".join(b"data: %b\r\n\r\n" % json.dumps({"candidates": [each]}).encode() for each in candidates)


def call(client: Dialect, stream: bool, **body: Any) -> Call:
    raw = json.dumps({"model": "gemini-3-pro", "max_tokens": 99, **body}).encode()
    return Call(client, "gemini-3-pro", stream, raw, "0a1b", 1700000000)


def sse(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]


def messages_turn(stream: bool, said: bytes = STREAM) -> dict[str, Any]:
    """The second request of an Anthropic client, which sends back the blocks it got."""
    asked = {"messages": [{"role": "user", "content": "?"}]}
    pair = codec(Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE)
    first = call(Dialect.ANTHROPIC_MESSAGES, stream, **asked)
    blocks: list[Any] = []
    if stream:
        machine = pair.stream(first)
        for event in sse(machine.feed(said) + machine.close()):
            if event["type"] == "content_block_start":
                blocks.append(event["content_block"])
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    blocks[-1]["written"] = blocks[-1].get("written", "") + delta["partial_json"]
                else:
                    [(field, value)] = [(k, v) for k, v in delta.items() if k != "type"]
                    blocks[-1][field] += value
    else:
        blocks = json.loads(pair.response(first, json.dumps(ANSWER).encode()).body)["content"]
    used = next(block for block in blocks if block["type"] == "tool_use")
    if "written" in used:
        used["input"] = json.loads(used.pop("written"))
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used["id"], "content": "Sunny"}]}
    conversation = [*asked["messages"], {"role": "assistant", "content": blocks}, result]
    sent: dict[str, Any] = json.loads(
        pair.request(call(Dialect.ANTHROPIC_MESSAGES, stream, messages=conversation)).body
    )
    return sent


def responses_turn(stream: bool, said: bytes = STREAM) -> dict[str, Any]:
    """The second request of a Responses client, which sends back the items it got."""
    pair = codec(Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE)
    first = call(Dialect.OPENAI_RESPONSES, stream, input="?")
    if stream:
        machine = pair.stream(first)
        output = sse(machine.feed(said) + machine.close())[-1]["response"]["output"]
    else:
        output = json.loads(pair.response(first, json.dumps(ANSWER).encode()).body)["output"]
    called = next(item for item in output if item["type"] == "function_call")
    result = {"type": "function_call_output", "call_id": called["call_id"], "output": "Sunny"}
    items = [{"role": "user", "content": "?"}, *output, result]
    sent: dict[str, Any] = json.loads(pair.request(call(Dialect.OPENAI_RESPONSES, stream, input=items)).body)
    return sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("turn", [messages_turn, responses_turn])
def test_geminis_signature_of_a_call_comes_back_to_gemini(turn: Any, stream: bool) -> None:
    sent = turn(stream)
    calls = [part for each in sent["contents"] for part in each["parts"] if "functionCall" in part]
    [part] = calls
    assert part["functionCall"]["args"] == {"city": "Praha"}
    assert part["thoughtSignature"] == "c2ln"


def contents_turn(stream: bool, said: bytes) -> dict[str, Any]:
    """The second request of a Gemini client by way of chat, such as it has it from an answer that was kept."""
    first = call(Dialect.OPENAI_CHAT, stream, messages=[{"role": "user", "content": "?"}])
    machine = codec(Dialect.OPENAI_CHAT, Dialect.GEMINI_GENERATE).stream(msgspec.structs.replace(first, blocks=True))
    chunks = machine.feed(said) + machine.close()
    reader = codec(Dialect.GEMINI_GENERATE, Dialect.OPENAI_CHAT).stream(call(Dialect.GEMINI_GENERATE, stream))
    events = sse(reader.feed(chunks) + reader.close())
    parts = [part for event in events for part in event["candidates"][0]["content"].get("parts", ())]
    return {"contents": [{"role": "model", "parts": parts}]}


@pytest.mark.parametrize("at", [0, -1])
@pytest.mark.parametrize("calls", LATE.values(), ids=list(LATE))
@pytest.mark.parametrize("turn", [messages_turn, responses_turn, contents_turn])
def test_a_signature_that_comes_late_within_a_call_is_that_calls(turn: Any, calls: Any, at: int) -> None:
    sent = turn(True, told_late(calls, at if at == 0 else len(calls) - 1))
    [part] = [part for each in sent["contents"] for part in each["parts"] if "functionCall" in part]
    assert part["functionCall"]["args"] == {"city": "Praha"}
    assert part["thoughtSignature"] == "c2ln"


# Chat upstreams, which sign nothing

MESSAGES = [
    {"role": "user", "content": "?"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Let me look.", "signature": ""},
            {"type": "tool_use", "id": "a", "name": "weather", "input": {}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "Sunny"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "b", "name": "weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "Rain"}]},
]
ITEMS = [
    {"role": "user", "content": "?"},
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Let me look."}]},
    {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "a", "output": "Sunny"},
    {"type": "function_call", "call_id": "b", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "b", "output": "Rain"},
]
CONTENTS = [
    {"role": "user", "parts": [{"text": "?"}]},
    {"role": "model", "parts": [{"text": "Let me look.", "thought": True}, {"functionCall": {"name": "weather"}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "Sunny"}}}]},
    {"role": "model", "parts": [{"functionCall": {"name": "weather"}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "Rain"}}}]},
]
HISTORIES: list[tuple[Dialect, dict[str, Any]]] = [
    (Dialect.ANTHROPIC_MESSAGES, {"messages": MESSAGES}),
    (Dialect.OPENAI_RESPONSES, {"input": ITEMS}),
    (Dialect.GEMINI_GENERATE, {"contents": CONTENTS}),
]


def said_to(provider: str, client: Dialect, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The assistant's messages that a provider of the table gets."""
    quirks = PROVIDERS[provider].quirks.get(Dialect.OPENAI_CHAT, Quirks())
    asked = msgspec.structs.replace(call(client, False, **body), thoughts=quirks.thoughts)
    sent, _ = quirks.apply(codec(client, Dialect.OPENAI_CHAT).request(asked).body)
    return [message for message in json.loads(sent)["messages"] if message["role"] == "assistant"]


@pytest.mark.parametrize(("client", "body"), HISTORIES)
@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("deepseek", "reasoning_content"),
        ("moonshot", "reasoning_content"),
        ("z-ai", "reasoning_content"),
        ("fireworks-ai", "reasoning_content"),
        ("zhipu", "reasoning_content"),
        ("openrouter", "reasoning"),
        ("cerebras", "reasoning"),
        ("ollama", "reasoning"),
        ("together-ai", "reasoning"),
        ("sambanova", "reasoning"),
    ],
)
def test_a_thought_goes_back_in_the_field_that_the_provider_has(
    provider: str, field: str, client: Dialect, body: dict[str, Any]
) -> None:
    first, second = said_to(provider, client, body)
    assert first[field] == "Let me look."
    # Who wants thoughts beside calls takes an empty one for a call that had none.
    assert second[field] == ""


@pytest.mark.parametrize(("client", "body"), HISTORIES)
@pytest.mark.parametrize("provider", ["openai", "groq", "dashscope"])
def test_who_has_no_field_for_thoughts_gets_none(provider: str, client: Dialect, body: dict[str, Any]) -> None:
    for message in said_to(provider, client, body):
        assert message.keys() <= {"role", "content", "tool_calls"}


# A Gemini client and a model that speaks between its thoughts and its calls

CLAUDE = [
    {"type": "thinking", "thinking": "Where?", "signature": "s1"},
    {"type": "text", "text": "Let me look, žluťoučký. "},
    {"type": "redacted_thinking", "data": "r"},
    {"type": "text", "text": "Now."},
    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Praha"}},
]


def claudes_stream() -> bytes:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "m", "model": "m", "content": []}}]
    for at, block in enumerate(CLAUDE):
        empty = {"thinking": "", "signature": "", "text": "", "input": {}}
        start = {name: empty.get(name, value) for name, value in block.items()}
        deltas: list[dict[str, Any]] = [
            {"type": f"{name}_delta", name: piece}
            for name in ("thinking", "text", "signature")
            for piece in (str(block.get(name, ""))[:3], str(block.get(name, ""))[3:])
            if piece
        ]
        if "input" in block:
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": at, "content_block": start})
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": at})
    events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)


def kept_whole(events: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"role": "model", "parts": [part for parts in events for part in parts]}]


def kept_by_event(events: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """As the chat sessions of google-genai keep a stream."""
    return [{"role": "model", "parts": parts} for parts in events]


def kept_together(events: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """As gemini-cli keeps a stream: without thoughts, its texts as one."""
    kept: list[dict[str, Any]] = []
    for part in (part for parts in events for part in parts if not part.get("thought")):
        if kept and "text" in kept[-1] and "text" in part:
            kept[-1]["text"] += part["text"]
        else:
            kept.append(dict(part))
    return [{"role": "model", "parts": kept}]


@pytest.mark.parametrize("keep", [kept_whole, kept_by_event, kept_together])
@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_come_back_in_their_place_among_what_was_said(stream: bool, keep: Any) -> None:
    pair = codec(Dialect.GEMINI_GENERATE, Dialect.ANTHROPIC_MESSAGES)
    question = {"role": "user", "parts": [{"text": "?"}]}
    first = call(Dialect.GEMINI_GENERATE, stream, contents=[question])
    if stream:
        machine = pair.stream(first)
        events = sse(machine.feed(claudes_stream()) + machine.close())
    else:
        answer = {"id": "m", "model": "m", "content": CLAUDE, "stop_reason": "tool_use", "type": "message"}
        events = [json.loads(pair.response(first, json.dumps({**answer, "role": "assistant"}).encode()).body)]
    said = keep([event["candidates"][0]["content"].get("parts", []) for event in events])
    result = {"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "weather", "response": {}}}]}
    sent = pair.request(call(Dialect.GEMINI_GENERATE, stream, contents=[question, *said, result]))
    assert [message["role"] for message in json.loads(sent.body)["messages"]] == ["user", "assistant", "user"]
    assert json.loads(sent.body)["messages"][1]["content"] == CLAUDE
