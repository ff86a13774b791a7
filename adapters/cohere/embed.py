"""OpenAI's embeddings on Cohere's `/embed`: texts, or texts and images, one vector each."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import embeddings
from adapters.embeddings import Item
from adapters.errors import BadAnswer, InvalidRequest
from adapters.types import Call, CountAsFloat, Outbound, Reply, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode

_PASSED = ("input_type", "truncate", "max_tokens", "priority")
_FLOATS = Raw(b'["float"]')
"""The one type of numbers that OpenAI's answer has room for."""
_DEFAULT_TYPE = Raw(b'"search_document"')
"""Cohere's newer models want to know what an embedding is for; this is what it is for most often."""


class Units(Struct, gc=False):
    input_tokens: CountAsFloat | None = None
    image_tokens: CountAsFloat | None = None


class Meta(Struct, gc=False):
    billed_units: Units | None = None


class Vectors(Struct, rename={"floats": "float"}, gc=False):
    floats: list[list[float]]


class Embedded(Struct, gc=False):
    embeddings: Vectors
    meta: Meta | None = None


_embedded = msgspec.json.Decoder(Embedded).decode


def to_embed(call: Call) -> Outbound:
    """Cohere's request. Raises InvalidRequest with the path of the field at fault."""
    wish = embeddings.read(call)
    out: dict[str, Any] = {"model": call.model, "embedding_types": ["float"], "input_type": _DEFAULT_TYPE}
    if all(item.text is not None and item.image is None and item.video is None for item in wish.items):
        out["texts"] = [item.text for item in wish.items]
    else:
        out["inputs"] = [{"content": _content(item, f"input[{at}]")} for at, item in enumerate(wish.items)]
    if wish.dimensions is not None:
        out["output_dimension"] = wish.dimensions
    dropped = [*wish.unread]
    for name, value in wish.purpose().items():
        if name in _PASSED:
            out[name] = value
        elif name != "embedding_types" or value != _FLOATS:
            dropped.append(name)
    return Outbound(_encode(out), dropped=tuple(dropped))


def _content(item: Item, path: str) -> list[dict[str, Any]]:
    if item.video is not None:
        raise InvalidRequest("Cohere embeds texts and images only.", f"{path}.video")
    content: list[dict[str, Any]] = [] if item.text is None else [{"type": "text", "text": item.text}]
    if item.image is not None:
        content.append({"type": "image_url", "image_url": {"url": item.image}})
    return content


def to_embeddings(call: Call, body: bytes) -> Reply:
    """OpenAI's answer. Raises BadAnswer when the body holds no vectors, or not one for each input."""
    try:
        embedded = _embedded(body)
    except UNREADABLE as error:
        raise BadAnswer("The provider's answer holds no embeddings.") from error
    units = embedded.meta.billed_units if embedded.meta is not None else None
    usage = None
    if units is not None:
        images = int(units.image_tokens or 0)
        usage = Usage(int(units.input_tokens or 0) + images, image_input=images)
    return embeddings.answer(call, embeddings.read(call), embedded.embeddings.floats, usage)
