"""Fields of a chat request that its upstream codecs read alike, for their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
from msgspec import Raw

from adapters.chat.request import effort_of, format_of
from adapters.chat.wire import JsonSchema
from adapters.reading import Dropped, read

_decode_bool = msgspec.json.Decoder(bool).decode


SUMMARY = Raw(b'{"summary":"auto"}')
"""A chat request's `reasoning` that only Responses must be told of: all others show what a model thinks unasked."""


class Choice(Protocol):
    """The choice of a tool in the making; `single`: one call at most may come."""

    single: bool

    def read(self, raw: Raw, path: str, dropped: Dropped) -> None:
        """Takes OpenAI's `tool_choice` or `function_call`. Raises InvalidRequest."""


class Build(Protocol):
    """A request in the making: what the readers below fill. `json_mode` asks for any JSON, `format` for that of a
    schema."""

    dropped: Dropped
    effort: str | None
    format: JsonSchema | None
    json_mode: bool

    @property
    def tool_choice(self) -> Choice:
        """Filled in place."""


def ignored(build: object, name: str, raw: Raw) -> None:
    """Known from elsewhere: the model and the stream flag from the call, the stream options when the answer comes."""


def tool_choice(build: Build, name: str, raw: Raw) -> None:
    """`tool_choice`, and `function_call` before there were tools."""
    build.tool_choice.read(raw, name, build.dropped)


def parallel(build: Build, name: str, raw: Raw) -> None:
    """`parallel_tool_calls`."""
    if not read(_decode_bool, raw, name):
        build.tool_choice.single = True


def response_format(build: Build, name: str, raw: Raw) -> None:
    """`response_format`."""
    build.json_mode, build.format = format_of(raw, name, build.dropped)


def effort(known: Iterable[str]) -> Callable[[Build, str, Raw], None]:
    """`reasoning_effort`, of the words that are `known`."""

    def put(build: Build, name: str, raw: Raw) -> None:
        build.effort = effort_of(raw, name, known)

    return put


READERS: Mapping[str, Callable[[Build, str, Raw], None]] = {
    "model": ignored,
    "stream": ignored,
    "stream_options": ignored,
    "tool_choice": tool_choice,
    "function_call": tool_choice,
    "parallel_tool_calls": parallel,
    "response_format": response_format,
}
"""The rows that codecs' tables of fields have in common."""
