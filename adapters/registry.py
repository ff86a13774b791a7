"""Which codec translates between two dialects: an explicit dictionary, so that grep finds every pair."""

from __future__ import annotations

from adapters import openai_errors
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.anthropic_text import COMPLETIONS_TO_COMPLETE
from adapters.chain import Chain, Identity
from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.embeddings import TO_FLOATS
from adapters.gemini import CHAT_TO_GEMINI
from adapters.types import Codec, Dialect

IDENTITY = Identity(openai_errors.read)
"""Both sides speak the same dialect: bodies are not looked into, and errors pass as they came."""

CODECS: dict[tuple[Dialect, Dialect], Codec] = {
    (Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT): IDENTITY,
    (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES): CHAT_TO_MESSAGES,
    (Dialect.OPENAI_CHAT, Dialect.GEMINI_GENERATE): CHAT_TO_GEMINI,
    (Dialect.OPENAI_COMPLETIONS, Dialect.OPENAI_COMPLETIONS): IDENTITY,
    (Dialect.OPENAI_COMPLETIONS, Dialect.OPENAI_CHAT): COMPLETIONS_TO_CHAT,
    (Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_COMPLETE): COMPLETIONS_TO_COMPLETE,
    (Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_MESSAGES): Chain(COMPLETIONS_TO_CHAT, CHAT_TO_MESSAGES),
    (Dialect.OPENAI_COMPLETIONS, Dialect.GEMINI_GENERATE): Chain(COMPLETIONS_TO_CHAT, CHAT_TO_GEMINI),
    (Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_EMBEDDINGS): IDENTITY,
    (Dialect.OPENAI_EMBEDDINGS, Dialect.OPENAI_EMBEDDINGS_AS_FLOATS): TO_FLOATS,
    (Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES): IDENTITY,
    (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT): MESSAGES_TO_CHAT,
    (Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE): Chain(MESSAGES_TO_CHAT, CHAT_TO_GEMINI),
    (Dialect.ANTHROPIC_COUNT_TOKENS, Dialect.ANTHROPIC_COUNT_TOKENS): IDENTITY,
}


def codec(client: Dialect, upstream: Dialect) -> Codec:
    """The codec between two dialects. Raises KeyError for a pair that nobody wrote."""
    return CODECS[(client, upstream)]
