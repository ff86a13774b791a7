"""Going on with a stream that broke off: what its client has read, the request that asks for the rest, and the seam.

The rest is asked for by prefilling: the request's last message is the assistant's, with the text that was delivered,
and the model goes on from there. Anthropic's Messages take that
(https://docs.anthropic.com/en/docs/build-with-claude/prefill-claudes-response); its newest models answer 400 to it.
Others want that message marked, and Mistral says its text once more before it goes on
(https://docs.mistral.ai/capabilities/completion/usage): `adapters.quirks.Prefill` has how each does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from adapters import peek
from adapters.quirks import Prefill, Quirks
from adapters.types import Dialect
from adapters.values import UNREADABLE

CLIENTS = frozenset((Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES))
"""Whose streams can be put together from two."""
PREFILLED = frozenset(
    (Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC, Dialect.BEDROCK_ANTHROPIC, Dialect.BEDROCK_CONVERSE)
)
"""Which upstream dialects go on from an assistant's message, whoever speaks them: Anthropic's, and Converse, where
other makers' models refuse it."""
_UNMARKED = Prefill()

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


def way(upstream: Dialect, quirks: Quirks | None) -> Prefill | None:
    """How an upstream is asked for the rest; None where it cannot be."""
    if quirks is not None and quirks.prefill is not None:
        return quirks.prefill
    return _UNMARKED if upstream in PREFILLED else None


def prefilled(body: bytes, text: str) -> bytes:
    """The request for the rest, but for a mark that the provider may want. Anthropic refuses a last message that ends
    in blanks, or has nothing else. Raises InvalidRequest."""
    text = text.rstrip()
    if not text:
        return body
    top = peek.fields(body)
    try:
        messages = _decode_messages(top["messages"])
    except (KeyError, msgspec.MsgspecError) as error:
        raise peek.malformed(error) from error
    messages.append(msgspec.Raw(_encode({"role": "assistant", "content": text})))
    return _encode({**top, "messages": messages})


class Seam:
    """Makes the events of the rest go on where the first stream broke off: without a second beginning, without blanks
    that were delivered already, and in Anthropic's dialect within the same block.

    Where the provider `echoes`, the text that was delivered does not come twice. What may be its repetition is held
    until that is certain, and passes on when it turns out to be something else.
    """

    __slots__ = ("_blanks", "_echo", "_echoed", "_held", "_index", "_joined", "_passing")

    def __init__(self, transcript: Transcript, echoes: bool = False) -> None:
        text = transcript.text
        self._blanks = text[len(text.rstrip()) :]
        self._echo = text.rstrip() if echoes else ""
        self._echoed = 0  # characters of it that have come
        self._held: dict[str, Any] = {}  # the event that brought the last of them
        self._index = transcript.index
        self._joined = False  # whether a block of the rest has become the one that is open
        self._passing = -1  # a block that nobody sees

    def feed(self, events: bytes) -> bytes:
        """Whole events of the rest, as the client shall get them."""
        return b"".join([self._one(block, value) for block, value in _events(events)])

    def _one(self, block: bytes, value: dict[str, Any] | None) -> bytes:
        if value is None:
            ends = b"[DONE]" in block
            return (self._let_go() if ends else b"") + block + b"\n\n"
        if "choices" in value:
            return self._chunk(block, value)
        kind = value.get("type")
        if kind == "message_start":
            return b""
        if kind in ("content_block_start", "content_block_delta", "content_block_stop"):
            return self._of_block(str(kind), value)
        if kind in ("message_delta", "message_stop"):
            return self._let_go() + self._leave() + block + b"\n\n"
        return block + b"\n\n"

    def _of_block(self, kind: str, value: dict[str, Any]) -> bytes:
        index = _number(value.get("index"))
        before = b""
        if kind == "content_block_start" and not self._joined:
            opened = _object(value.get("content_block")).get("type")
            if opened == "text":
                self._joined = True
                self._index -= index
                return b""
            if opened in ("thinking", "redacted_thinking"):
                # It belongs before the text, which has begun long ago.
                self._passing = index
            else:
                before = self._leave()
                self._index += 1 - index
        if index == self._passing:
            return b""
        value["index"] = index + self._index
        delta = _object(value.get("delta"))
        if "text" in delta:
            delta["text"] = self._rest(_text(delta["text"]))
            if not delta["text"]:
                self._held = value
                return b""
            return _named(value)
        return self._let_go() + before + _named(value)

    def _leave(self) -> bytes:
        """The end of the open block, where the rest has no text to go on with in it."""
        if self._joined:
            return b""
        self._joined = True
        return _named({"type": "content_block_stop", "index": self._index})

    def _chunk(self, block: bytes, value: dict[str, Any]) -> bytes:
        choices = _list(value["choices"])
        if len(choices) != 1:
            return block + b"\n\n"
        choice = _object(choices[0])
        delta = _object(choice.get("delta"))
        delta.pop("role", None)
        said = _text(delta.get("content"))
        if said:
            delta["content"] = self._rest(said)
            if not delta["content"]:
                self._held = {**value, "choices": [{**choice, "delta": dict(delta), "finish_reason": None}]}
        if not any(delta.values()) and not choice.get("finish_reason"):
            return b""
        if delta.get("content"):
            return b"data: %b\n\n" % _encode(value)
        return self._let_go() + b"data: %b\n\n" % _encode(value)

    def _rest(self, text: str) -> str:
        """What is new in a piece of the rest."""
        echo, at = self._echo, self._echoed
        if at < len(echo) and text:
            if at == 0 and not text[0].isspace():
                self._echo = echo = echo.lstrip()
            if echo.startswith(text, at):
                self._echoed = at + len(text)
                return ""
            repeated = echo[at:]
            self._echo = ""
            text = text[len(repeated) :] if text.startswith(repeated) else echo[:at] + text
        # The blanks that the client has, of which the second model knew nothing.
        blanks = self._blanks
        while blanks and text and blanks[0] == text[0]:
            blanks, text = blanks[1:], text[1:]
        self._blanks = "" if text else blanks
        return text

    def _let_go(self) -> bytes:
        """What was held as the beginning of a repetition that did not come."""
        text, value = self._echo[: self._echoed], self._held
        whole = self._echoed == len(self._echo)
        self._echo = ""
        if not text or whole:
            return b""
        text = self._rest(text)
        if "choices" in value:
            value["choices"][0]["delta"]["content"] = text
            return b"data: %b\n\n" % _encode(value)
        value["delta"]["text"] = text
        return _named(value)


def _named(value: Mapping[str, Any]) -> bytes:
    """An event of Anthropic's."""
    return b"event: %b\ndata: %b\n\n" % (str(value.get("type")).encode(), _encode(value))


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
        except UNREADABLE:
            yield block, None
