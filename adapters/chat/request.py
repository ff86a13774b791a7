"""Reading a chat request field by field, for codecs that turn it into another dialect's.

The top level of the body is cut into fields without decoding their values. What has no counterpart is named by what is
dropped; what is wrong is raised with its path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.chat.wire import EMPTY_OBJECT, NULL, JsonSchema, ResponseFormat
from adapters.errors import InvalidRequest
from adapters.known import Reader
from adapters.reading import Dropped, read, under
from adapters.values import BRACE, UNREADABLE, first

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_decode_stop = msgspec.json.Decoder(str | list[str]).decode
_decode_str = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


class _Schema(JsonSchema, forbid_unknown_fields=True, gc=False):
    """The same, where what is not known is named."""


class _Format(ResponseFormat, forbid_unknown_fields=True, gc=False):
    json_schema: _Schema | None = None


_NAME = "response_format"
_FORMAT = Reader(msgspec.json.Decoder(_Format).decode, _Format)

_ABSENT = (NULL, Raw(msgspec.json.encode(peek.DEFAULT)))


class _Build(Protocol):
    dropped: Dropped


_B = TypeVar("_B", bound=_Build)


def read_all(
    build: _B,
    fields: Mapping[str, Raw],
    table: Mapping[str, Callable[[_B, str, Raw], None]],
    harmless: Mapping[str, tuple[Raw, ...]],
) -> None:
    """Hands each of a request's fields that is not null to its function in `table`. The others are dropped by name, but
    for values that ask for nothing. Raises InvalidRequest."""
    for name, raw in fields.items():
        if raw in _ABSENT:
            continue
        put = table.get(name)
        if put is not None:
            put(build, name, raw)
        elif raw not in harmless.get(name, ()):
            if name == "reasoning" and first(raw) == BRACE:
                _read_reasoning(build, raw, fields, table)
            else:
                build.dropped.add(name)


def _read_reasoning(
    build: _B,
    raw: Raw,
    fields: Mapping[str, Raw],
    table: Mapping[str, Callable[[_B, str, Raw], None]],
) -> None:
    """OpenRouter's way to ask for thinking: an effort or a budget of tokens, which count where the fields that others
    have for them are not there. https://openrouter.ai/docs/use-cases/reasoning-tokens"""
    for name, value in read(_decode_object, raw, "reasoning").items():
        field = _ELSEWHERE.get(name, "")
        if value in _ABSENT or (name, value) in _USUAL:
            continue
        if field not in table or fields.get(field, NULL) not in (NULL, value):
            build.dropped.add(f"reasoning.{name}")
        elif name == "effort":
            table[field](build, f"reasoning.{name}", value)
        else:
            read(_decode_int, value, f"reasoning.{name}")
            table[field](build, field, Raw(b'{"type":"enabled","budget_tokens":%b}' % value))


_ELSEWHERE = {"effort": "reasoning_effort", "max_tokens": "thinking"}
_USUAL = (("exclude", Raw(b"false")), ("summary", Raw(b'"auto"')))


def stops_of(raw: Raw, path: str) -> list[str]:
    """The words of `stop`, which may be one or several; an empty one asks for nothing."""
    stop = read(_decode_stop, raw, path)
    return [word for word in ([stop] if isinstance(stop, str) else stop) if word]


def effort_of(raw: Raw, path: str, known: Iterable[str]) -> str:
    """A `reasoning_effort`: `none` or one of `known`."""
    effort = read(_decode_str, raw, path)
    if effort != "none" and effort not in known:
        words = ", ".join(("none", *known))
        raise InvalidRequest(f"There is no reasoning effort `{effort[:40]}`; there are {words}.", path)
    return effort


def format_of(raw: Raw, path: str, dropped: Dropped) -> tuple[bool, JsonSchema | None]:
    """What a `response_format` asks for: any JSON, or JSON of a schema. `path` is its own, for errors."""
    try:
        return _format(_FORMAT.read(raw, dropped, name=_NAME), dropped)
    except InvalidRequest as error:
        raise under(path, error) from error


def _format(wanted: _Format, dropped: Dropped) -> tuple[bool, JsonSchema | None]:
    if wanted.type not in ("text", "json_object", "json_schema"):
        raise InvalidRequest(f"There is no response format `{wanted.type[:40]}`.", "type")
    if wanted.type != "json_schema" and wanted.json_schema is not None:
        dropped.add(f"{_NAME}.json_schema")
    if wanted.type == "text":
        return False, None
    if wanted.type == "json_schema" and wanted.json_schema is None:
        raise InvalidRequest("The response format needs `json_schema`.", "json_schema")
    if wanted.type == "json_object" or wanted.json_schema is None:
        return True, None
    if wanted.json_schema.schema == NULL:
        if wanted.json_schema.description:
            # Elsewhere it goes into the schema.
            dropped.add(f"{_NAME}.json_schema.description")
        return True, None
    if first(wanted.json_schema.schema) != BRACE:
        raise InvalidRequest("The schema must be an object.", "json_schema.schema")
    return False, wanted.json_schema


def described(wanted: JsonSchema, dropped: Dropped) -> Raw:
    """The schema, with the description that stands beside it in it, where there is room for one; else it is named."""
    if not wanted.description:
        return wanted.schema
    fields = _decode_object(wanted.schema)
    if "description" in fields:
        dropped.add(f"{_NAME}.json_schema.description")
        return wanted.schema
    return Raw(_encode({**fields, "description": wanted.description}))


def input_of(arguments: str | None, path: str) -> Raw:
    """The arguments of a call, a text for OpenAI, as the object that other dialects want."""
    if not arguments or arguments.isspace():
        return EMPTY_OBJECT
    found = Raw(arguments.encode())
    try:
        _decode_object(found)
    except UNREADABLE as error:
        raise InvalidRequest("The arguments are not a JSON object.", f"{path}.arguments") from error
    return found


def data_url(
    url: str, path: str, dropped: Dropped, given: str | None = None, names: tuple[str, ...] = ()
) -> tuple[str, str]:
    """The media type and the base64 text of a data URL. A type that is `given` beside it counts, and another one in the
    URL is named. So are parameters of the URL, but for what says nothing and for `names` that are told."""
    head, comma, data = url[5:].partition(",")
    found, *parameters = head.split(";")
    if not comma or "base64" not in parameters:
        raise InvalidRequest("A data URL must be of the form `data:<type>;base64,<data>`.", path)
    found = found.strip().lower()
    if given and found and _same(given) != _same(found):
        dropped.add(f"{_NUMBERS.sub('[]', path)}.type")
    if len(parameters) > 1:
        for each in parameters:
            word, _, value = each.strip().partition("=")
            if each.strip().lower() not in _SAYING_NOTHING and not (word in _NAMES and _unescaped(value) in names):
                dropped.add(f"{_NUMBERS.sub('[]', path)}.{word}")
    return given or found or "text/plain", data


def name_in(url: str | None) -> str | None:
    """The name of the file in a data URL, where it has one."""
    found = None if url is None else _NAMED.match(url, 0, _LONGEST_HEAD)
    return None if found is None else _unescaped(found[1]) or None


def _unescaped(text: str) -> str:
    return _ESCAPES.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text)


def _same(media: str) -> str:
    return _ALIKE.get(media.lower(), media.lower())


_ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_NAMES = ("name", "filename")
_NAMED = re.compile(r"data:[^,;]*(?:;[^,;]*)*?;(?:file)?name=([^,;]+)")
_LONGEST_HEAD = 1024
_NUMBERS = re.compile(r"\[\d+\]")
_SAYING_NOTHING = frozenset(("", "base64", "charset=utf-8", "charset=utf8", "charset=us-ascii"))
_ALIKE = {"image/jpg": "image/jpeg", "audio/mp3": "audio/mpeg"}
