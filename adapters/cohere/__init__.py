"""OpenAI clients on Cohere's v2 API: chat, embeddings and rerank.

`request` and `messages` turn a chat request into Cohere's, `response` an answer and `stream` its events back; `embed`
and `rerank` do both ways of theirs. Cohere's plan for its tool calls is the text beside the calls, there and back.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.chain import Verbatim
from adapters.cohere import embed, request, rerank, response, stream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply, StreamDecoder


class _Cohere:
    """What all three share: errors are `{"message": …}`, which OpenAI's reader knows."""

    identity = False

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an error answer. Never raises."""
        return openai_errors.read(status, headers, body)


class ChatToCohere(_Cohere):
    """See `adapters.types.Codec`."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body is none of Cohere's."""
        return response.translate(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from Cohere's events to chat completion chunks."""
        return stream.CohereStream(call)


class EmbeddingsToCohere(_Cohere):
    """See `adapters.types.Codec`."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        return embed.to_embed(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body holds no vectors."""
        return embed.to_embeddings(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """Embeddings are not streamed."""
        return Verbatim()


class RerankToCohere(_Cohere):
    """See `adapters.types.Codec`."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        return rerank.to_cohere(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body holds no results."""
        return rerank.from_cohere(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """Rankings are not streamed."""
        return Verbatim()


CHAT_TO_COHERE = ChatToCohere()
EMBEDDINGS_TO_EMBED = EmbeddingsToCohere()
RERANK_TO_COHERE = RerankToCohere()
