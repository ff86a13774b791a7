"""OpenRouter's `reasoning_details`: what a model thought, in the form in which it must come back, unchanged.

https://openrouter.ai/docs/guides/best-practices/reasoning-tokens

Other dialects have thinking with a signature. So the details of an answer, packed, are the signature of the thinking
that they tell: every client that carries signatures carries them back. A text that the thinking itself says is not
packed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.packing import pack, unpack

KIND = "reasoning_details"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[dict[str, Any]]).decode

_TEXTS: Mapping[str, str] = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""The field that a detail's text is in. Encrypted ones have none."""


def _text_field(detail: Mapping[str, Any]) -> str | None:
    kind = detail.get("type")
    return _TEXTS.get(kind) if isinstance(kind, str) else None


class _Packed(msgspec.Struct, gc=False):
    """`shown`: which of the details has the text of the thinking."""

    type: str = ""
    details: list[dict[str, Any]] = []
    shown: int | None = None


_decode_packed = msgspec.json.Decoder(_Packed).decode


class Details:
    """The details of one answer, or of what came of it so far. `size` is the bytes that were taken."""

    __slots__ = ("_kept", "size")

    def __init__(self) -> None:
        self._kept: list[tuple[dict[str, Any], list[str]]] = []
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._kept)

    def add(self, raw: Raw, *, whole: bool) -> Raw:
        """Takes an array of details. Those of a stream that are not `whole` go on with the last one, if they are of its
        type and index. Returns the text that they show, a JSON string. Raises what msgspec raises."""
        shown: list[str] = []
        self.size += len(raw)
        for detail in _decode(raw):
            field = _text_field(detail)
            text = detail.get(field) if field is not None else None
            if isinstance(text, str):
                shown.append(text)
            if whole or field is None or not self._goes_on(detail):
                self._kept.append((detail, [text] if isinstance(text, str) else []))
                continue
            last, texts = self._kept[-1]
            last.update((name, value) for name, value in detail.items() if name != field and value is not None)
            if isinstance(text, str):
                texts.append(text)
        return Raw(_encode("".join(shown)))

    def _goes_on(self, detail: dict[str, Any]) -> bool:
        last = self._kept[-1][0] if self._kept else {}
        return all(last.get(name) == detail.get(name) for name in ("type", "index")) and not last.get("signature")

    def sealed(self) -> Raw:
        """The signature, a JSON string, of the thinking that these details tell."""
        details = []
        for detail, texts in self._kept:
            if texts:
                detail[_TEXTS[detail["type"]]] = "".join(texts)
            details.append(detail)
        telling = [at for at, (_, texts) in enumerate(self._kept) if texts]
        shown = telling[0] if len(telling) == 1 else None
        if shown is not None:
            del details[shown][_TEXTS[details[shown]["type"]]]
        return Raw(_encode(pack([{"type": KIND, "details": details, "shown": shown}])))


def opened(signature: str, thought: str) -> list[dict[str, Any]]:
    """The details in a signature of ours, for the thinking that it signs; none in any other."""
    found: list[dict[str, Any]] = []
    for raw in unpack(signature) or ():
        try:
            packed = _decode_packed(raw)
        except msgspec.MsgspecError:
            continue
        if packed.type != KIND:
            continue
        if packed.shown is not None and 0 <= packed.shown < len(packed.details):
            detail = packed.details[packed.shown]
            field = _text_field(detail)
            if field is not None:
                detail[field] = thought
        found += packed.details
    return found


class _Thinking(msgspec.Struct, gc=False):
    type: str = ""
    thinking: str = ""
    signature: str = ""


_decode_thinking = msgspec.json.Decoder(_Thinking).decode


def details_of(blocks: Iterable[Raw]) -> list[dict[str, Any]]:
    """The details in the signatures of blocks of thinking that came back packed themselves."""
    found: list[dict[str, Any]] = []
    for raw in blocks:
        try:
            block = _decode_thinking(raw)
        except msgspec.MsgspecError:
            continue
        if block.type == "thinking":
            found += opened(block.signature, block.thinking)
    return found
