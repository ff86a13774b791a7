"""What a model thought, searched and called comes back to it in its order, whichever dialect the client speaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect
from tests.adapters.anthropic_client.script import message as folded_message
from tests.adapters.responses.script import SEARCH, events, function, message, reasoning, response, text
from tests.adapters.responses.test_answers import folded

UP = Dialect.OPENAI_RESPONSES
ITEMS = [
    reasoning("First."),
    SEARCH,
    message(text("Well.")),
    function("weather", '{"city":"Oslo"}', "a"),
    reasoning(id="rs_2", sealed="gBBB"),
    function("now", "{}", "b"),
]
ANSWER = response(*ITEMS)
TOOLS = ("weather", "now")


def asked(client: Dialect, body: dict[str, Any], stream: bool) -> Call:
    return Call(client, "gpt-5-pro", stream, json.dumps(body).encode(), "0a1b", 1, client is not Dialect.OPENAI_CHAT)


def answered(client: Dialect, body: dict[str, Any], stream: bool) -> bytes:
    call = asked(client, body, stream)
    if not stream:
        return codec(client, UP).response(call, json.dumps(ANSWER).encode()).body
    machine = codec(client, UP).stream(call)
    out = machine.feed(b"".join(events(ANSWER))) + machine.close()
    assert machine.error is None
    return out


def chat(stream: bool) -> dict[str, Any]:
    """The second request of a client that is not strict."""
    hello = {"role": "user", "content": "?"}
    out = answered(Dialect.OPENAI_CHAT, {"messages": [hello]}, stream)
    if stream:
        told = folded([json.loads(each[6:]) for each in out.split(b"\n\n") if each.startswith(b"data: {")])
        calls = [
            {"id": each["id"], "type": "function", "function": {"name": each["name"], "arguments": each["said"]}}
            for each in told["calls"]
        ]
        said = {"role": "assistant", "content": told["content"], "tool_calls": calls, "content_blocks": told["blocks"]}
    else:
        said = json.loads(out)["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": each["id"], "content": "ok"} for each in said["tool_calls"]]
    return {"messages": [hello, said, *results]}


def messages(stream: bool) -> dict[str, Any]:
    """The second request of a client of Anthropic's."""
    hello = {"role": "user", "content": "?"}
    out = answered(Dialect.ANTHROPIC_MESSAGES, {"max_tokens": 9, "messages": [hello]}, stream)
    said = folded_message(out) if stream else json.loads(out)
    kinds = [block["type"] for block in said["content"]]
    assert set(kinds) == {"thinking", "redacted_thinking", "text", "tool_use"}
    uses = [block for block in said["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "ok"} for use in uses]
    turns = [hello, {"role": "assistant", "content": said["content"]}, {"role": "user", "content": results}]
    return {"max_tokens": 9, "messages": turns}


def gemini(stream: bool) -> dict[str, Any]:
    """The second request of a client of Google's."""
    hello = {"role": "user", "parts": [{"text": "?"}]}
    out = answered(Dialect.GEMINI_GENERATE, {"contents": [hello]}, stream)
    answers = (
        [json.loads(each[6:]) for each in out.replace(b"\r", b"").split(b"\n\n") if each.startswith(b"data: {")]
        if stream
        else [json.loads(out)]
    )
    parts = [
        part for each in answers for said in each["candidates"] for part in said.get("content", {}).get("parts", ())
    ]
    results = [
        {
            "functionResponse": {
                **{key: part["functionCall"][key] for key in ("id", "name")},
                "response": {"output": "ok"},
            }
        }
        for part in parts
        if "functionCall" in part
    ]
    return {"contents": [hello, {"role": "model", "parts": parts}, {"role": "user", "parts": results}]}


LOOPS: dict[Dialect, Callable[[bool], dict[str, Any]]] = {
    Dialect.OPENAI_CHAT: chat,
    Dialect.ANTHROPIC_MESSAGES: messages,
    Dialect.GEMINI_GENERATE: gemini,
}


def short(item: dict[str, Any]) -> Any:
    """What tells an item from the others."""
    match item["type"]:
        case "reasoning":
            return item["id"], item["encrypted_content"], "".join(part["text"] for part in item["summary"])
        case "message":
            content = item["content"]
            return item["role"], content if isinstance(content, str) else "".join(part["text"] for part in content)
        case "function_call":
            return "call", item["call_id"], item["name"], json.loads(item["arguments"])
        case "function_call_output":
            return "result", item["call_id"], item["output"]
    return item


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", LOOPS)
def test_every_item_returns_to_its_place(client: Dialect, stream: bool) -> None:
    outbound = codec(client, UP).request(asked(client, LOOPS[client](stream), False))
    found = [short(item) for item in json.loads(outbound.body)["input"]]
    assert outbound.dropped == ()
    assert found == [
        ("user", "?"),
        ("rs_1", "gAAA", "First."),
        SEARCH,
        ("assistant", "Well."),
        ("call", "a", "weather", {"city": "Oslo"}),
        ("rs_2", "gBBB", ""),
        ("call", "b", "now", {}),
        ("result", "a", "ok"),
        ("result", "b", "ok"),
    ]
