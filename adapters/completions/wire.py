"""The types of a text completion; the chat side is in `adapters.pivot`."""

from __future__ import annotations

from msgspec import Raw, Struct

from adapters.values import ABSENT


class StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


class Wanted(Struct, gc=False):
    """What of the request decides how the answer is streamed."""

    stream_options: StreamOptions | None = None


class TextChoice(Struct, gc=False):
    text: Raw
    index: int
    logprobs: None
    finish_reason: str | None


class TextCompletion(Struct, omit_defaults=True, gc=False):
    """A whole answer, and a chunk of a streamed one."""

    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Raw = ABSENT
