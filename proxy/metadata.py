"""What a request says about itself, beside its body: metadata, as conditions, cache, ledger and logs read it.

Later ones win: the pairs of a W3C `baggage` header, the JSON object in `x-portkey-metadata`, the API key's own.
OpenAI's body field `user` is `_user` where nobody has set that. Nothing here fails: what cannot be read is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from adapters.values import UNREADABLE

VALUE_LENGTH = 128
"""Characters of a value at most; the rest is cut off."""

_MAX_PAIRS = 256
_NUL = rb"\u0000"  # as JSON has it

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_text = msgspec.json.Decoder(str).decode


def read(headers: Mapping[bytes, bytes], own: Mapping[str, str], user: bytes = b"") -> dict[str, str]:
    """The metadata of a request. `own` is the API key's, `user` the body's field `user` as JSON text."""
    found: dict[str, str] = {}
    baggage = headers.get(b"baggage", b"")
    if baggage:
        found.update(_pairs(baggage))
    given = headers.get(b"x-portkey-metadata", b"")
    if given:
        found.update(_object(given))
    found.update(own)
    if user and "_user" not in found:
        found.update(_user(user))
    if _NUL in given or _NUL in user or b"%00" in baggage:
        return {_storable(name): _storable(value) for name, value in found.items()}
    return found


def _storable(text: str) -> str:
    """PostgreSQL has no text, and reads no JSON, with a NUL in it."""
    return text.replace("\0", "\ufffd")


def _object(text: bytes) -> Iterator[tuple[str, str]]:
    try:
        given = _decode(text)
    except UNREADABLE:
        return
    for name, value in list(given.items())[:_MAX_PAIRS]:
        if isinstance(value, str):
            yield name, value[:VALUE_LENGTH]


def _pairs(baggage: bytes) -> Iterator[tuple[str, str]]:
    """W3C baggage: `name=value;property, …`, percent-encoded."""
    for member in baggage.decode("utf-8", "replace").split(",")[:_MAX_PAIRS]:
        name, mark, value = member.partition(";")[0].partition("=")
        if mark and name.strip():
            yield unquote(name.strip()), unquote(value.strip())[:VALUE_LENGTH]


def _user(text: bytes) -> dict[str, str]:
    try:
        user = _decode_text(text)
    except UNREADABLE:
        return {}
    return {"_user": user[:VALUE_LENGTH]} if user else {}
