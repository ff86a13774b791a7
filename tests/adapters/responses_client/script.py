"""A Responses client on a scripted chat upstream, and a reading of its stream that refuses any order but OpenAI's."""

from __future__ import annotations

import json
from typing import Any

from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.types import Call, Codec, Dialect, StreamDecoder


def call(stream: bool = False, model: str = "gpt-x", **body: Any) -> Call:
    """The call for a request with these fields; `input` is there unless given."""
    raw = json.dumps({"model": model, "input": "Hi", **body}).encode()
    return Call(Dialect.OPENAI_RESPONSES, model, stream, raw, "0a1b", 1700000000)


def chat(**body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The chat request for these fields, and what was dropped."""
    outbound = RESPONSES_TO_CHAT.request(call(**body))
    return json.loads(outbound.body), outbound.dropped


def run(data: bytes, asked: Call | None = None, codec: Codec = RESPONSES_TO_CHAT) -> tuple[bytes, StreamDecoder]:
    """What the client gets for a whole stream, and the machine afterwards."""
    machine = codec.stream(asked or call(True))
    return machine.feed(data) + machine.close(), machine


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream; their names must be their types, and their numbers without a gap."""
    found = []
    for number, block in enumerate(block for block in data.decode().split("\n\n") if block):
        name, payload = block.split("\n")
        event = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        found.append(event)
    return found


def response(data: bytes) -> dict[str, Any]:
    """The last event's response. All that its items say must have been told before, item by item and part by part."""
    created, progress, *middle, last = events(data)
    assert (created["type"], progress["type"]) == ("response.created", "response.in_progress")
    assert created["response"]["status"] == "in_progress"
    assert last["type"] in ("response.completed", "response.incomplete")
    done: dict[int, Any] = {}
    open_items: dict[int, dict[str, Any]] = {}
    for event in middle:
        kind, at = event["type"].removeprefix("response."), event["output_index"]
        if kind == "output_item.added":
            assert at == len(open_items)
            open_items[at] = {"item": event["item"], "text": "", "parts": []}
            continue
        state = open_items[at]
        assert at not in done, "an item that is done says nothing more"
        if kind == "output_item.done":
            done[at] = event["item"]
            assert event["item"]["id"] == state["item"]["id"]
            continue
        assert event["item_id"] == state["item"]["id"]
        if kind.endswith("part.added"):
            state["text"] = ""
        elif kind.endswith(".delta"):
            state["text"] += event["delta"]
        elif kind.endswith("part.done"):
            state["parts"].append(event["part"])
        elif kind.endswith(".done"):
            [value] = [event[name] for name in ("text", "refusal", "arguments", "input") if name in event]
            assert value == state["text"] or (value == "{}" and not state["text"])
    assert [done[at] for at in sorted(done)] == last["response"]["output"]
    assert len(done) == len(open_items)
    for at, item in done.items():
        if item["type"] in ("message", "reasoning"):
            assert item.get("content", item.get("summary")) == open_items[at]["parts"]
    made: dict[str, Any] = last["response"]
    return made
