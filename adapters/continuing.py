"""Going on with a stream that broke off: what its client has read, the request that asks for the rest, and the seam.

The rest is asked for by prefilling: the request's last message is the assistant's, with the text that was delivered,
and the model goes on from there. Anthropic's Messages take that
(https://docs.anthropic.com/en/docs/build-with-claude/prefill-claudes-response); its newest models answer 400 to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from adapters import peek
from adapters.types import Dialect

CLIENTS = frozenset((Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES))
"""Whose streams can be put together from two."""
PREFILLED = frozenset(
    (Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC, Dialect.BEDROCK_ANTHROPIC, Dialect.BEDROCK_CONVERSE)
)
"""Which upstream dialects go on from an assistant's message: Anthropic's, wherever it is spoken, and Converse, whose
other makers' models refuse it."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_BLOCK = re.compile(rb"(?:\r\n\r\n|\n\n|\r\r)")


class Transcript:
    """The text of one streamed answer as its client has read it. `whole` turns false where there is anything but text,
    which no prefilled message could say; `ended` true when the answer told that it is complete. `index` is Anthropic's
    number of the block that is open."""

    __slots__ = ("_parts", "ended", "index", "whole")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.whole = True
        self.ended = False
        self.index = 0

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)

    @property
    def resumable(self) -> bool:
        """Whether somebody else could go on from here."""
        return self.whole and not self.ended and any(self._parts)

    def read(self, events: bytes) -> None:
        """Takes whole events that the client got."""
        for _, value in _events(events):
            if value is None:
                continue
            if "choices" in value:
                self._chunk(value)
            else:
                self._event(value)

    def _chunk(self, value: Mapping[str, Any]) -> None:
        for choice in _list(value["choices"]):
            delta = _object(_object(choice).get("delta"))
            if any(delta[name] for name in delta if name not in ("role", "content")) or _object(choice).get("index"):
                self.whole = False
            self._parts.append(_text(delta.get("content")))
            self.ended = self.ended or bool(_object(choice).get("finish_reason"))

    def _event(self, value: Mapping[str, Any]) -> None:
        kind = value.get("type")
        if kind == "content_block_start":
            self.index = _number(value.get("index"))
            self.whole = self.whole and _object(value.get("content_block")).get("type") == "text"
        elif kind == "content_block_delta":
            delta = _object(value.get("delta"))
            self.whole = self.whole and delta.get("type") == "text_delta"
            self._parts.append(_text(delta.get("text")))
        elif kind in ("content_block_stop", "message_delta"):
            self.ended = True


def prefilled(body: bytes, text: str) -> bytes:
    """The request for the rest. Anthropic refuses a last message that ends in blanks. Raises InvalidRequest."""
    top = peek.fields(body)
    try:
        messages = _decode_messages(top["messages"])
    except (KeyError, msgspec.MsgspecError) as error:
        raise peek.malformed(error) from error
    messages.append(msgspec.Raw(_encode({"role": "assistant", "content": text.rstrip()})))
    return _encode({**top, "messages": messages})


class Seam:
    """Makes the events of the rest go on where the first stream broke off: without a second beginning, without blanks
    that were delivered already, and in Anthropic's dialect within the same block."""

    __slots__ = ("_blanks", "_index")

    def __init__(self, transcript: Transcript) -> None:
        text = transcript.text
        self._blanks = text[len(text.rstrip()) :]
        self._index = transcript.index

    def feed(self, events: bytes) -> bytes:
        """Whole events of the rest, as the client shall get them."""
        return b"".join([self._one(block, value) for block, value in _events(events)])

    def _one(self, block: bytes, value: dict[str, Any] | None) -> bytes:
        if value is None:
            return block + b"\n\n"
        if "choices" in value:
            return self._chunk(block, value)
        kind = value.get("type")
        if kind == "message_start" or (kind == "content_block_start" and value.get("index") == 0):
            return b""
        if kind not in ("content_block_start", "content_block_delta", "content_block_stop"):
            return block + b"\n\n"
        value["index"] = _number(value.get("index")) + self._index
        delta = _object(value.get("delta"))
        if "text" in delta:
            delta["text"] = self._rest(_text(delta["text"]))
        return b"event: %b\ndata: %b\n\n" % (str(kind).encode(), _encode(value))

    def _chunk(self, block: bytes, value: dict[str, Any]) -> bytes:
        choices = _list(value["choices"])
        if len(choices) != 1:
            return block + b"\n\n"
        choice = _object(choices[0])
        delta = _object(choice.get("delta"))
        delta.pop("role", None)
        if self._blanks and delta.get("content"):
            delta["content"] = self._rest(_text(delta["content"]))
        if not any(delta.values()) and not choice.get("finish_reason"):
            return b""
        return b"data: %b\n\n" % _encode(value)

    def _rest(self, text: str) -> str:
        """Without the blanks that the client has, of which the second model knew nothing."""
        blanks, self._blanks = self._blanks, ""
        while blanks and text and blanks[0] == text[0]:
            blanks, text = blanks[1:], text[1:]
        return text


# What a provider sends is of any shape.


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _events(text: bytes) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Each event and its decoded data; None where that is no object."""
    for block in _BLOCK.split(text):
        if not block.strip():
            continue
        data = b"".join(line[5:].strip() for line in block.splitlines() if line.startswith(b"data:"))
        try:
            yield block, _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield block, None
