"""The types of both sides: Anthropic's text answer and OpenAI's text completion."""

from __future__ import annotations

from msgspec import Struct


class Answer(Struct, gc=False):
    """A whole answer, and likewise each `completion` event of a streamed one."""

    completion: str
    id: str | None = None
    log_id: str | None = None
    model: str | None = None
    stop_reason: str | None = None


class Choice(Struct, gc=False):
    text: str
    index: int
    logprobs: None
    finish_reason: str


class Completion(Struct):
    """Without `usage`: this API does not count tokens, and a guess would be taken for a count."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]


class NamedCompletion(Completion):
    """What a client that did not ask for strict compliance gets: it also says who answered."""

    provider: str = "anthropic"


FINISH = {"stop_sequence": "stop", "max_tokens": "length"}
"""Stop reasons in OpenAI's words. What is not listed means `stop`."""


def finish_of(reason: str | None, strict: bool) -> str:
    """The finish reason for a stop reason: OpenAI's word if `strict`, else the provider's own."""
    if strict or not reason:
        return FINISH.get(reason or "", "stop")
    return reason
