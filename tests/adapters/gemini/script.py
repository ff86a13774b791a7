"""Short ways to say calls, answers and events of Gemini's in these tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.errors import InvalidRequest
from adapters.gemini import CHAT_TO_GEMINI
from adapters.types import Call, Dialect, Outbound, StreamDecoder

MODEL = "gemini-2.5-flash"
NEW = "gemini-3-flash-preview"
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 6,
    "totalTokenCount": 44,
}


def call(body: Any = None, *, model: str = MODEL, strict: bool = True, stream: bool = False, **fields: Any) -> Call:
    """A chat call. Without `body`, a minimal one with `fields` in it; bytes are taken as they are."""
    if body is None:
        body = {"model": "ignored", "messages": [user()], **fields}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(Dialect.OPENAI_CHAT, model, stream, raw, "f" * 32, 1_700_000_000, strict)


def outbound(model: str = MODEL, **fields: Any) -> Outbound:
    return CHAT_TO_GEMINI.request(call(model=model, **fields))


def translated(model: str = MODEL, **fields: Any) -> Any:
    return json.loads(outbound(model, **fields).body)


def contents(*messages: dict[str, Any], model: str = MODEL) -> Any:
    return translated(model, messages=list(messages))["contents"]


def config(model: str = MODEL, **fields: Any) -> Any:
    return translated(model, **fields).get("generationConfig", {})


def refusal(body: Any = None, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        CHAT_TO_GEMINI.request(call(body, **fields))
    return caught.value


def user(content: Any = "Hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def tool_call(id: str, name: str = "f", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments, **more}}


def assistant(*calls: dict[str, Any], content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def tool(id: str, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **more}


def answer(*parts: dict[str, Any], finish: str | None = "STOP", index: int = 0, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-x", "responseId": "resp_1"}


def part(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An event in the middle of a stream."""
    return answer(*parts, finish=None, **more)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n" for event in events)


def run(decoder: StreamDecoder, *pieces: bytes) -> bytes:
    return b"".join([decoder.feed(piece) for piece in pieces]) + decoder.close()


def chunks(out: bytes) -> list[Any]:
    found = []
    for event in out.decode().split("\n\n")[:-1]:
        assert event.startswith("data: ")
        assert "\n" not in event
        found.append("[DONE]" if event == "data: [DONE]" else json.loads(event[6:]))
    return found


def completion(body: Any, **fields: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return json.loads(CHAT_TO_GEMINI.response(call(**fields), raw).body)


def message(*parts: dict[str, Any], strict: bool = True, **more: Any) -> Any:
    return completion(answer(*parts, **more), strict=strict)["choices"][0]["message"]
