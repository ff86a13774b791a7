"""Thinking survives a loop of tools: what a model signed comes back to it in the next turn, through any client."""

from __future__ import annotations

import json
from typing import Any

import pytest

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


def call(client: Dialect, stream: bool, **body: Any) -> Call:
    raw = json.dumps({"model": "gemini-3-pro", "max_tokens": 99, **body}).encode()
    return Call(client, "gemini-3-pro", stream, raw, "0a1b", 1700000000)


def sse(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]


def messages_turn(stream: bool) -> dict[str, Any]:
    """The second request of an Anthropic client, which sends back the blocks it got."""
    asked = {"messages": [{"role": "user", "content": "?"}]}
    pair = codec(Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE)
    first = call(Dialect.ANTHROPIC_MESSAGES, stream, **asked)
    blocks: list[Any] = []
    if stream:
        machine = pair.stream(first)
        for event in sse(machine.feed(STREAM) + machine.close()):
            if event["type"] == "content_block_start":
                blocks.append(event["content_block"])
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "input_json_delta":
                    blocks[-1]["input"] = json.loads(delta["partial_json"])
                else:
                    [(field, value)] = [(k, v) for k, v in delta.items() if k != "type"]
                    blocks[-1][field] += value
    else:
        blocks = json.loads(pair.response(first, json.dumps(ANSWER).encode()).body)["content"]
    used = next(block for block in blocks if block["type"] == "tool_use")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used["id"], "content": "Sunny"}]}
    conversation = [*asked["messages"], {"role": "assistant", "content": blocks}, result]
    sent: dict[str, Any] = json.loads(
        pair.request(call(Dialect.ANTHROPIC_MESSAGES, stream, messages=conversation)).body
    )
    return sent


def responses_turn(stream: bool) -> dict[str, Any]:
    """The second request of a Responses client, which sends back the items it got."""
    pair = codec(Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE)
    first = call(Dialect.OPENAI_RESPONSES, stream, input="?")
    if stream:
        machine = pair.stream(first)
        output = sse(machine.feed(STREAM) + machine.close())[-1]["response"]["output"]
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
