"""What the matrix asks and what providers answer, in words that no dialect owns."""

from __future__ import annotations

from typing import Any, NamedTuple

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""A PNG of one pixel, base64."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"capital_of": {"type": "string"}, "inhabitants": {"type": "integer"}},
    "required": ["capital_of", "inhabitants"],
    "additionalProperties": False,
}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Which city"}},
    "required": ["city"],
}
TOOL = "get_weather"
QUESTION = "What is it like there?"


class ToolCall(NamedTuple):
    id: str
    name: str
    arguments: dict[str, Any]


class Answer(NamedTuple):
    """What a provider says. `input` counts `cached` tokens too; `stop` is stop, length or tool_calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    stop: str = "stop"
    input: int = 40
    output: int = 12
    cached: int = 0


class Case(NamedTuple):
    """One row of the matrix. `sent` are words that must stand in what the provider gets; `status` is an error that
    it answers with; `cut` says that its connection breaks off in the middle; `then` are its answers to requests with
    one result of a tool in them, with two, and so on."""

    name: str
    answer: Answer
    sent: tuple[str, ...] = (QUESTION,)
    status: int = 200
    cut: bool = False
    then: tuple[Answer, ...] = ()


PARIS = ToolCall("call_1", TOOL, {"city": "Paris"})
OSLO = ToolCall("call_2", TOOL, {"city": "Oslo"})

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("text", Answer("Hello there, it is fine — 18 °C.", cached=16)),
        Case("length", Answer("Cut at", stop="length")),
        Case("tools", Answer(calls=(PARIS,), stop="tool_calls"), (QUESTION, TOOL, "Which city")),
        Case("parallel tools", Answer("Let me look.", (PARIS, OSLO), stop="tool_calls"), (QUESTION, TOOL)),
        Case("tool results", Answer("18 in Paris, 4 in Oslo."), (QUESTION, TOOL, "eighteen degrees", "four degrees")),
        Case("images", Answer("A red pixel."), (QUESTION, PIXEL)),
        Case("thinking", Answer("Two.", thinking="One and one make two.")),
        Case("JSON schema", Answer('{"capital_of":"Norway","inhabitants":717710}'), (QUESTION, "capital_of")),
        Case("error", Answer(), status=429),
        Case("cut", Answer("This answer never comes to its end because the connection breaks."), cut=True),
    )
}


LOOP = Case(
    "thinking loop",
    Answer(calls=(PARIS,), thinking="First I look at Paris.", stop="tool_calls"),
    then=(
        Answer(calls=(OSLO,), thinking="Then at Oslo.", stop="tool_calls"),
        Answer("Oslo is colder.", thinking="Now I know both."),
    ),
)
"""A model that thinks before each of its calls, and wants its thoughts back with the results."""


class Seen(NamedTuple):
    """What an SDK reads from the gateway's answer."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    thinking: str = ""
    stop: str = ""
    input: int = 0
    output: int = 0
    cached: int = 0


class Failed(NamedTuple):
    """An error as an SDK reads it: its status (0: none, it came within a stream) and what it says."""

    status: int
    message: str
    retry_after: str | None = None
