"""The types and tables of Cohere's answers and their events. An empty `Raw`: absent."""

from __future__ import annotations

from msgspec import Raw, Struct

from adapters.types import CountAsFloat
from adapters.values import ABSENT

# A whole answer.


class Units(Struct, gc=False):
    input_tokens: CountAsFloat | None = None
    output_tokens: CountAsFloat | None = None


class Counted(Struct, gc=False):
    tokens: Units | None = None
    billed_units: Units | None = None
    cached_tokens: CountAsFloat | None = None


class Function(Struct, gc=False):
    name: str = ""
    arguments: str | None = None


class ToolCall(Struct, gc=False):
    id: str = ""
    function: Function | None = None


class Content(Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""


class Message(Struct, gc=False):
    content: list[Content] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[ToolCall] | None = None
    citations: Raw = ABSENT


class Chance(Struct, gc=False):
    """A piece of the text, and the logarithm of the chance of each of its tokens."""

    text: str | None = None
    logprobs: list[float] | None = None


class Answer(Struct, gc=False):
    message: Message
    finish_reason: str | None = None
    id: str | None = None
    usage: Counted | None = None
    logprobs: list[Chance] | None = None


class Source(Struct, gc=False):
    document: dict[str, Raw] | None = None


class Citation(Struct, gc=False):
    start: int = 0
    end: int = 0
    sources: list[Source] | None = None


# The events of a streamed one.


class Said(Struct, gc=False):
    content: Content | list[Content] | None = None
    tool_plan: str = ""
    tool_calls: ToolCall | list[ToolCall] | None = None
    citations: Raw = ABSENT


class Delta(Struct, gc=False):
    message: Said | None = None
    finish_reason: str | None = None
    usage: Counted | None = None
    error: str | None = None


class CohereEvent(Struct, gc=False):
    type: str = ""
    index: int = 0
    id: str | None = None
    delta: Delta | None = None
    message: str | None = None
    logprobs: Chance | list[Chance] | None = None


FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "TIMEOUT": "length",
}
"""Cohere's finish reasons in OpenAI's words. What is not listed means `stop`."""

BROKEN = "ERROR"
"""The finish reason of what is no answer."""
