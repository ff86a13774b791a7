"""OpenAI's embeddings on Titan, which takes one input for each call, and on Cohere, which takes a list.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and …-embed.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters import embeddings
from adapters.bedrock import response
from adapters.chain import Verbatim
from adapters.embeddings import Item, Wish
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
from adapters.types import Call, Count, Outbound, Reply, StreamDecoder, Usage
from adapters.values import UNREADABLE

MOST = 96
"""Inputs of one request: what Cohere takes at once, and as many calls as one request to Titan may become."""

_IMAGES = "titan-embed-image"
"""The model for images and texts, which has a place of its own for the length of vectors.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html"""

_IMAGE = Raw(b'"image"')

_encode = msgspec.json.Encoder().encode


class _TitanAnswer(msgspec.Struct, rename="camel"):
    embedding: list[float]
    input_text_token_count: Count = 0


class _CohereAnswer(msgspec.Struct):
    embeddings: list[list[float]] | dict[str, Raw]


_decode_titan = msgspec.json.Decoder(_TitanAnswer).decode
_decode_cohere = msgspec.json.Decoder(_CohereAnswer).decode
_decode_vectors = msgspec.json.Decoder(list[list[float]]).decode


class _Embeddings:
    """What both have alike; see `adapters.types.Codec`."""

    identity = False

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads AWS's error."""
        return response.error(status, headers, body)


class Titan(_Embeddings):
    """Amazon's Titan: a request of several inputs is as many calls."""

    def request(self, call: Call) -> Outbound:
        """The calls. Raises InvalidRequest."""
        wish = _read(call)
        kept, dropped = _kept(wish, wish.rest, ("normalize",))
        if wish.dimensions is not None and _IMAGES in call.model:
            kept["embeddingConfig"] = {"outputEmbeddingLength": wish.dimensions}
        elif wish.dimensions is not None:
            kept["dimensions"] = wish.dimensions
        bodies = [_encode({**_titan(item, f"input[{at}]"), **kept}) for at, item in enumerate(wish.items)]
        return Outbound(bodies[0], (), dropped, tuple(bodies[1:]))

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer to a request of one input. Raises BadAnswer."""
        return self.combined(call, [body])

    def combined(self, call: Call, bodies: list[bytes]) -> Reply:
        """One answer of the answers to all calls, in their order. Raises BadAnswer."""
        try:
            found = [_decode_titan(body) for body in bodies]
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embedding.") from error
        usage = Usage(sum(each.input_text_token_count for each in found))
        return embeddings.answer(call, embeddings.read(call), [each.embedding for each in found], usage)


class Cohere(_Embeddings):
    """Cohere's models. Their answers count no tokens, but Bedrock does."""

    usage_header = b"x-amzn-bedrock-input-token-count"

    def request(self, call: Call) -> Outbound:
        """The call. Raises InvalidRequest."""
        wish = _read(call)
        kept, dropped = _kept(wish, wish.purpose(), ("input_type", "truncate", "max_tokens"))
        kept.setdefault("input_type", "search_document")
        if wish.dimensions is not None:
            kept["output_dimension"] = wish.dimensions
        images = [item.image for item in wish.items if item.image is not None]
        if images and any(item.image is None or item.text is not None or item.video is not None for item in wish.items):
            raise InvalidRequest("Cohere embeds texts or images, not both at once.", "input")
        if images and wish.rest.get("input_type", _IMAGE) != _IMAGE:
            # Images are of no other type here.
            dropped = (*dropped, "input_type")
        given = {"images": images, "input_type": _IMAGE} if images else {"texts": wish.texts("Cohere")}
        return Outbound(_encode({**kept, **given}), (), dropped)

    def response(self, call: Call, body: bytes) -> Reply:
        """The answer. Raises BadAnswer."""
        try:
            found = _decode_cohere(body).embeddings
            vectors = found if isinstance(found, list) else _decode_vectors(found["float"])
        except (*UNREADABLE, KeyError) as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        usage = None if call.counted is None else Usage(call.counted)
        return embeddings.answer(call, embeddings.read(call), vectors, usage)


def _read(call: Call) -> Wish:
    wish = embeddings.read(call)
    if len(wish.items) > MOST:
        raise InvalidRequest(f"At most {MOST} inputs can be embedded in one request here.", "input")
    return wish


def _kept(wish: Wish, rest: Mapping[str, Raw], names: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields that the model knows by the same name, and the names of the others."""
    kept: dict[str, Any] = {name: value for name, value in rest.items() if name in names}
    return kept, (*wish.unread, *(name for name in rest if name not in names))


def _titan(item: Item, path: str) -> dict[str, str]:
    made = {} if item.text is None else {"inputText": item.text}
    if item.image is not None:
        head, comma, data = item.image.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequest("Bedrock fetches no addresses: send the image as a data URL.", path)
        made["inputImage"] = data
    if item.video is not None or not made:
        raise InvalidRequest("Titan embeds texts and images only.", path)
    return made
