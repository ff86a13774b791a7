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
from adapters.reading import Dropped, member, missing, read, string, under
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
_GRAMMAR = frozenset(("type", "syntax", "definition"))
_ALLOWED = frozenset(("type", "mode", "tools"))
_CHOSEN = frozenset(("type", "name"))
_TYPE = frozenset(("type",))
_SEARCH = ("search_context_size", "user_location", "filters")
_FUNCTION_TYPE, _APPROXIMATE = Raw(b'"function"'), Raw(b'"approximate"')
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
        self._allowed: set[str] | None = None

    def read(self, value: Raw) -> None:
        """Takes `tools`. Raises InvalidRequest with the path below it."""
        for at, fields in enumerate(read(_objects, value)):
            try:
                self._tool(fields)
            except InvalidRequest as error:
                raise under(f"[{at}]", error) from error

    def _tool(self, fields: Mapping[str, Raw]) -> None:
        if fields.get("type") == _FUNCTION_TYPE:
            self.functions.append(self._function(fields))
            return
        kind = member(_str, fields, "type") or "function"
        if kind == "function":
            self.functions.append(self._function(fields))
        elif kind == "custom":
            self.functions.append(self._custom(fields))
        elif kind.partition("_20")[0] in SEARCHES and self.dropped.blocks and self.search is None:
            self._searches(fields)
        else:
            # One of OpenAI's own, or a second search.
            self.dropped.add(f"tools[].{kind}")

    def _searches(self, fields: Mapping[str, Raw]) -> None:
        self.search = {name: fields[name] for name in _SEARCH if first(fields.get(name, ABSENT)) != NULL}
        location = self.search.get("user_location")
        if location is not None:
            place = read(_object, location, "user_location")
            kind = place.pop("type", _APPROXIMATE)
            if first(kind) != NULL and kind != _APPROXIMATE:
                self.dropped.add("tools[].user_location.type")
            self.search["user_location"] = {"type": "approximate", "approximate": place}
        for name, value in fields.items():
            if name not in ("type", *_SEARCH) and first(value) != NULL:
                self.dropped.add(f"tools[].{name}")

    def _function(self, fields: Mapping[str, Raw]) -> dict[str, Any]:
        function: dict[str, Any] = {"name": self.dropped.tool(_name(fields))}
        description = fields.get("description", ABSENT)
        if first(description) != NULL:
            function["description"] = string(description, "description")
        parameters = fields.get("parameters", ABSENT)
        kind = first(parameters)
        if kind not in (NULL, BRACE):
            raise InvalidRequest("Expected `object`.", "parameters")
        function["parameters"] = parameters if kind == BRACE else NOTHING
        if "strict" in fields and member(_bool, fields, "strict"):
            function["strict"] = True
        self._name_others(fields, _FUNCTION, "tools[]")
        return {"type": "function", "function": function}

    def _name_others(self, fields: Mapping[str, Raw], known: frozenset[str], path: str) -> None:
        if not fields.keys() <= known:
            for name, value in fields.items():
                if name not in known and bytes(value) not in _NOTHING_ASKED:
                    self.dropped.add(f"{path}.{name}")

    def _custom(self, fields: Mapping[str, Raw]) -> dict[str, Any]:
        self._name_others(fields, _CUSTOM, "tools[]")
        description = member(_str, fields, "description") or ""
        form = member(_object, fields, "format") or {}
        kind = member(_str, form, "type")
        if kind == "grammar":
            # No other provider holds a model to a grammar; telling it is the next best.
            self.dropped.add("tools[].format")
            syntax, definition = member(_str, form, "syntax"), member(_str, form, "definition")
            description = f"{description}\n\nThe input must follow this {syntax} grammar:\n{definition}".strip()
            self._name_others(form, _GRAMMAR, "tools[].format")
        elif kind not in (None, "text"):
            raise InvalidRequest(f"There is no format `{kind[:40]}`.", "format.type")
        else:
            self._name_others(form, _TYPE, "tools[].format")
        function: dict[str, Any] = {"name": self.dropped.tool(_name(fields)), "parameters": _FREE_TEXT}
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
            self._name_others(fields, _CHOSEN, "tool_choice")
        elif kind == "allowed_tools":
            self._allow(member(_objects, fields, "tools") or [])
            self._choice = member(_str, fields, "mode") or "auto"
            if self._choice not in ("auto", "required"):
                raise InvalidRequest(f"There is no mode `{self._choice[:40]}`.", "mode")
            self._name_others(fields, _ALLOWED, "tool_choice")
        else:
            # One of OpenAI's own tools.
            self.dropped.add("tool_choice")

    def _allow(self, tools: list[dict[str, Raw]]) -> None:
        names = set()
        for each in tools:
            kind = member(_str, each, "type") or "function"
            named = kind in ("function", "custom")
            # What one of OpenAI's own has beside its type is for OpenAI.
            names.add(_name(each) if named else kind)
            if named or kind in SEARCHES:
                self._name_others(each, _CHOSEN if named else _TYPE, "tool_choice.tools[]")
        self._allowed = names

    def settle(self, out: dict[str, Any]) -> None:
        """Puts tools and choice into the chat request."""
        functions = self._among(self._allowed) if self._allowed is not None else self.functions
        if self._choice == "none":
            # A search that is asked for in this way cannot be forbidden otherwise.
            self.search = None
        if self.search is not None:
            out["web_search_options"] = self.search
        if functions:
            out["tools"] = functions
            if self._choice is not None:
                out["tool_choice"] = self._choice
            return
        # OpenAI refuses both of these where there are no tools.
        if out.pop("parallel_tool_calls", None) is not None and self.search is not None:
            self.dropped.add("parallel_tool_calls")
        if self._choice not in (None, "auto", "none"):
            self.dropped.add("tool_choice")

    def _among(self, allowed: set[str]) -> list[dict[str, Any]]:
        """Of the functions those that may be called."""
        functions = [each for each in self.functions if each["function"]["name"] in allowed]
        if not allowed.intersection(SEARCHES):
            self.search = None
        found = {each["function"]["name"] for each in functions}
        for name in sorted(allowed - found):
            if name not in SEARCHES or self.search is None:
                # One of OpenAI's own, or none that is there.
                self.dropped.add(f"tool_choice.tools[].{name}")
        return functions


def _name(fields: Mapping[str, Raw]) -> str:
    name = member(_str, fields, "name")
    if not name:
        raise missing("name")
    return name
