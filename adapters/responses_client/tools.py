"""Tools and the choice among them: flat here, nested in a chat.

A custom tool, whose input is free text, becomes a function with one text parameter, and its calls become custom calls
again. Web search is OpenAI's own option of a chat where the upstream can be asked for it. What else runs on OpenAI's
servers is dropped by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.reading import Dropped, member, missing, read, under
from adapters.values import ABSENT, BRACE, NULL, QUOTE, UNREADABLE, first

_str = msgspec.json.Decoder(str).decode
_bool = msgspec.json.Decoder(bool).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode

_FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The tool's input as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}
NOTHING = Raw(b'{"type":"object","properties":{}}')
_FUNCTION = frozenset(("type", "name", "description", "parameters", "strict"))
_CUSTOM = frozenset(("type", "name", "description", "format"))
_NOTHING_ASKED = (b"null", b"false", b'["direct"]')
SEARCHES = ("web_search", "web_search_preview")


class _Named(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""


class _Tooled(msgspec.Struct, gc=False):
    tools: list[_Named] | None = None


_decode_tooled = msgspec.json.Decoder(_Tooled).decode


def custom_tools(body: bytes) -> frozenset[str]:
    """The names of the custom tools in a request, whose calls have free text for their input."""
    try:
        tools = _decode_tooled(body).tools or ()
    except UNREADABLE:
        # The request was translated from this body, so this is a value of another type, which names none.
        return frozenset()
    return frozenset(each.name for each in tools if each.type == "custom")


class Tools:
    """The tools of a request in the making."""

    __slots__ = ("_allowed", "_choice", "dropped", "functions", "search")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.functions: list[dict[str, Any]] = []
        self.search: dict[str, Any] | None = None
        self._choice: str | dict[str, Any] | None = None
        self._allowed: frozenset[str] | None = None

    def read(self, value: Raw) -> None:
        """Takes `tools`. Raises InvalidRequest with the path below it."""
        for at, fields in enumerate(read(_objects, value)):
            try:
                self._tool(fields)
            except InvalidRequest as error:
                raise under(f"[{at}]", error) from error

    def _tool(self, fields: Mapping[str, Raw]) -> None:
        kind = member(_str, fields, "type") or "function"
        if kind == "function":
            self.functions.append(self._function(fields))
        elif kind == "custom":
            self.functions.append(self._custom(fields))
        elif kind.startswith(SEARCHES) and self.dropped.blocks:
            self.search = {
                name: fields[name]
                for name in ("search_context_size", "user_location", "filters")
                if first(fields.get(name, ABSENT)) != NULL
            }
            for name, value in fields.items():
                if name not in ("type", *self.search) and first(value) != NULL:
                    self.dropped.add(f"tools[].{name}")
        else:
            self.dropped.add(f"tools[].{kind}")

    def _function(self, fields: Mapping[str, Raw]) -> dict[str, Any]:
        function: dict[str, Any] = {"name": _name(fields)}
        if first(fields.get("description", ABSENT)) == QUOTE:
            function["description"] = fields["description"]
        parameters = fields.get("parameters", ABSENT)
        if first(parameters) not in (NULL, BRACE):
            raise InvalidRequest("Expected `object`.", "parameters")
        function["parameters"] = parameters if first(parameters) == BRACE else NOTHING
        if member(_bool, fields, "strict"):
            function["strict"] = True
        self._name_others(fields, _FUNCTION)
        return {"type": "function", "function": function}

    def _name_others(self, fields: Mapping[str, Raw], known: frozenset[str]) -> None:
        for name in fields.keys() - known:
            if bytes(fields[name]) not in _NOTHING_ASKED:
                self.dropped.add(f"tools[].{name}")

    def _custom(self, fields: Mapping[str, Raw]) -> dict[str, Any]:
        self._name_others(fields, _CUSTOM)
        description = member(_str, fields, "description") or ""
        form = member(_object, fields, "format") or {}
        if member(_str, form, "type") == "grammar":
            # No other provider holds a model to a grammar; telling it is the next best.
            self.dropped.add("tools[].format")
            syntax, definition = member(_str, form, "syntax"), member(_str, form, "definition")
            description = f"{description}\n\nThe input must follow this {syntax} grammar:\n{definition}".strip()
        function: dict[str, Any] = {"name": _name(fields), "parameters": _FREE_TEXT}
        if description:
            function["description"] = description
        return {"type": "function", "function": function}

    def choose(self, value: Raw) -> None:
        """Takes `tool_choice`. Raises InvalidRequest with the path below it."""
        if first(value) == QUOTE:
            choice = read(_str, value)
            if choice not in ("auto", "none", "required"):
                raise InvalidRequest(f"There is no tool choice `{choice[:40]}`.")
            self._choice = choice
            return
        fields = read(_object, value)
        kind = member(_str, fields, "type")
        if kind in ("function", "custom"):
            self._choice = {"type": "function", "function": {"name": _name(fields)}}
        elif kind == "allowed_tools":
            allowed = member(_objects, fields, "tools") or []
            names = [member(_str, each, "name") or member(_str, each, "type") for each in allowed]
            self._allowed = frozenset(name for name in names if name)
            self._choice = member(_str, fields, "mode") or "auto"
        else:
            # One of OpenAI's own tools.
            self.dropped.add("tool_choice")

    def settle(self, out: dict[str, Any]) -> None:
        """Puts tools and choice into the chat request."""
        functions = self.functions
        if self._allowed is not None:
            functions = [each for each in functions if each["function"]["name"] in self._allowed]
            if not self._allowed.intersection(SEARCHES):
                self.search = None
            if not functions and self.search is None:
                # Those allowed are no functions, and named already, or there are none of these names.
                self.dropped.add("tool_choice")
        if self.search is not None:
            out["web_search_options"] = _search_options(self.search)
        if functions:
            out["tools"] = functions
            if self._choice is not None:
                out["tool_choice"] = self._choice
            return
        # OpenAI refuses both of these where there are no tools.
        out.pop("parallel_tool_calls", None)
        if self._choice not in (None, "auto", "none"):
            self.dropped.add("tool_choice")


def _search_options(search: dict[str, Any]) -> dict[str, Any]:
    options = dict(search)
    location = options.get("user_location")
    if location is not None and first(location) == BRACE:
        place = {name: value for name, value in read(_object, location).items() if name != "type"}
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options


def _name(fields: Mapping[str, Raw]) -> str:
    name = member(_str, fields, "name")
    if not name:
        raise missing("name")
    return name
