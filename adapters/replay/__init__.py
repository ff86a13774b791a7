"""Streamed answers as whole ones, and back: how one kept answer serves both kinds of callers.

A `Form` belongs to a client dialect. `whole` puts a stream's events together, `events` tells a whole answer as a
stream, `keeps` says whether an answer may be told again at all. All three are pure: bytes in, bytes out.

An answer that calls tools is never kept. Repeating a sentence is harmless; repeating the order to act is not. Neither
is one that holds an error, or a stream that does not say how it ended.
"""

from __future__ import annotations

from adapters.replay import anthropic, chat, gemini, responses, text
from adapters.replay.form import Assembled, Form, Plain
from adapters.types import Dialect

FORMS: dict[Dialect, Form] = {
    Dialect.OPENAI_CHAT: chat.FORM,
    Dialect.OPENAI_COMPLETIONS: text.FORM,
    Dialect.ANTHROPIC_MESSAGES: anthropic.FORM,
    Dialect.OPENAI_RESPONSES: responses.FORM,
    Dialect.GEMINI_GENERATE: gemini.FORM,
    Dialect.GEMINI_STREAM_ARRAY: gemini.ARRAY,
    Dialect.OPENAI_EMBEDDINGS: Plain(),
    Dialect.ANTHROPIC_COUNT_TOKENS: Plain(),
    Dialect.GEMINI_COUNT_TOKENS: Plain(),
    Dialect.GEMINI_EMBED: Plain(),
    Dialect.GEMINI_BATCH_EMBED: Plain(),
    Dialect.RERANK: Plain(),
}
"""The dialects whose answers can be kept. What is missing here never is."""

__all__ = ["FORMS", "Assembled", "Form"]
