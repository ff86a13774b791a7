"""Which codec translates between two dialects.

A dialect is one line: among the clients' or among the upstreams'. Each client reaches each upstream by way of chat.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters import google_errors, lists_said, openai_errors
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.anthropic import said as anthropic
from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.anthropic_text import COMPLETIONS_TO_COMPLETE
from adapters.bedrock import (
    CHAT_TO_CONVERSE,
    COUNT_TO_COUNT,
    EMBEDDINGS_TO_COHERE,
    EMBEDDINGS_TO_TITAN,
    MESSAGES_TO_INVOKE,
)
from adapters.bedrock import said as bedrock
from adapters.chain import Chain, Identity
from adapters.chat import said as chat
from adapters.cohere import CHAT_TO_COHERE, EMBEDDINGS_TO_EMBED, RERANK_TO_COHERE
from adapters.cohere import said as cohere
from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.embeddings import TO_FLOATS
from adapters.fitting import Fitted, FittedChat
from adapters.gemini import CHAT_TO_GEMINI
from adapters.gemini import said as gemini
from adapters.gemini_client import ARRAY_TO_CHAT, GENERATE_TO_CHAT
from adapters.gemini_client.embeddings import BATCH_TO_EMBEDDINGS, EMBED_TO_EMBEDDINGS, through
from adapters.google_embeddings import EMBEDDINGS_TO_BATCH, EMBEDDINGS_TO_PREDICT, RENAMED_EMBEDDINGS
from adapters.mistral import CHAT_TO_MISTRAL, COMPLETIONS_TO_FIM
from adapters.nomic import EMBEDDINGS_TO_NOMIC
from adapters.rerank import RERANK_TO_VOYAGE
from adapters.responses import CHAT_TO_RESPONSES
from adapters.responses import said as responses
from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.tool_names import RULES
from adapters.types import Call, Codec, Dialect
from adapters.unsaid import Looks, client_of
from adapters.vertex import CHAT_TO_RAW, COUNT_TO_RAW, MESSAGES_TO_RAW

IDENTITY = Identity(openai_errors.read)
"""Both sides speak the same dialect: bodies are not looked into, and errors pass as they came."""

GEMINI_IDENTITY = Identity(google_errors.read)
"""The same between Gemini's clients and Google."""

CLIENTS: dict[Dialect, Codec] = {
    Dialect.OPENAI_COMPLETIONS: COMPLETIONS_TO_CHAT,
    Dialect.OPENAI_RESPONSES: RESPONSES_TO_CHAT,
    Dialect.ANTHROPIC_MESSAGES: MESSAGES_TO_CHAT,
    Dialect.GEMINI_GENERATE: GENERATE_TO_CHAT,
    Dialect.GEMINI_STREAM_ARRAY: ARRAY_TO_CHAT,
}
"""Clients' dialects on chat upstreams."""


class Upstream(NamedTuple):
    """A dialect for chat clients: its codec, and its table of what clients of other dialects are told of answers."""

    codec: Codec
    answers: Looks


UPSTREAMS: dict[Dialect, Upstream] = {
    Dialect.ANTHROPIC_MESSAGES: Upstream(CHAT_TO_MESSAGES, anthropic.ANSWERS),
    Dialect.GEMINI_GENERATE: Upstream(CHAT_TO_GEMINI, gemini.ANSWERS),
    Dialect.BEDROCK_CONVERSE: Upstream(CHAT_TO_CONVERSE, bedrock.ANSWERS),
    Dialect.COHERE_CHAT: Upstream(CHAT_TO_COHERE, cohere.ANSWERS),
    Dialect.MISTRAL_CHAT: Upstream(CHAT_TO_MISTRAL, chat.ANSWERS),
    Dialect.VERTEX_ANTHROPIC: Upstream(CHAT_TO_RAW, anthropic.ANSWERS),
    Dialect.OPENAI_RESPONSES: Upstream(CHAT_TO_RESPONSES, responses.ANSWERS),
}
"""Upstreams' dialects for chat clients. Where a provider has several, the first serves, but that Responses come after
whatever else there is."""

_EMBEDDINGS = (Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_EMBEDDINGS_AS_FLOATS)
EMBEDDERS: dict[Dialect, Codec] = {
    Dialect.COHERE_EMBED: EMBEDDINGS_TO_EMBED,
    Dialect.NOMIC_EMBED: EMBEDDINGS_TO_NOMIC,
    Dialect.BEDROCK_TITAN_EMBEDDINGS: EMBEDDINGS_TO_TITAN,
    Dialect.BEDROCK_COHERE_EMBEDDINGS: EMBEDDINGS_TO_COHERE,
    Dialect.VERTEX_PREDICT: EMBEDDINGS_TO_PREDICT,
}
"""Upstreams' dialects of embeddings, for OpenAI's clients and Gemini's."""
CHATS = (Dialect.OPENAI_CHAT, Dialect.VERTEX_ENDPOINT, Dialect.VERTEX_OPENAPI)
"""Upstreams that speak chat, at whatever address."""

_FITTED: dict[Dialect, Codec] = {up: Fitted(to.codec, RULES[up]) for up, to in UPSTREAMS.items()}

CODECS: dict[tuple[Dialect, Dialect], Codec] = {
    **{(client, up): Chain(first, _FITTED[up]) for client, first in CLIENTS.items() for up in UPSTREAMS},
    **{(client, up): FittedChat(first, RULES[up]) for client, first in CLIENTS.items() for up in CHATS},
    **{(Dialect.OPENAI_CHAT, up): IDENTITY for up in CHATS},
    **{(Dialect.OPENAI_CHAT, up): fitted for up, fitted in _FITTED.items()},
    # What is shorter than by way of chat.
    **{(each, each): IDENTITY for each in Dialect if each is not Dialect.PASSTHROUGH},
    (Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_ANTHROPIC): MESSAGES_TO_INVOKE,
    (Dialect.ANTHROPIC_COUNT_TOKENS, Dialect.BEDROCK_COUNT_TOKENS): COUNT_TO_COUNT,
    (Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_COMPLETE): COMPLETIONS_TO_COMPLETE,
    (Dialect.OPENAI_COMPLETIONS, Dialect.MISTRAL_FIM): COMPLETIONS_TO_FIM,
    (Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_EMBEDDINGS_AS_FLOATS): TO_FLOATS,
    (Dialect.RERANK, Dialect.COHERE_RERANK): RERANK_TO_COHERE,
    (Dialect.RERANK, Dialect.VOYAGE_RERANK): RERANK_TO_VOYAGE,
    (Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC): MESSAGES_TO_RAW,
    (Dialect.ANTHROPIC_COUNT_TOKENS, Dialect.VERTEX_COUNT_TOKENS): COUNT_TO_RAW,
    (Dialect.OPENAI_EMBEDDINGS, Dialect.GEMINI_BATCH_EMBED): EMBEDDINGS_TO_BATCH,
    (Dialect.GEMINI_EMBED, Dialect.GEMINI_EMBED): RENAMED_EMBEDDINGS,
    (Dialect.GEMINI_BATCH_EMBED, Dialect.GEMINI_BATCH_EMBED): RENAMED_EMBEDDINGS,
    **{(Dialect.GEMINI_EMBED, up): EMBED_TO_EMBEDDINGS for up in _EMBEDDINGS},
    **{(Dialect.GEMINI_BATCH_EMBED, up): BATCH_TO_EMBEDDINGS for up in _EMBEDDINGS},
    **{(Dialect.OPENAI_EMBEDDINGS, up): made for up, made in EMBEDDERS.items()},
    **{(Dialect.GEMINI_EMBED, up): through(made, batch=False) for up, made in EMBEDDERS.items()},
    **{(Dialect.GEMINI_BATCH_EMBED, up): through(made, batch=True) for up, made in EMBEDDERS.items()},
    (Dialect.GEMINI_GENERATE, Dialect.GEMINI_GENERATE): GEMINI_IDENTITY,
    (Dialect.GEMINI_STREAM_ARRAY, Dialect.GEMINI_STREAM_ARRAY): GEMINI_IDENTITY,
    (Dialect.GEMINI_COUNT_TOKENS, Dialect.GEMINI_COUNT_TOKENS): GEMINI_IDENTITY,
}


ANSWERS: dict[Dialect, Looks] = {
    **dict.fromkeys(CHATS, chat.ANSWERS),
    **{up: to.answers for up, to in UPSTREAMS.items()},
    Dialect.MISTRAL_FIM: chat.ANSWERS,
    Dialect.ANTHROPIC_COMPLETE: lists_said.ANTHROPIC_COMPLETE,
    Dialect.COHERE_EMBED: lists_said.COHERE_EMBED,
    Dialect.COHERE_RERANK: lists_said.COHERE_RERANK,
    Dialect.VOYAGE_RERANK: lists_said.VOYAGE_RERANK,
    Dialect.NOMIC_EMBED: lists_said.NOMIC,
    Dialect.BEDROCK_TITAN_EMBEDDINGS: lists_said.TITAN,
    Dialect.BEDROCK_COHERE_EMBEDDINGS: lists_said.BEDROCK_COHERE,
    Dialect.GEMINI_BATCH_EMBED: lists_said.GEMINI_BATCH,
    Dialect.VERTEX_PREDICT: lists_said.VERTEX_PREDICT,
    Dialect.OPENAI_EMBEDDINGS: lists_said.OPENAI_EMBEDDINGS,
}
"""Upstreams' tables of what clients of other dialects are told of their answers."""


def unsaid(upstream: Dialect, call: Call, body: bytes) -> tuple[str, ...]:
    """What of a whole answer the client is not told, in the provider's words."""
    looks, to = ANSWERS.get(upstream), client_of(call)
    return looks.by(to)[b""](body) if looks is not None and to else ()


def codec(client: Dialect, upstream: Dialect) -> Codec:
    """The codec between two dialects. Raises KeyError for a pair that nobody wrote."""
    return CODECS[(client, upstream)]
