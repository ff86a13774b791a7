"""Thoughts in a history that Anthropic would refuse, because another maker's model had them.

A client that speaks Messages sends back every block it got, whoever answered. What other models thought carries a
signature that this gateway marked, or none; a request with such a block is answered with 400 (`Invalid signature in
thinking block`). So these blocks stay behind, and are named. All other text of the body is what it was. Signatures of
Claude at Anthropic, Bedrock and Vertex AI are good at each of them:
https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import msgspec
from msgspec import Raw, Struct

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.gemini import wire as gemini
from adapters.mistral import wire as mistral
from adapters.packing import PREFIX
from adapters.quirks import Quirks
from adapters.responses import wire as responses
from adapters.types import Dialect
from adapters.values import BRACKET, UNREADABLE, first

_FOREIGN = (PREFIX, gemini.SIGNED, responses.SIGNED, mistral.SIGNED)
_SIGNED = re.compile(rf'"signature"\s*:\s*"(?:"|{"|".join(_FOREIGN[1:])})'.encode())
_PACKED = f'"{PREFIX}'.encode()
_NAMES = {"thinking": "messages[].content[].thinking", "redacted_thinking": "messages[].content[].redacted_thinking"}


class _Message(Struct, gc=False):
    role: str = ""
    content: Raw = Raw(b"")


class _Block(Struct, gc=False):
    type: str = ""
    signature: str | None = None
    data: str = ""


_encode = msgspec.json.Encoder().encode
_raws = msgspec.json.Decoder(list[Raw]).decode
_message = msgspec.json.Decoder(_Message).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_block = msgspec.json.Decoder(_Block).decode


def own_alone(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A request's body without thoughts of other makers' models, and the names of what was left out. A body without
    any, or one that cannot be read, is the same object."""
    # Two searches cost less than decoding a body, and nearly none has one.
    if _PACKED not in body and _SIGNED.search(body) is None:
        return body, ()
    lost: dict[str, None] = {}
    try:
        fields = peek.fields(body)
        messages = _raws(fields.get("messages", b"[]"))
        kept = [each for raw in messages if (each := _mended(raw, lost)) is not None]
    except (InvalidRequest, *UNREADABLE):
        # Not ours to refuse: the provider says what is wrong with it.
        return body, ()
    if not lost:
        return body, ()
    fields["messages"] = Raw(_encode(kept))
    return _encode(fields), tuple(lost)


def _mended(raw: Raw, lost: dict[str, None]) -> Raw | None:
    """A message without foreign thoughts; None where nothing else was in it."""
    message = _message(raw)
    if message.role != "assistant" or first(message.content) != BRACKET:
        return raw
    blocks = _raws(message.content)
    kept = [block for block in blocks if not _is_foreign(block, lost)]
    if len(kept) == len(blocks):
        return raw
    return Raw(_encode({**_fields(raw), "content": kept})) if kept else None


def _is_foreign(raw: Raw, lost: dict[str, None]) -> bool:
    block = _block(raw)
    if block.type == "thinking":
        foreign = not block.signature or block.signature.startswith(_FOREIGN)
    else:
        foreign = block.type == "redacted_thinking" and block.data.startswith(PREFIX)
    if foreign:
        lost[_NAMES[block.type]] = None
    return foreign


class OwnThoughts(Quirks, frozen=True):
    """The quirk of whoever serves Claude to clients that speak Messages, and for these alone."""

    native: ClassVar[bool] = True

    def apply(self, body: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The body as Claude takes it, and the names of what was left out."""
        return own_alone(body)


def serves_claude(betas: Mapping[str, str] | None = None) -> Mapping[Dialect, Quirks]:
    """The quirks of a row that does. `betas` as `Quirks` has them."""
    return dict.fromkeys((Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_COUNT_TOKENS), OwnThoughts(betas=betas))
