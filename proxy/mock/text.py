"""What the mock says: a pure function of the request and its mode, the same in every dialect.

The dialect modules reduce a request to an `Ask`, get a `Said`, and dress it in their own words. A token is a word.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any, Literal

import msgspec

from proxy.mock import schema
from proxy.mock.modes import Mode

CREATED = 1704067200
"""The one Unix time the mock knows: 2024-01-01T00:00:00Z."""

_ECHO_LIMIT = 200
_ARGUMENT_LIMIT = 80
_FILLER = "A gateway relays every chunk in order and adds nothing of its own. "
_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+")
_USE_TOOL = re.compile(r"\buse (?:the )?tools?\b:?(.*)", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[\w-]+")

Stop = Literal["end", "length", "sequence", "tool"]


class Tool(msgspec.Struct, frozen=True):
    """A function the caller offers: its name and the JSON schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request without its dialect.

    `text` is what the user said last, `tool_result` the text of the tool result the conversation ends with (None: it
    ends otherwise). `choice` is auto, none, any or `=NAME` of the tool that must be called. `schema` is the JSON
    schema the answer must satisfy. `echo` is an answer that is fixed already.
    """

    model: str
    text: str
    tool_result: str | None = None
    attachments: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    parallel: bool = True
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    echo: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """One call of the answer; `arguments` is JSON text."""

    name: str
    arguments: str


class Said(msgspec.Struct, frozen=True):
    """The answer: text, calls, why it ended, and the stop sequence that ended it."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    stop: Stop = "end"
    sequence: str | None = None

    @property
    def tokens(self) -> int:
        """How many tokens the answer counts as."""
        return words(self.text) + sum(1 + words(call.arguments) for call in self.calls)


def words(text: str) -> int:
    """How many tokens `text` counts as."""
    return len(text.split())


def say(ask: Ask, mode: Mode, choice: int = 0) -> Said:
    """The answer to `ask`; `choice` tells apart the answers of a request for several (0 is the plain one)."""
    if calls := _calls(ask):
        preface = "Using " + " and ".join(call.name for call in calls) + "." if mode.preface else ""
        return Said(preface, calls, "tool")
    text = _sized(_text(ask), mode)
    if choice:
        text = f"{text} ({choice + 1})"
    return _bounded(text, ask, mode)


def pieces(text: str, count: int) -> list[str]:
    """`text` cut into `count` pieces between words (between characters if the words are too few); 0: word by word."""
    units = _WORD.findall(text)
    if not count or not text:
        return units
    if len(units) < count:
        units = list(text)
    step = len(units) / min(count, len(units))
    cuts = [math.floor(i * step) for i in range(min(count, len(units)))] + [len(units)]
    return ["".join(units[a:b]) for a, b in pairwise(cuts)]


def _text(ask: Ask) -> str:
    if ask.echo is not None:
        return ask.echo
    if ask.schema is not None:
        return msgspec.json.encode(schema.instance(ask.schema, "example")).decode()
    if ask.tool_result is not None:
        return f"The tool said: {ask.tool_result[:_ECHO_LIMIT]}"
    plain = ask.text.strip()
    if plain.rstrip(".!").lower() == "say this is a test":
        return "This is a test."
    seen = "".join(f" [{n} {kind}]" for kind, n in Counter(ask.attachments).items())
    return f"Hello from {ask.model}. You said: {plain[:_ECHO_LIMIT] or 'nothing'}{seen}"


def _sized(text: str, mode: Mode) -> str:
    if mode.size is not None:
        return (_FILLER * (mode.size // len(_FILLER) + 1))[: mode.size]
    missing = mode.chunks - words(text)
    if missing <= 0:
        return text
    filler = _FILLER.split()
    return " ".join([text, *(filler[i % len(filler)] for i in range(missing))])


def _bounded(text: str, ask: Ask, mode: Mode) -> Said:
    found = [(at, sequence) for sequence in ask.stop if sequence and (at := text.find(sequence)) >= 0]
    sequence: str | None = None
    if found:
        at, sequence = min(found)
        text = text[:at]
    shaped = mode.size is not None or mode.chunks
    if ask.max_tokens is not None and not shaped and words(text) > ask.max_tokens:
        return Said("".join(_WORD.findall(text)[: ask.max_tokens]), stop="length")
    return Said(text, stop="sequence" if sequence else "end", sequence=sequence)


def _calls(ask: Ask) -> tuple[ToolCall, ...]:
    if ask.tool_result is not None or ask.choice == "none":
        return ()
    by_name = {tool.name: tool for tool in ask.tools}
    if ask.choice.startswith("="):
        names = [ask.choice[1:]]
    else:
        names = _named(ask.text, by_name)
        if not names and ask.choice == "any":
            names = list(by_name)[:1]
    if not ask.parallel:
        names = names[:1]
    return tuple(ToolCall(name, _arguments(by_name[name], ask.text)) for name in names if name in by_name)


def _named(text: str, known: dict[str, Tool]) -> list[str]:
    match = _USE_TOOL.search(text)
    names: list[str] = []
    for name in _NAME.findall(match[1]) if match else ():
        if name in known:
            names.append(name)
        elif name.lower() != "and":
            break
    return names


def _arguments(tool: Tool, text: str) -> str:
    text = text.strip()[:_ARGUMENT_LIMIT]
    value = schema.instance(tool.schema, text) if tool.schema.get("properties") else {"query": text}
    return msgspec.json.encode(value).decode()
