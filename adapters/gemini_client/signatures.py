"""Thought signatures in both directions.

Gemini's clients keep `thoughtSignature` of every part and send it back unread; they take it for base64. A signature of
Google's own is told as it is. What another maker's model thought (with its signature, or in a form that only its
provider can read) travels in the same field, as the base64 of a text of `adapters.packing`.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from typing import Any

from msgspec import Raw

from adapters.gemini.wire import SIGNED
from adapters.packing import CALL_SIGNATURE, PREFIX, pack, read_head, unpack

_STANDARD = str.maketrans("-_", "+/")
_MARK = b64encode(PREFIX.encode())[:12].decode()


def told(thoughts: list[Any], signature: str | None) -> str:
    """The `thoughtSignature` that carries the blocks of `thoughts` and a call's own signature; empty for neither."""
    if not thoughts:
        return signature or ""
    own = [{"type": CALL_SIGNATURE, "signature": signature}] if signature else []
    return b64encode(pack([*thoughts, *own]).encode()).decode()


def read(text: str) -> tuple[list[Raw], str]:
    """The blocks and the signature in a `thoughtSignature`; of Google's own there are no blocks."""
    if not text.startswith(_MARK):
        return [], text
    try:
        packed = binascii.a2b_base64(text.translate(_STANDARD) + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return [], text
    blocks = unpack(packed)
    if blocks is None:
        return [], text
    signature = next((read_head(each).signature for each in blocks if read_head(each).type == CALL_SIGNATURE), "")
    return [each for each in blocks if read_head(each).type != CALL_SIGNATURE], signature


def googles(signature: str) -> str | None:
    """Google's own signature in that of a `thinking` block; None for one of another maker."""
    return signature[len(SIGNED) :] if signature.startswith(SIGNED) else None
