"""What OpenAI and others really answered in Responses: chat clients read the same words, calls and counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.errors import InvalidRequest
from adapters.registry import codec
from adapters.responses import CHAT_TO_RESPONSES
from adapters.responses.wire import FAILED
from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.types import Call, Dialect
from tests.adapters import recordings
from tests.adapters.responses.test_answers import call, folded, run

pytestmark = pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")

WHOLE = {
    each.name: each.response
    for each in recordings.exchanges("/responses")
    if each.status == 200 and isinstance(each.response, dict) and each.response["status"] not in FAILED
}
REQUESTS = {each.name: each.request for each in recordings.exchanges("/responses") if each.request}


def _event(line: str) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return told


def _streams() -> dict[str, list[dict[str, Any]]]:
    """Events of recorded streams by name; a fixture may hold several streams."""
    found = {}
    for path in sorted(recordings.ROOT.glob("fixtures/*/*.chunks.txt")):
        lines = [line for line in path.read_text().split("\n") if line.strip()]
        if not lines or '"response.created"' not in lines[0]:
            continue
        for told in map(_event, lines):
            if told is None:
                break  # one recording broke off
            if told["type"] == "response.created":
                kept = found[f"{path.parent.name}/{path.name}/{len(found)}"] = []
            kept.append(told)
    for each in recordings.exchanges("/responses"):
        if each.status == 200 and isinstance(each.response, str):
            lines = [line[6:] for line in each.response.split("\n") if line.startswith("data: {")]
            found[each.name] = [json.loads(line) for line in lines]
    return found


STREAMS = _streams()


def compare(made: dict[str, Any], answer: dict[str, Any]) -> None:
    """`made` is what `folded` gives."""
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    assert made["content"] == "".join(part.get("text", "") for part in parts)
    assert made["calls"] == [
        (item["name"], item.get("arguments", item.get("input")) or "{}")
        for item in answer["output"]
        if item["type"] in ("function_call", "custom_tool_call")
    ]
    sealed = [
        item["encrypted_content"]
        for item in answer["output"]
        if item["type"] == "reasoning" and item.get("encrypted_content")
    ]
    signed = [block["signature"] for block in made["blocks"] if block.get("signature")]
    assert [each.split(":", 3)[3] for each in signed] == sealed
    incomplete = answer["status"] == "incomplete"
    assert made["finish_reason"] == ("length" if incomplete else "tool_calls" if made["calls"] else "stop")


@pytest.mark.parametrize("name", WHOLE)
def test_recorded_answers_say_the_same(name: str) -> None:
    reply = CHAT_TO_RESPONSES.response(call(strict=False), json.dumps(WHOLE[name]).encode())
    made = json.loads(reply.body)
    choice = made["choices"][0]
    calls = choice["message"].get("tool_calls") or ()
    told = {
        "content": choice["message"]["content"] or "",
        "calls": [tuple(each[each["type"]].values()) for each in calls],
        "blocks": choice["message"]["content_blocks"],
        "finish_reason": choice["finish_reason"],
    }
    compare(told, WHOLE[name])
    assert made["usage"]["prompt_tokens"] == WHOLE[name]["usage"]["input_tokens"]
    assert made["usage"]["completion_tokens"] == WHOLE[name]["usage"]["output_tokens"]


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_say_the_same(name: str) -> None:
    events = STREAMS[name]
    data = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events)
    chunks, machine = run(data, call(True, strict=False))
    last = events[-1]
    if last["type"] not in ("response.completed", "response.incomplete"):
        assert machine.error is not None
        return
    assert machine.error is None
    told = folded(chunks)
    told["calls"] = [(each["name"], each["said"]) for each in told["calls"]]
    # OpenAI seals its reasoning anew for the last event.
    items = [each["item"] for each in events if each["type"] == "response.output_item.done"]
    compare(told, {**last["response"], "output": items})
    assert machine.usage is not None
    assert machine.usage.output == last["response"]["usage"]["output_tokens"]


def _said(body: bytes) -> list[dict[str, Any]]:
    """The messages of a chat request, without marks of caching, which only some models take."""
    messages: list[dict[str, Any]] = json.loads(body)["messages"]
    for each in messages:
        each["content"] = each["content"] or None
        for part in each["content"] if isinstance(each["content"], list) else ():
            part.pop("cache_control", None)
    return messages


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_requests_survive_a_chat_between(name: str) -> None:
    asked = json.dumps(REQUESTS[name]).encode()
    try:
        chat = RESPONSES_TO_CHAT.request(Call(Dialect.OPENAI_RESPONSES, "gpt-5-pro", False, asked, "i", 0, blocks=True))
        back = CHAT_TO_RESPONSES.request(Call(Dialect.OPENAI_CHAT, "gpt-5-pro", False, chat.body, "i", 0, blocks=True))
    except InvalidRequest:
        pytest.skip("asks for what only the provider has")
    again = RESPONSES_TO_CHAT.request(
        Call(Dialect.OPENAI_RESPONSES, "gpt-5-pro", False, back.body, "i", 0, blocks=True)
    )
    assert _said(again.body) == _said(chat.body)
    assert codec(Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES).identity
