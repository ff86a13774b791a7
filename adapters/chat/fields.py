"""Fields of a chat request that its upstream codecs read alike, for their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from adapters.chat.request import effort_of, format_of
from adapters.chat.wire import NULL, JsonSchema
from adapters.known import Reader
from adapters.reading import Dropped, read

_decode_bool = msgspec.json.Decoder(bool).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


SUMMARY = Raw(b'{"summary":"auto"}')
"""A chat request's `reasoning` that only Responses must be told of: all others show what a model thinks unasked."""

MEDIUM = Raw(b'"medium"')
"""OpenAI's `verbosity` where nobody says one."""


class Choice(Protocol):
    """The choice of a tool in the making; `single`: one call at most may come."""

    single: bool

    @property
    def given(self) -> bool:
        """Whether something was chosen."""

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
    """The model and the stream flag, which are known from the call."""


class _Options(Struct, forbid_unknown_fields=True, gc=False):
    """Whether usage comes at a stream's end, which is the gateway's to tell, and whether OpenAI pads its events."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


_OPTIONS = Reader(msgspec.json.Decoder(_Options).decode, _Options)


def options_of(raw: Raw, name: str, dropped: Dropped) -> None:
    """Names what `stream_options` have that nobody knows. Raises InvalidRequest."""
    if raw not in USUAL_OPTIONS:
        _OPTIONS.read(raw, dropped, name)


USUAL_OPTIONS = (Raw(b'{"include_usage":true}'), Raw(b'{"include_usage": true}'))
"""How nearly all clients write them."""


class _Told(Protocol):
    dropped: Dropped


def stream_options(build: _Told, name: str, raw: Raw) -> None:
    """`stream_options`, which ask nothing of the provider."""
    options_of(raw, name, build.dropped)


def location_of(raw: Raw, path: str, dropped: Dropped) -> dict[str, Any]:
    """The `user_location` of `web_search_options` as the tools for it have one: flat. Raises InvalidRequest."""
    place = read(_decode_object, raw, path)
    near = place.get("approximate", NULL)
    if near != NULL:
        dropped.strangers(place, {"type", "approximate"}, path)
        if place.get("type", NULL) not in (NULL, _APPROXIMATE):
            dropped.add(f"{path}.type")
        place = read(_decode_object, near, f"{path}.approximate")
    return {**place, "type": "approximate"}


_APPROXIMATE = Raw(b'"approximate"')


def tool_choice(build: Build, name: str, raw: Raw) -> None:
    """`tool_choice`, and `function_call` before there were tools."""
    choice = build.tool_choice
    if chooses(choice.given, name, build.dropped):
        choice.read(raw, name, build.dropped)


def chooses(given: bool, name: str, dropped: Dropped) -> bool:
    """Whether a field with a choice of tools counts, where another is `given` already: it does, unless it is the
    `function_call` of old. The one that does not is named."""
    if given:
        dropped.add("function_call")
    return not given or name != "function_call"


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
    "stream_options": stream_options,
    "tool_choice": tool_choice,
    "function_call": tool_choice,
    "parallel_tool_calls": parallel,
    "response_format": response_format,
}
"""The rows that codecs' tables of fields have in common."""
