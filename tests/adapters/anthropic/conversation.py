"""Short ways to say calls, events and chunks in these tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect, Outbound, StreamDecoder

MODEL = "claude-sonnet-4-5"
OLD_MODEL = "claude-3-5-sonnet-20241022"


def call(body: Any = None, *, model: str = MODEL, strict: bool = True, stream: bool = False, **fields: Any) -> Call:
    """A chat call. Without `body`, a minimal one with `fields` in it; bytes are taken as they are."""
    if body is None:
        body = {"model": "ignored", "messages": [{"role": "user", "content": "Hi"}], **fields}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(Dialect.OPENAI_CHAT, model, stream, raw, "abc123", 1_700_000_000, strict)


def outbound(model: str = MODEL, stream: bool = False, **fields: Any) -> Outbound:
    return CHAT_TO_MESSAGES.request(call(model=model, stream=stream, **fields))


def translated(model: str = MODEL, stream: bool = False, **fields: Any) -> Any:
    return json.loads(outbound(model, stream, **fields).body)


def turns(*messages: dict[str, Any]) -> Any:
    return translated(messages=list(messages))["messages"]


def refusal(body: Any = None, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        CHAT_TO_MESSAGES.request(call(body, **fields))
    return caught.value


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def tool_call(id: str, arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def assistant(*calls: dict[str, Any], content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def tool(id: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


def sse(*events: dict[str, Any]) -> bytes:
    """Events as Anthropic frames them."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event, separators=(",", ":")).encode())
        for event in events
    )


def chunks(out: bytes) -> list[Any]:
    """The data of every event a client got; `[DONE]` as that string."""
    found: list[Any] = []
    for event in out.split(b"\n\n")[:-1]:
        assert event.startswith(b"data: ")
        assert b"\n" not in event
        found.append("[DONE]" if event == b"data: [DONE]" else json.loads(event[6:]))
    return found


def run(decoder: StreamDecoder, *pieces: bytes) -> bytes:
    """Feeds all pieces and closes."""
    return b"".join([*[decoder.feed(piece) for piece in pieces], decoder.close()])


def start(input_tokens: int = 10, **usage: int) -> dict[str, Any]:
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 1, **usage},
    }
    return {"type": "message_start", "message": message}


def block(index: int, **content_block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content_block}


def delta(index: int, type: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": type, **fields}}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(stop_reason: str | None = "end_turn", output_tokens: int = 7, **usage: int) -> tuple[dict[str, Any], ...]:
    fields = {"stop_reason": stop_reason, "stop_sequence": None}
    return (
        {"type": "message_delta", "delta": fields, "usage": {"output_tokens": output_tokens, **usage}},
        {"type": "message_stop"},
    )


def text_events(*texts: str) -> tuple[dict[str, Any], ...]:
    return (
        block(0, type="text", text=""),
        *(delta(0, "text_delta", text=text) for text in texts),
        block_stop(0),
    )
