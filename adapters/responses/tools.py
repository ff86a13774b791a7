"""Tools and the choice among them: nested in a chat, flat here. OpenAI's own tools pass in either form.

The other way, for clients that speak Responses, is `adapters.responses_client.tools`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat.choice import ALLOWED, choice_of, named
from adapters.chat.fields import location_of
from adapters.chat.wire import EMPTY_OBJECT, NULL
from adapters.errors import InvalidRequest
from adapters.reading import Dropped, read, under
from adapters.responses_client.tools import NOTHING, SEARCHES
from adapters.strict import kept_to
from adapters.values import BRACE, first

_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_str = msgspec.json.Decoder(str).decode

_FALSE, _TRUE = Raw(b"false"), Raw(b"true")
_CHOICES = ("auto", "none", "required")

_NATIVE = frozenset(
    (
        *SEARCHES, "file_search", "code_interpreter", "computer", "computer_use_preview", "image_generation", "mcp",
        "local_shell", "shell", "apply_patch", "tool_search", "namespace",
    )
)  # fmt: skip
"""Tools that OpenAI runs, or whose calls only its models make."""

_FUNCTION = frozenset(("name", "description", "parameters", "strict"))
_CUSTOM = frozenset(("name", "description", "format"))
"""The fields that are read of what is in a tool."""


class Tools:
    """The tools of a request in the making. `_others` are the names of those that are no functions here, which other
    makers choose by their names as well: what chooses one here, or None for what stays behind. `_sure`: the client
    counts on schemas being kept to, and may not know which ones OpenAI takes for that."""

    __slots__ = ("_choice", "_others", "_sure", "dropped", "made")

    def __init__(self, dropped: Dropped, sure: bool = False) -> None:
        self.dropped = dropped
        self._sure = sure
        self.made: list[dict[str, Any]] = []
        self._choice: Any = None
        self._others: dict[str, dict[str, str] | None] = {}

    def add_all(self, raw: Raw) -> None:
        """Adds `tools`. Raises InvalidRequest with the path of what is wrong."""
        for index, tool in enumerate(read(_decode_objects, raw, "tools")):
            self._add(tool, f"tools[{index}]")

    def add_functions(self, raw: Raw) -> None:
        """Adds the `functions` that clients sent before there were tools."""
        for index, function in enumerate(read(_decode_objects, raw, "functions")):
            self._function(function, f"functions[{index}]")

    def search(self, raw: Raw, path: str) -> None:
        """Adds the web search that `web_search_options` asks for."""
        tool: dict[str, Any] = {"type": SEARCHES[0]}
        for name, value in read(_decode_object, raw, path).items():
            if name == "user_location" and value != NULL:
                tool[name] = location_of(value, f"{path}.{name}", self.dropped)
            elif name in ("search_context_size", "filters"):
                tool[name] = value
            elif value != NULL:
                self.dropped.add(f"{path}.{name}")
        self.made.append(tool)

    def _add(self, tool: dict[str, Raw], path: str) -> None:
        if tool.pop("cache_control", NULL) != NULL:
            self.dropped.add("cache_control")
        kind = read(_decode_str, tool.get("type", NULL), f"{path}.type")
        if kind == "function":
            if "function" not in tool:
                raise InvalidRequest("A function tool needs `function`.", f"{path}.function")
            self.dropped.strangers(tool, {"type", kind}, "tools[]")
            self._function(read(_decode_object, tool["function"], f"{path}.function"), f"{path}.function")
        elif kind == "custom" and "custom" in tool:
            self.dropped.strangers(tool, {"type", kind}, "tools[]")
            self._custom(read(_decode_object, tool["custom"], f"{path}.custom"), f"{path}.custom")
        elif kind.partition("_20")[0] in SEARCHES and "name" in tool:
            self._foreign_search(tool)
        elif kind.partition("_20")[0] in _NATIVE:
            options = tool.pop(kind, NULL)
            inner = read(_decode_object, options, f"{path}.{kind}") if first(options) == BRACE else {}
            self.made.append({**tool, **inner})
        else:
            # What runs at another maker's servers.
            self.dropped.add(f"tools[].{kind[:40]}")
            self._others[_name(tool, path) if "name" in tool else ""] = None

    def _foreign_search(self, tool: dict[str, Raw]) -> None:
        """Anthropic's web search."""
        made: dict[str, Any] = {"type": SEARCHES[0]}
        self._others[_name(tool, "tools[]")] = {"type": SEARCHES[0]}
        for name, value in tool.items():
            if name == "allowed_domains" and value != NULL:
                made["filters"] = {name: value}
            elif name == "user_location":
                made[name] = value
            elif name not in ("type", "name") and value != NULL:
                self.dropped.add(f"tools[].{name}")
        self.made.append(made)

    def _function(self, function: dict[str, Raw], path: str) -> None:
        made: dict[str, Any] = {"type": "function", "name": _name(function, path)}
        if function.pop("cache_control", NULL) != NULL:
            self.dropped.add("cache_control")
        self.dropped.strangers(function, _FUNCTION, "tools[].function")
        if function.get("description", NULL) != NULL:
            made["description"] = function["description"]
        parameters = function.get("parameters", NULL)
        if parameters in (NULL, EMPTY_OBJECT):
            parameters = NOTHING
        elif first(parameters) != BRACE:
            raise InvalidRequest("The parameters must be a JSON schema object.", f"{path}.parameters")
        made["parameters"] = parameters
        # Responses hold functions to their schemas unless told otherwise, chats do not.
        strict = function.get("strict", NULL)
        if self._sure and strict == _TRUE and not kept_to(parameters, True, self.dropped, "tools[].function.strict"):
            strict = NULL
        made["strict"] = _FALSE if strict == NULL else strict
        self.made.append(made)

    def _custom(self, custom: dict[str, Raw], path: str) -> None:
        made: dict[str, Any] = {"type": "custom", "name": _name(custom, path)}
        self.dropped.strangers(custom, _CUSTOM, "tools[].custom")
        if custom.get("description", NULL) != NULL:
            made["description"] = custom["description"]
        form = custom.get("format", NULL)
        if form != NULL:
            given = read(_decode_object, form, f"{path}.format")
            grammar = given.pop("grammar", NULL)
            if grammar != NULL:
                self.dropped.strangers(given, {"type"}, "tools[].custom.format")
                given.update(read(_decode_object, grammar, f"{path}.format.grammar"))
            made["format"] = given
        self.made.append(made)

    # -- the choice

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self._choice is not None

    def choose(self, raw: Raw, path: str) -> None:
        """Takes OpenAI's `tool_choice` or `function_call`."""
        kind, name, fields = choice_of(raw, path, _CHOICES, self.dropped)
        if name is not None:
            self._choice = {"type": "function", "name": name}
        elif not fields:
            self._choice = kind
        elif kind == ALLOWED and kind in fields:
            self.dropped.strangers(fields, {"type", kind}, path)
            allowed = read(_decode_object, fields[kind], f"{path}.{kind}")
            below = f"{path}.{kind}.tools"
            tools = read(_decode_objects, allowed.get("tools", NULL), below)
            flat = [self._flat(tool, f"{below}[{number}]", f"{below}[]") for number, tool in enumerate(tools)]
            self._choice = {"type": kind, **allowed, "tools": flat}
        else:
            self._choice = self._flat(fields, path, path)

    def _flat(self, choice: Mapping[str, Raw], path: str, below: str) -> dict[str, Any]:
        """A choice of one tool, whose name a chat has one level further down."""
        kind = read(_decode_str, choice.get("type", NULL), f"{path}.type")
        if kind not in choice and (kind not in ("function", "custom") or "name" in choice):
            return dict(choice)
        try:
            return {"type": kind, "name": named(choice, self.dropped, below, kind)}
        except InvalidRequest as error:
            raise under(path, error) from error

    def settle(self, out: dict[str, Any]) -> None:
        """Puts tools and choice into the request."""
        if self.made:
            out["tools"] = self.made
            choice = self._choice
            if isinstance(choice, dict) and choice.get("type") == "function" and choice.get("name") in self._others:
                choice = self._others[choice["name"]]
                if choice is None:
                    self.dropped.add("tool_choice")
            if choice is not None:
                out["tool_choice"] = choice
            return
        # OpenAI refuses both of these where there are no tools.
        out.pop("parallel_tool_calls", None)
        if self._choice not in (None, "auto", "none"):
            self.dropped.add("tool_choice")


def _name(fields: Mapping[str, Raw], path: str) -> str:
    return read(_decode_str, fields.get("name", NULL), f"{path}.name")
