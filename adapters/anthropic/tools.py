"""Tools and the choice among them. Parameter schemas cross whole, byte for byte, but for what strict ones must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from adapters.anthropic.schema import held
from adapters.anthropic.wire import Function
from adapters.chat.choice import ALLOWED, allowed_of, choice_of
from adapters.chat.wire import NULL
from adapters.errors import InvalidRequest
from adapters.known import Reader
from adapters.reading import Dropped, missing, read
from adapters.values import BRACE, first

Tool: TypeAlias = dict[str, Any] | Raw

_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_str = msgspec.json.Decoder(str).decode
_FUNCTION = Reader(msgspec.json.Decoder(Function).decode, Function)

_EXTRAS = ("cache_control", "defer_loading", "allowed_callers", "input_examples")
"""Anthropic's own fields of a tool; clients put them beside `function` or in it."""
_TOOL = frozenset(("type", "function", *_EXTRAS))

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_EMPTY = Raw(b"{}")
_TRUE = Raw(b"true")

_CHOICES = {"auto": {"type": "auto"}, "required": {"type": "any"}, "none": {"type": "none"}}
_OWN_CHOICES = ("auto", "any", "none", "tool")
_FORCED = ("any", "tool")


def translate(raw: Raw, strict: bool, dropped: Dropped) -> list[Tool]:
    """The tools of a chat request. `strict` says whether the model takes strict tools."""
    return [
        _tool(each, f"tools[{index}]", strict, dropped) for index, each in enumerate(read(_decode_raws, raw, "tools"))
    ]


def legacy(raw: Raw, dropped: Dropped) -> list[Tool]:
    """The tools for the `functions` that clients sent before there were tools."""
    functions = enumerate(read(_decode_raws, raw, "functions"))
    return [_function(each, {}, f"functions[{index}]", False, dropped) for index, each in functions]


def name_of(tool: Tool) -> str | None:
    """The name of a function tool; None for a native one."""
    return tool.get("name") if isinstance(tool, dict) else None


def _called(tool: Tool) -> str:
    """What a choice calls a tool."""
    fields = tool if isinstance(tool, dict) else read(_decode_object, tool, "tools")
    name = fields.get("name", NULL)
    return name if isinstance(name, str) else read(_decode_str, name, "tools[].name")


def _tool(raw: Raw, path: str, strict: bool, dropped: Dropped) -> Tool:
    tool = read(_decode_object, raw, path)
    if "function" in tool:
        dropped.strangers(tool, _TOOL, "tools[]")
        return _function(tool["function"], tool, f"{path}.function", strict, dropped)
    if "type" not in tool:
        if "input_schema" in tool:
            return raw
        raise InvalidRequest("A tool needs `type`.", f"{path}.type")
    kind = read(_decode_str, tool["type"], f"{path}.type")
    if kind == "function":
        raise InvalidRequest("A function tool needs `function`.", f"{path}.function")
    if kind not in tool:
        # Anthropic's own form.
        return raw
    if kind == "custom":
        raise InvalidRequest("Anthropic's models take no custom tools with free text input.", f"{path}.type")
    # `{"type": "web_search", "web_search": {"name": "web_search_20250305", …}}`: the options name the version.
    options = read(_decode_object, tool[kind], f"{path}.{kind}")
    made: dict[str, Any] = {name: value for name, value in tool.items() if name not in ("type", kind)}
    made.update(options)
    if "name" in options:
        made["name"] = kind
        made["type"] = options["name"]
    else:
        made["type"] = kind
    return made


def _function(raw: Raw, beside: dict[str, Raw], path: str, strict: bool, dropped: Dropped) -> Tool:
    function = _FUNCTION.read(raw, dropped, path)
    tool: dict[str, Any] = {"name": function.name}
    if function.description:
        tool["description"] = function.description
    parameters = function.parameters
    if parameters in (NULL, _EMPTY):
        parameters = _NO_PARAMETERS
    elif first(parameters) != BRACE:
        raise InvalidRequest("The parameters must be a JSON schema object.", f"{path}.parameters")
    if function.strict:
        found = held(parameters) if strict else None
        if found is not None and not found[1]:
            parameters, tool["strict"] = found[0], True
        else:
            # One word that a model cannot be held to, and the request would be refused: it is still told all of them.
            dropped.add("tools[].function.strict")
    tool["input_schema"] = parameters
    for name in _EXTRAS:
        value, other = getattr(function, name), beside.get(name, NULL)
        if value == NULL:
            value = other
        elif other not in (NULL, value):
            dropped.add(f"tools[].{name}")
        if value != NULL:
            tool[name] = value
    return tool


def _own_name(fields: Mapping[str, Raw], path: str) -> str:
    """The name in a choice of Anthropic's own."""
    name = fields.get("name", NULL)
    if name == NULL:
        raise missing("name", f"{path}.name")
    return read(_decode_str, name, f"{path}.name")


class Choice:
    """`tool_choice` in the making: what the client chose, and whether one call at most may come."""

    __slots__ = ("_allowed", "_chosen", "single")

    def __init__(self) -> None:
        self.single = False
        self._allowed: list[str] | None = None
        self._chosen: dict[str, Any] | None = None

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self._chosen is not None

    @property
    def forced(self) -> bool:
        """Whether some tool must be called; Anthropic refuses thinking beside that."""
        return self._chosen is not None and self._chosen["type"] in _FORCED

    def read(self, raw: Raw, path: str, dropped: Dropped) -> None:
        """Takes OpenAI's `tool_choice` or `function_call`, or Anthropic's own object."""
        kind, name, fields = choice_of(raw, path, _CHOICES, dropped)
        if name is not None:
            self._chosen = {"type": "tool", "name": name}
        elif not fields:
            self._chosen = dict(_CHOICES[kind])
        elif kind == ALLOWED:
            self._allowed, required = allowed_of(fields, path, dropped)
            self._chosen = {"type": "any" if required else "auto"}
        elif kind in _OWN_CHOICES:
            self._chosen = {**fields, "type": kind}
            if kind == "tool":
                self._chosen["name"] = _own_name(fields, path)
            self.single = self.single or self._chosen.pop("disable_parallel_tool_use", None) == _TRUE
        else:
            raise InvalidRequest(f"A tool choice of type `{kind[:40]}` cannot be translated.", f"{path}.type")

    def among(self, tools: list[Tool]) -> list[Tool]:
        """The tools that may be called. Claude cannot be told to call some of its tools alone: it gets no others.
        Raises InvalidRequest where one that may be is not there."""
        if self._allowed is None:
            return tools
        names = [_called(tool) for tool in tools]
        known, allowed = frozenset(names), frozenset(self._allowed)
        for name in self._allowed:
            if name not in known:
                raise InvalidRequest(f"There is no tool `{name[:64]}` to call.", f"tool_choice.{ALLOWED}.tools")
        return [tool for tool, name in zip(tools, names, strict=True) if name in allowed]

    def need_answer(self, tool: str, others: bool) -> None:
        """Makes the model call `tool`, or one of the client's own tools where there are `others` it may call."""
        chosen = self._chosen
        if chosen is not None and chosen["type"] == "tool":
            return
        may_call_others = others and not (chosen is not None and chosen["type"] == "none")
        self._chosen = {"type": "any"} if may_call_others else {"type": "tool", "name": tool}

    def settle(self, tools: bool) -> dict[str, Any] | None:
        """The `tool_choice` to send, or None to send none."""
        chosen = self._chosen
        if not self.single or not tools:
            return chosen
        if chosen is None:
            chosen = {"type": "auto"}
        return chosen if chosen["type"] == "none" else {**chosen, "disable_parallel_tool_use": True}
