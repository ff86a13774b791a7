"""OpenAI's embeddings on Nomic's own endpoint, which takes texts and tells what they cost in tokens.

https://docs.nomic.ai/reference/api/embed-text-v-1-embedding-text-post
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import embeddings, openai_errors
from adapters.chain import Verbatim
from adapters.errors import BadAnswer, UpstreamError
from adapters.types import Call, Count, Outbound, Reply, StreamDecoder, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode

_PASSED = ("task_type", "long_text_mode", "max_tokens_per_text")


class _Counted(msgspec.Struct, gc=False):
    total_tokens: Count = 0


class _Answer(msgspec.Struct):
    embeddings: list[list[float]]
    usage: _Counted | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class EmbeddingsToNomic:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """Nomic's request. Raises InvalidRequest, for images and tokens too."""
        wish = embeddings.read(call)
        out: dict[str, Any] = {"model": call.model, "texts": wish.texts("Nomic")}
        if wish.dimensions is not None:
            out["dimensionality"] = wish.dimensions
        out.update((name, value) for name, value in wish.rest.items() if name in _PASSED)
        return Outbound(_encode(out), dropped=wish.lost(*_PASSED))

    def response(self, call: Call, body: bytes) -> Reply:
        """OpenAI's answer. Raises BadAnswer when the body holds no vectors, or not one for each input."""
        try:
            found = _decode(body)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no embeddings.") from error
        usage = None if found.usage is None else Usage(found.usage.total_tokens)
        return embeddings.answer(call, embeddings.read(call), found.embeddings, usage)

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads `{"detail": …}` or an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


EMBEDDINGS_TO_NOMIC = EmbeddingsToNomic()
