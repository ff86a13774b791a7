"""Tools and the choice among them: functions become declarations, Google's own tools pass under any of their names."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat.choice import ALLOWED, allowed_of, choice_of
from adapters.chat.wire import EMPTY_OBJECT, EMPTY_STRING
from adapters.errors import InvalidRequest
from adapters.gemini.schema import normalized
from adapters.gemini.wire import Function
from adapters.known import Reader
from adapters.reading import Dropped, read
from adapters.values import ABSENT, BRACE, NULL, first

_encode = msgspec.json.Encoder().encode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_str = msgspec.json.Decoder(str).decode
_FUNCTION = Reader(msgspec.json.Decoder(Function).decode, Function)

_NULL = Raw(b"null")
_TOOL = frozenset(("type", "function", "cache_control"))

NATIVE: dict[str, str] = {
    "google_search": "googleSearch",
    "googleSearch": "googleSearch",
    "web_search": "googleSearch",
    "web_search_preview": "googleSearch",
    "google_search_retrieval": "googleSearchRetrieval",
    "googleSearchRetrieval": "googleSearchRetrieval",
    "enterprise_web_search": "enterpriseWebSearch",
    "enterpriseWebSearch": "enterpriseWebSearch",
    "code_execution": "codeExecution",
    "codeExecution": "codeExecution",
    "code_interpreter": "codeExecution",
    "url_context": "urlContext",
    "urlContext": "urlContext",
    "google_maps": "googleMaps",
    "googleMaps": "googleMaps",
    "file_search": "fileSearch",
    "fileSearch": "fileSearch",
    "computer_use": "computerUse",
    "computerUse": "computerUse",
}
"""Google's own tools by the names that clients give them."""

_FOREIGN_OPTIONS = frozenset(("web_search", "web_search_preview", "code_interpreter", "file_search", "code_execution"))
"""Names of OpenAI's and Anthropic's, whose options mean nothing to Google."""
_NOTHING_ASKED = (_NULL, Raw(b"false"), Raw(b'["direct"]'))
"""Values of options that ask for nothing: anybody may call such a tool, by default, and nobody else."""

_MODES = {"auto": "AUTO", "required": "ANY", "any": "ANY", "none": "NONE"}


class Choice:
    """The choice among tools in the making: `chosen` is Google's functionCallingConfig. `single`: one call at most may
    come, which Gemini cannot be told."""

    __slots__ = ("chosen", "single")

    def __init__(self) -> None:
        self.single = False
        self.chosen: dict[str, Any] | None = None

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self.chosen is not None

    def read(self, raw: Raw, path: str, dropped: Dropped) -> None:
        """Takes OpenAI's `tool_choice` or `function_call`."""
        kind, name, fields = choice_of(raw, path, _MODES, dropped)
        if name is not None:
            self._name([name])
        elif not fields:
            self.chosen = {"mode": _MODES[kind]}
        elif kind == ALLOWED:
            names, required = allowed_of(fields, path, dropped)
            self._name(names, "ANY" if required else "VALIDATED")
        else:
            raise InvalidRequest(f"A tool choice of type `{kind[:40]}` cannot be translated.", f"{path}.type")

    def _name(self, names: list[str], mode: str = "ANY") -> None:
        self.chosen = {"mode": mode, "allowedFunctionNames": names}


class Tools:
    """The tools of a request in the making. `strict` says whether some function wants its schema kept to, `streamed`
    whether arguments shall come as they are made."""

    __slots__ = ("_behind", "declarations", "dropped", "native", "streamed", "strict")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.declarations: list[dict[str, Any]] = []
        self.native: list[Any] = []
        self._behind: set[str] = set()
        """Names of tools that are no functions here."""
        self.strict = False
        self.streamed = False

    def add_all(self, raw: Raw) -> None:
        """Adds `tools`. Raises InvalidRequest with the path of what is wrong."""
        for index, each in enumerate(read(_decode_raws, raw, "tools")):
            self._add(each, f"tools[{index}]")

    def add_functions(self, raw: Raw) -> None:
        """Adds the `functions` that clients sent before there were tools."""
        for index, each in enumerate(read(_decode_raws, raw, "functions")):
            self._function(each, f"functions[{index}]")

    def search(self) -> None:
        """Adds the web search that `web_search_options` asks for."""
        self._own("googleSearch", EMPTY_OBJECT)

    def _add(self, raw: Raw, path: str) -> None:
        tool = read(_decode_object, raw, path)
        if tool.pop("cache_control", _NULL) != _NULL:
            self.dropped.add("cache_control")
        if "function" in tool:
            self.dropped.strangers(tool, _TOOL, "tools[]")
            self._function(tool["function"], f"{path}.function")
            return
        if "type" not in tool:
            # Gemini's own form, such as {"googleSearch": {}}.
            for name, options in tool.items():
                if name not in NATIVE:
                    raise InvalidRequest("A tool needs `type`.", f"{path}.type")
                self._own(NATIVE[name], options)
            return
        kind = read(_decode_str, tool["type"], f"{path}.type")
        if kind == "function":
            raise InvalidRequest("A function tool needs `function`.", f"{path}.function")
        base, dated, _ = kind.partition("_20")
        if "name" in tool:
            self._behind.add(read(_decode_str, tool["name"], f"{path}.name"))
        if base not in NATIVE and dated:
            # Anthropic's, which its own models have learned to use.
            self.dropped.add(f"tools[].{kind[:40]}")
            return
        if base not in NATIVE:
            raise InvalidRequest(f"A tool of type `{kind[:40]}` cannot reach Google's models.", f"{path}.type")
        options = tool.get(kind, ABSENT)
        beside = {name: value for name, value in tool.items() if name not in ("type", "name", kind)}
        if kind not in tool and base not in _FOREIGN_OPTIONS and beside:
            options = Raw(_encode(beside))
        else:
            for name in (name for name, value in beside.items() if value not in _NOTHING_ASKED):
                self.dropped.add(f"tools[].{name}")
        self._own(NATIVE[base], options if first(options) == BRACE else EMPTY_OBJECT)

    def _own(self, name: str, options: Raw) -> None:
        given = next((tool for tool in self.native if name in tool), None)
        if given is None:
            self.native.append({name: options})
        elif given[name] == EMPTY_OBJECT:
            given[name] = options
        elif options not in (EMPTY_OBJECT, given[name]):
            self.dropped.add(f"tools[].{name}")

    def _function(self, raw: Raw, path: str) -> None:
        function = _FUNCTION.read(raw, self.dropped, path)
        parameters = function.parameters
        kind = first(parameters)
        if function.name in NATIVE and (kind == NULL or not _is_schema(parameters)):
            # A function without parameters and of such a name means Google's own tool.
            self._own(NATIVE[function.name], parameters if kind == BRACE else EMPTY_OBJECT)
            for name in ("description", "strict", "cache_control"):
                if getattr(function, name) not in (None, False, ABSENT, _NULL, EMPTY_STRING):
                    self.dropped.add(f"tools[].function.{name}")
            return
        made: dict[str, Any] = {"name": function.name}
        if first(function.description) != NULL:
            made["description"] = function.description
        if kind == BRACE:
            if parameters != EMPTY_OBJECT:
                made["parametersJsonSchema"] = normalized(parameters, f"{path}.parameters")
        elif kind != NULL:
            raise InvalidRequest("The parameters must be a JSON schema object.", f"{path}.parameters")
        if function.strict:
            self.strict = True
        if first(function.cache_control) != NULL:
            self.dropped.add("cache_control")
        self.declarations.append(made)

    def settle(self, out: dict[str, Any], choice: Choice, *, mixed: bool) -> None:
        """Puts tools and choice into the request. `mixed`: the model takes Google's own tools beside functions, and
        must be asked to."""
        tools = ([{"functionDeclarations": self.declarations}] if self.declarations else []) + self.native
        if tools:
            out["tools"] = tools
        chosen = choice.chosen
        if not self.declarations:
            if chosen is not None and chosen["mode"] not in ("AUTO", "" if self.native else "NONE"):
                self.dropped.add("tool_choice")
            return
        if choice.single:
            self.dropped.add("parallel_tool_calls")
        if chosen is not None and self._behind.intersection(chosen.get("allowedFunctionNames", ())):
            # A tool of Google's own cannot be chosen among others.
            self.dropped.add("tool_choice")
            chosen = None
        if self.strict and (chosen is None or chosen["mode"] == "AUTO"):
            # Calls are held to their schemas in every mode but AUTO.
            chosen = {"mode": "VALIDATED"}
        if self.streamed:
            chosen = {**(chosen or {}), "streamFunctionCallArguments": True}
        config: dict[str, Any] = {} if chosen is None else {"functionCallingConfig": chosen}
        if self.native and mixed:
            config["includeServerSideToolInvocations"] = True
        if config:
            out["toolConfig"] = config


def _is_schema(parameters: Raw) -> bool:
    if first(parameters) != BRACE:
        return True
    fields = read(_decode_object, parameters, "tools")
    return first(fields.get("properties", ABSENT)) == BRACE and fields["properties"] != EMPTY_OBJECT
