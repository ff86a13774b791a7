"""Reading a chat's choice among its tools: `tool_choice`, and the `function_call` that was before it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from adapters.chat.wire import NULL
from adapters.errors import InvalidRequest
from adapters.reading import Dropped, member, missing, read, under

_decode_choice = msgspec.json.Decoder(str | dict[str, Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_str = msgspec.json.Decoder(str).decode

ALLOWED = "allowed_tools"
"""The type of a choice among some of the tools."""
_NAME = frozenset(("name",))
_LISTED = frozenset(("mode", "tools"))
_MODES = ("auto", "required")


Chosen: TypeAlias = tuple[str, str | None, Mapping[str, Raw]]
"""What was chosen: one of the words that there are, or the type of an object; the name of the function that must be
called; and the object's fields, of which a word has none."""


class Allowed(NamedTuple):
    """The tools that may be called, one at least, and whether one must be."""

    names: list[str]
    required: bool


def choice_of(raw: Raw, path: str, words: Container[str], dropped: Dropped, name: str | None = None) -> Chosen:
    """A `tool_choice` or `function_call`: one of `words`, or an object. `path` is its place, for errors; fields of a
    function's choice that nobody knows are named below `name`, which is the path unless it is given. Those of other
    objects are the caller's. Raises InvalidRequest."""
    try:
        return _choice(raw, words, dropped, path if name is None else name)
    except InvalidRequest as error:
        raise under(path, error) from error


def _choice(raw: Raw, words: Container[str], dropped: Dropped, name: str) -> Chosen:
    choice = read(_decode_choice, raw)
    if isinstance(choice, str):
        if choice not in words:
            raise InvalidRequest(f"There is no tool choice `{choice[:40]}`.")
        return choice, None, {}
    if "type" not in choice and "name" in choice:
        return "function", named(choice, dropped, name), choice
    kind = member(_decode_str, choice, "type")
    if kind is None:
        raise missing("type")
    return kind, named(choice, dropped, name) if kind == "function" else None, choice


def named(tool: Mapping[str, Raw], dropped: Dropped, name: str, kind: str = "function") -> str:
    """The name of the function, or of another `kind` of tool, that a choice, or one of those it allows, is: in an
    object, or flat as Responses have it. What else it has is named below `name`. Raises InvalidRequest."""
    if kind in tool:
        inner = member(_decode_object, tool, kind) or {}
        dropped.strangers(tool, {"type", kind}, name)
        dropped.strangers(inner, _NAME, f"{name}.{kind}")
        found = member(_decode_str, inner, "name")
        if found is None:
            raise missing("name", f"{kind}.name")
        return found
    found = member(_decode_str, tool, "name")
    if found is None:
        raise InvalidRequest(f"A choice of this type needs `{kind}`.", kind)
    dropped.strangers(tool, {"type", "name"}, name)
    return found


def allowed_of(fields: Mapping[str, Raw], path: str, dropped: Dropped) -> Allowed:
    """What a choice of the type `allowed_tools`, of these fields, allows: functions by their names, and other tools by
    theirs or, where they have none, by their type. `path` is the choice's own. Raises InvalidRequest."""
    try:
        return _allowed(fields, dropped, path)
    except InvalidRequest as error:
        raise under(path, error) from error


def _allowed(fields: Mapping[str, Raw], dropped: Dropped, path: str) -> Allowed:
    listed = member(_decode_object, fields, ALLOWED)
    if listed is None:
        raise missing(ALLOWED)
    dropped.strangers(fields, {"type", ALLOWED}, path)
    dropped.strangers(listed, _LISTED, f"{path}.{ALLOWED}")
    try:
        mode = member(_decode_str, listed, "mode") or "auto"
        if mode not in _MODES:
            raise InvalidRequest(f"There is no mode `{mode[:40]}`.", "mode")
        tools = member(_decode_objects, listed, "tools")
        if not tools:
            raise InvalidRequest("There is no tool that may be called: choose `none` instead.", "tools")
        return Allowed([_one(tool, dropped, path, number) for number, tool in enumerate(tools)], mode == "required")
    except InvalidRequest as error:
        raise under(ALLOWED, error) from error


def _one(tool: Mapping[str, Raw], dropped: Dropped, path: str, number: int) -> str:
    try:
        kind = member(_decode_str, tool, "type") or "function"
        if kind != "function" and tool.get("name", NULL) == NULL and kind not in tool:
            dropped.strangers(tool, {"type"}, f"{path}.{ALLOWED}.tools[]")
            return kind
        return named(tool, dropped, f"{path}.{ALLOWED}.tools[]", kind)
    except InvalidRequest as error:
        raise under(f"tools[{number}]", error) from error
