"""A chat upstream as a script of chunks, and an independent reading of what the client got."""

from __future__ import annotations

import json
from typing import Any

from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.types import Call, Dialect, StreamDecoder

CALL = Call(Dialect.ANTHROPIC_MESSAGES, "gpt-x", True, b"{}", "0a1b-2c", 1700000000)
USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19, "prompt_tokens_details": {"cached_tokens": 4}}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **other: Any) -> dict[str, Any]:
    """One chunk; without a delta it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-abc",
        "object": "chat.completion.chunk",
        "created": 1700000001,
        "model": "gpt-x-2026",
        "choices": choices,
        **other,
    }


def text(content: str) -> dict[str, Any]:
    """A chunk of text."""
    return chunk({"content": content})


def tool(index: int, arguments: str = "", *, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A chunk of one tool call."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    call = {"index": index, "function": function}
    return chunk({"tool_calls": [call if id is None else {**call, "id": id, "type": "function"}]})


def sse(*chunks: dict[str, Any], done: bool = True) -> bytes:
    """The chunks as an upstream sends them."""
    events = b"".join(b"data: %b\n\n" % json.dumps(each, ensure_ascii=False).encode() for each in chunks)
    return events + b"data: [DONE]\n\n" if done else events


def run(data: bytes, call: Call = CALL) -> tuple[bytes, StreamDecoder]:
    """What the client gets for a whole stream, and the machine afterwards."""
    machine = MESSAGES_TO_CHAT.stream(call)
    return machine.feed(data) + machine.close(), machine


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of a client's stream; their names must be their types."""
    found = []
    for block in data.decode().split("\n\n"):
        if not block:
            continue
        name, payload = block.split("\n")
        event = json.loads(payload.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def message(data: bytes) -> dict[str, Any]:
    """Puts the events together as the API's documentation says, refusing any order it does not allow."""
    first, *middle, delta, stop = events(data)
    assert first["type"] == "message_start"
    assert (delta["type"], stop) == ("message_delta", {"type": "message_stop"})
    blocks: list[dict[str, Any]] = []
    live: dict[str, Any] | None = None
    for event in middle:
        if event["type"] == "content_block_start":
            assert live is None
            assert event["index"] == len(blocks)
            live = {**event["content_block"], "_json": ""}
            blocks.append(live)
            continue
        assert live is not None
        assert event["index"] == len(blocks) - 1
        if event["type"] == "content_block_stop":
            written = live.pop("_json")
            if live["type"] == "tool_use" and written:
                live["input"] = json.loads(written)
            live = None
            continue
        kind = event["delta"].pop("type")
        [(field, value)] = event["delta"].items()
        assert (live["type"], kind, field) in _DELTAS
        live["_json" if field == "partial_json" else field] += value
    assert live is None
    return {**first["message"], "content": blocks, **delta["delta"], "usage": delta["usage"]}


_DELTAS = {
    ("text", "text_delta", "text"),
    ("thinking", "thinking_delta", "thinking"),
    ("thinking", "signature_delta", "signature"),
    ("tool_use", "input_json_delta", "partial_json"),
}
