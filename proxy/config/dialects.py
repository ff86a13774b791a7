"""Which upstream dialects can serve a client dialect, the most faithful first."""

from __future__ import annotations

from adapters.registry import CHATS, EMBEDDERS, UPSTREAMS
from adapters.types import Dialect

_CHATS = (CHATS[0], *(each for each in UPSTREAMS if each is not Dialect.OPENAI_RESPONSES), *CHATS[1:])
_EMBEDDERS = (Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_EMBEDDINGS_AS_FLOATS, *EMBEDDERS)
_ALL_CHATS = (*_CHATS, Dialect.OPENAI_RESPONSES)
"""Responses come last here: where there is chat as well, they are for the models that have nothing else."""
SERVED_BY: dict[Dialect, tuple[Dialect, ...]] = {
    Dialect.OPENAI_CHAT: _ALL_CHATS,
    Dialect.OPENAI_COMPLETIONS: (
        Dialect.OPENAI_COMPLETIONS,
        Dialect.ANTHROPIC_COMPLETE,
        Dialect.MISTRAL_FIM,
        *_ALL_CHATS,
    ),
    Dialect.OPENAI_RESPONSES: (Dialect.OPENAI_RESPONSES, *_CHATS),
    Dialect.OPENAI_EMBEDDINGS: (*_EMBEDDERS, Dialect.GEMINI_BATCH_EMBED),
    Dialect.RERANK: (Dialect.RERANK, Dialect.COHERE_RERANK, Dialect.VOYAGE_RERANK),
    Dialect.ANTHROPIC_MESSAGES: (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.BEDROCK_ANTHROPIC,
        Dialect.VERTEX_ANTHROPIC,
        *_ALL_CHATS,
    ),
    Dialect.ANTHROPIC_COUNT_TOKENS: (
        Dialect.ANTHROPIC_COUNT_TOKENS,
        Dialect.BEDROCK_COUNT_TOKENS,
        Dialect.VERTEX_COUNT_TOKENS,
    ),
    Dialect.GEMINI_GENERATE: (Dialect.GEMINI_GENERATE, *_ALL_CHATS),
    Dialect.GEMINI_STREAM_ARRAY: (Dialect.GEMINI_STREAM_ARRAY, *_ALL_CHATS),
    Dialect.GEMINI_COUNT_TOKENS: (Dialect.GEMINI_COUNT_TOKENS,),
    Dialect.GEMINI_EMBED: (Dialect.GEMINI_EMBED, *_EMBEDDERS),
    Dialect.GEMINI_BATCH_EMBED: (Dialect.GEMINI_BATCH_EMBED, *_EMBEDDERS),
}
LEGACY_TEXT = frozenset((Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_COMPLETE, Dialect.MISTRAL_FIM))
"""Those that complete a text and hold no chat."""
