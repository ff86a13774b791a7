"""Event streams for the tests, made of events as JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

from adapters.framing.eventstream import frame
from adapters.types import Call, Dialect


def call(body: dict[str, Any] | None = None, raw: bytes | None = None, **more: Any) -> Call:
    """A chat call; `body` without its model, or `raw` as it is."""
    given = {"model": "anthropic.claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}], **(body or {})}
    fields: dict[str, Any] = {
        "dialect": Dialect.OPENAI_CHAT,
        "model": given["model"],
        "stream": bool(given.get("stream")),
        "body": json.dumps(given).encode() if raw is None else raw,
        "id": "id",
        "created": 7,
    }
    return Call(**{**fields, **more})


def event(name: str, value: Any) -> bytes:
    """One Converse event."""
    return frame(name, json.dumps(value).encode())


def delta(index: int, value: dict[str, Any]) -> bytes:
    """A contentBlockDelta, with the padding that the service adds."""
    return event("contentBlockDelta", {"contentBlockIndex": index, "delta": value, "p": "abcdef"})


def chunk(value: dict[str, Any]) -> bytes:
    """One wrapped event of InvokeModelWithResponseStream."""
    raw = base64.b64encode(json.dumps(value).encode()).decode()
    return frame("chunk", json.dumps({"bytes": raw, "p": "abc"}).encode())


USAGE = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 22, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 6}
START = event("messageStart", {"role": "assistant"})
STOP = event("contentBlockStop", {"contentBlockIndex": 0})
END = event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}, "p": "abcde"})


def stopped(reason: str) -> bytes:
    """A messageStop."""
    return event("messageStop", {"stopReason": reason, "p": "abc"})


TEXT = START + delta(0, {"text": "Hel"}) + delta(0, {"text": "lo ä"}) + STOP + stopped("end_turn") + END
TOOLS = (
    START
    + delta(0, {"text": "Looking."})
    + STOP
    + event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "a"}}})
    + delta(1, {"toolUse": {"input": '{"x"'}})
    + delta(1, {"toolUse": {"input": ":1}"}})
    + event("contentBlockStop", {"contentBlockIndex": 1})
    + event("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t2", "name": "b"}}})
    + event("contentBlockStop", {"contentBlockIndex": 2})
    + stopped("tool_use")
    + END
)
THINKING = (
    START
    + delta(0, {"reasoningContent": {"text": "Hm"}})
    + delta(0, {"reasoningContent": {"text": "."}})
    + delta(0, {"reasoningContent": {"signature": "sig"}})
    + STOP
    + delta(1, {"reasoningContent": {"redactedContent": base64.b64encode(b"opaque").decode()}})
    + event("contentBlockStop", {"contentBlockIndex": 1})
    + delta(2, {"text": "Yes"})
    + event("contentBlockStop", {"contentBlockIndex": 2})
    + stopped("max_tokens")
    + END
)
