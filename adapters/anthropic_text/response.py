"""Text answer → text completion. Errors have the shape of the Messages API's."""

from __future__ import annotations

import msgspec

from adapters.anthropic import response as messages
from adapters.anthropic_text.wire import Answer, Choice, Completion, NamedCompletion, finish_of
from adapters.errors import BadAnswer
from adapters.types import Call, Reply
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode

error = messages.error


def translate(call: Call, body: bytes) -> Reply:
    """The text completion for Anthropic's answer. Raises BadAnswer when the body is not one. Its usage is unknown."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE as error:
        raise BadAnswer("The answer is not a text completion of Anthropic's.") from error
    make = Completion if call.strict else NamedCompletion
    completion = make(
        answer.log_id or answer.id or f"cmpl-{call.id}",
        "text_completion",
        call.created,
        answer.model or call.model,
        [Choice(answer.completion, 0, None, finish_of(answer.stop_reason, call.strict))],
    )
    return Reply(_encode(completion))
