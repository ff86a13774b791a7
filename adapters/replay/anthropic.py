"""Anthropic Messages: events ⇄ message."""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.replay.form import Assembled, Form, Json, cut, encode, grow, grown, read
from adapters.types import Usage
from adapters.values import UNREADABLE

_ACTS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
_ENDING = ("stop_reason", "stop_sequence", "stop_details", "container")
"""What a message tells at its end."""
_GROWS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""Which field of its block a delta adds to; deltas carry it under the same name."""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: Json | None = None
    content_block: Json | None = None
    delta: Json | None = None
    usage: Json | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class _Grown:
    """A message under way."""

    __slots__ = ("blocks", "ended", "message", "refused")

    def __init__(self) -> None:
        self.message: Json = {}
        self.blocks: list[Json] = []
        self.ended = False
        self.refused = False

    def take(self, event: _Event) -> None:
        act = _ON.get(event.type)
        if act is not None:
            act(self, event)

    def _start(self, event: _Event) -> None:
        self.message = dict(event.message or {})

    def _open(self, event: _Event) -> None:
        block = dict(event.content_block or {})
        self.refused = self.refused or block.get("type") in _ACTS or event.index != len(self.blocks)
        self.blocks.append(block)

    def _grow(self, event: _Event) -> None:
        delta = event.delta or {}
        kind = delta.get("type")
        field = _GROWS.get(str(kind))
        if not 0 <= event.index < len(self.blocks):
            self.refused = True
            return
        block = self.blocks[event.index]
        value: Any = delta.get(field or "")
        if field is not None and isinstance(value, str):
            grow(block, {field: value})
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
        else:
            # A kind of delta that nobody has told us how to add up.
            self.refused = True

    def _change(self, event: _Event) -> None:
        self.message.update(event.delta or {})
        if event.usage is not None:
            before = self.message.get("usage")
            told = {name: value for name, value in event.usage.items() if value is not None}
            self.message["usage"] = {**(before if isinstance(before, dict) else {}), **told}

    def _end(self, event: _Event) -> None:
        self.ended = True

    def _fail(self, event: _Event) -> None:
        self.refused = True


_ON = {
    "message_start": _Grown._start,
    "content_block_start": _Grown._open,
    "content_block_delta": _Grown._grow,
    "message_delta": _Grown._change,
    "message_stop": _Grown._end,
    "error": _Grown._fail,
}


class MessageForm:
    """See `adapters.replay.form.Form`."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """The message that the events tell."""
        under_way = _Grown()
        try:
            for _, data in cut(stream):
                under_way.take(_decode_event(data))
        except UNREADABLE:
            return None
        message = under_way.message
        if not under_way.ended or under_way.refused or not message.get("stop_reason"):
            return None
        return Assembled(encode({**message, "content": grown(under_way.blocks)}))

    def keeps(self, body: bytes) -> bool:
        """Whether it has content, and no tool in it."""
        answer = read(body)
        if answer is None or answer.get("type") == "error" or answer.get("error") is not None:
            return False
        content = answer.get("content")
        if not isinstance(content, list):
            return False
        return all(isinstance(block, dict) and block.get("type") not in _ACTS for block in content)

    def events(self, body: bytes, request: bytes) -> bytes:
        """The events of a message, each block's content in one delta."""
        message = read(body) or {}
        blocks = message.pop("content", [])
        usage = message.get("usage")
        used = dict(usage) if isinstance(usage, dict) else {}
        ending = {name: message[name] for name in _ENDING if name in message}
        opened = {**message, "content": [], **dict.fromkeys(ending)}
        opened["usage"] = {**used, "output_tokens": min(1, int(used.get("output_tokens") or 0))}
        out = [_event("message_start", message=opened)]
        for index, block in enumerate(blocks):
            empty, deltas = _unrolled(block)
            out.append(_event("content_block_start", index=index, content_block=empty))
            out += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
            out.append(_event("content_block_stop", index=index))
        counts = {"output_tokens": used.get("output_tokens", 0)}
        out += (_event("message_delta", delta=ending, usage=counts), _event("message_stop"))
        return b"".join(out)


def _unrolled(block: Json) -> tuple[Json, list[Json]]:
    """A block as it starts, and the deltas that fill it. Blocks without text start whole."""
    empty = dict(block)
    deltas: list[Json] = []
    for kind, field in _GROWS.items():
        value = block.get(field)
        if isinstance(value, str):
            empty[field] = ""
            if value:
                deltas.append({"type": kind, field: value})
    for citation in empty.pop("citations", None) or []:
        deltas.append({"type": "citations_delta", "citation": citation})
    return empty, deltas


def _event(type: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), encode({"type": type, **fields}))


FORM: Form = MessageForm()
