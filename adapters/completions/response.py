"""Chat completion → text completion, and what the stream machine shares with it."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters import counting
from adapters.completions.wire import TextChoice, TextCompletion
from adapters.pivot import REFUSAL, TEXT, Choice, Said, bad_answer, pieces, read_completion
from adapters.types import Call, Reply
from adapters.values import BRACE, UNREADABLE, first, joined

_encode = msgspec.json.Encoder().encode


def to_completion(call: Call, body: bytes) -> Reply:
    """Builds the text completion. Raises BadAnswer when the body is no chat completion."""
    completion = read_completion(body)
    try:
        choices = [text_choice(choice, choice.message) for choice in completion.choices or ()]
    except UNREADABLE as error:
        raise bad_answer(error) from error
    answer = TextCompletion(
        completion.id or f"cmpl-{call.id}",
        "text_completion",
        call.created if completion.created is None else completion.created,
        completion.model or call.model,
        choices,
    )
    if first(completion.usage) == BRACE:
        answer.usage = completion.usage
    return Reply(_encode(answer), counting.usage_of(body))


def text_choice(choice: Choice, said: Said | None) -> TextChoice:
    """One choice with its text. Thinking has no place in a text completion and is left out."""
    return TextChoice(said_text(said), choice.index, None, choice.finish_reason)


def said_text(said: Said | None) -> Raw:
    """The text of a message or a delta as one JSON string."""
    return joined([text for kind, text in pieces(said) if kind in (TEXT, REFUSAL)] if said is not None else [])
