"""generateContent request → chat request, field by field.

Whatever need not be looked into moves as the JSON it came in. What OpenAI has no word for is named in
`Outbound.dropped`; what would change the meaning of the request is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek, strict
from adapters.chat.fields import SUMMARY
from adapters.errors import InvalidRequest
from adapters.gemini_client.content import Messages, system_text
from adapters.gemini_client.names import camel
from adapters.gemini_client.schema import json_schema
from adapters.gemini_client.wire import CallingConfig, ChatRequest, Declaration, Text, ThinkingConfig
from adapters.gemini_client.words import BY_BUDGET, WORDS
from adapters.known import read_known, shape_of
from adapters.openai_models import fit
from adapters.reading import Dropped, read, under
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, NULL, UNREADABLE, first

_encode = msgspec.json.Encoder().encode
_int = msgspec.json.Decoder(int).decode
_float = msgspec.json.Decoder(float).decode
_str = msgspec.json.Decoder(str).decode
_bool = msgspec.json.Decoder(bool).decode
_strings = msgspec.json.Decoder(list[str]).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_declarations = msgspec.json.Decoder(list[Declaration]).decode
_calling = msgspec.json.Decoder(CallingConfig).decode
_thinking = msgspec.json.Decoder(ThinkingConfig).decode

_DECLARATION = shape_of(Declaration)
_CALLING = shape_of(CallingConfig)
_THINKING = shape_of(ThinkingConfig)

_BUDGETS = ((0, "none"), (1024, "low"), (8192, "medium"))
"""Thinking tokens up to which a budget counts as this effort; what is above counts as high."""
_UNTOLD = (None, "", "THINKING_LEVEL_UNSPECIFIED")
_CONFIG_NAME = "generationConfig."
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_NOTHING = (Raw(b"null"), Raw(b'""'), Raw(b"[]"))
"""Values that ask for nothing."""
_LONGEST_DESCRIPTION = 1024
"""Characters that OpenAI takes as the description of a function."""
_MOST_HELD = 8
"""Anthropic makes one grammar of all strict tools of a request, and refuses one that grows too large."""
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}


def to_chat(call: Call) -> Outbound:
    """Builds the chat request for `call.model`. Raises InvalidRequest with the path of the field at fault."""
    body = call.body
    try:
        if not body.isascii():
            # Values move undecoded, so nothing else would notice broken UTF-8 before the provider does.
            body.decode()
        body = camel(body)
    except UNREADABLE as error:
        raise peek.malformed(error) from error
    request = _Request(call)
    for name, value in peek.fields(body).items():
        _read(request, _FIELDS, name, value)
    return request.outbound(call.stream)


class _Request:
    """One translation under way. What depends on several fields waits for `outbound`."""

    __slots__ = (
        "allowed",
        "as_json",
        "dropped",
        "functions",
        "messages",
        "mode",
        "out",
        "schema",
        "schema_name",
        "system",
        "words",
    )

    def __init__(self, call: Call) -> None:
        self.dropped = Dropped(call.blocks, call.thoughts, call.details)
        self.out = ChatRequest(call.model)
        self.messages = Messages(self.dropped)
        self.system: Raw = ABSENT
        self.functions: list[dict[str, Any]] = []
        self.mode: str | None = None
        self.allowed: list[str] | None = None
        self.as_json = False
        self.schema: Raw = ABSENT
        self.schema_name = f"{_CONFIG_NAME}responseSchema"
        self.words: tuple[Mapping[str, str], ...] = (WORDS,)

    def outbound(self, stream: bool) -> Outbound:
        out = self.out
        out.messages = self.messages.made
        if not out.messages:
            raise InvalidRequest("At least one content is required.", "contents")
        if len(self.system) > len(b'""'):
            out.messages.insert(0, Text("system", self.system))
        self._tools()
        if self.schema and not self.as_json:
            self.dropped.add(self.schema_name)
        if self.as_json and self.schema:
            out.response_format = {"type": "json_schema", "json_schema": self._output()}
        elif self.as_json:
            out.response_format = {"type": "json_object"}
        if stream:
            out.stream = True
            out.stream_options = {"include_usage": True}
        fit(out, self.dropped, self.words)
        return Outbound(_encode(out), dropped=self.dropped.names(), words=self.words, plain=self.dropped.plain)

    def _output(self) -> dict[str, Any]:
        """The schema, which Gemini's models keep to. Whether another maker's can be held to it is for those to say who
        know that maker; OpenAI's only can where it fits."""
        schema = strict.closed(self.schema)
        wanted: dict[str, Any] = {"name": "output", "schema": self.schema if schema is None else schema}
        if self.dropped.blocks or schema is not None:
            wanted["strict"] = True
        else:
            self.dropped.add(self.schema_name)
        return wanted

    def _tools(self) -> None:
        functions, mode, allowed = self.functions, self.mode, self.allowed
        if not functions:
            if allowed or mode in ("ANY", "VALIDATED"):
                self.dropped.add("toolConfig.functionCallingConfig")
            return
        if allowed and mode not in ("ANY", "VALIDATED"):
            self.dropped.add("toolConfig.functionCallingConfig.allowedFunctionNames")
        elif allowed:
            # Only these may be called: OpenAI has no word for some of many, but what is not there cannot be.
            functions = [each for each in functions if each["name"] in allowed] or functions
            if functions is self.functions:
                self.dropped.add("toolConfig.functionCallingConfig.allowedFunctionNames")
        if mode in ("ANY", "VALIDATED"):
            self._hold(functions)
        self.out.tools = [{"type": "function", "function": each} for each in functions]
        if mode == "ANY" and len(functions) == 1:
            self.out.tool_choice = {"type": "function", "function": {"name": functions[0]["name"]}}
        elif mode in ("ANY", "NONE"):
            self.out.tool_choice = "required" if mode == "ANY" else "none"

    def _hold(self, functions: list[dict[str, Any]]) -> None:
        """Has the arguments of calls keep to the functions' schemas, as they do in these modes: as with an answer's."""
        schemas = [strict.closed(each["parameters"]) for each in functions]
        if len(functions) > _MOST_HELD if self.dropped.blocks else None in schemas:
            self.dropped.add("toolConfig.functionCallingConfig.mode")
            return
        for function, schema in zip(functions, schemas, strict=True):
            function["strict"] = True
            if schema is not None:
                function["parameters"] = schema


_Reader = Callable[[_Request, Raw], None]


def _read(request: _Request, readers: Mapping[str, _Reader], name: str, value: Raw, path: str = "") -> None:
    if first(value) == NULL:
        return
    reader = readers.get(name)
    if reader is None:
        if value not in _NOTHING:
            request.dropped.add(path + name)
        return
    try:
        reader(request, value)
    except InvalidRequest as error:
        raise under(name, error) from error


def _nothing(request: _Request, value: Raw) -> None:
    """What the call tells, where routing may have replaced it; or what asks for nothing."""


def _contents(request: _Request, value: Raw) -> None:
    request.messages.add_all(value)


def _system(request: _Request, value: Raw) -> None:
    request.system = system_text(value, request.dropped)


def _tools(request: _Request, value: Raw) -> None:
    for at, fields in enumerate(read(_objects, value)):
        for name, given in fields.items():
            if given in _NOTHING:
                continue
            if name == "googleSearch" and request.dropped.blocks:
                # What follows may have a search of its own.
                request.out.web_search_options = {}
                for option, wanted in read(_object, given).items():
                    if wanted not in _NOTHING:
                        request.dropped.add(f"tools[].{name}.{option}")
                continue
            if name != "functionDeclarations":
                request.dropped.add(f"tools[].{name}")
                continue
            try:
                declared = read_known(_declarations, given, _DECLARATION, request.dropped, f"tools[].{name}")
                for number, each in enumerate(declared):
                    try:
                        request.functions.append(_function(each, request.dropped))
                    except InvalidRequest as error:
                        raise under(f"[{number}]", error) from error
            except InvalidRequest as error:
                raise under(f"[{at}].functionDeclarations", error) from error


def _function(declared: Declaration, dropped: Dropped) -> dict[str, Any]:
    made: dict[str, Any] = {"name": dropped.tool(declared.name)}
    if first(declared.description) != NULL:
        made["description"] = declared.description
    parameters = _either(declared.parameters, declared.parameters_json_schema, "parameters", dropped)
    made["parameters"] = _NO_PARAMETERS if parameters is None else parameters
    answer = _either(declared.response, declared.response_json_schema, "response", dropped)
    if answer is not None:
        # Nobody else has a field for it, but it is said to the model alone.
        before = read(_str, declared.description, "description") + "\n\n" if "description" in made else ""
        told = f"{before}It gives back JSON of this schema: {bytes(answer).decode()}"
        if len(told) > _LONGEST_DESCRIPTION:
            named = "response" if first(declared.response_json_schema) == NULL else "responseJsonSchema"
            dropped.add(f"tools[].functionDeclarations[].{named}")
        else:
            made["description"] = told
    return made


def _either(own: Raw, standard: Raw, name: str, dropped: Dropped) -> Raw | None:
    """A schema in Google's own form or in JSON Schema's, of which Google takes one."""
    if first(standard) == NULL:
        return None if first(own) == NULL else json_schema(own)
    if first(standard) != BRACE:
        raise InvalidRequest("Expected `object`.", f"{name}JsonSchema")
    if first(own) != NULL:
        dropped.add(f"tools[].functionDeclarations[].{name}")
    return standard


def _tool_config(request: _Request, value: Raw) -> None:
    for name, given in read(_object, value).items():
        if name == "functionCallingConfig":
            chosen = read_known(_calling, given, _CALLING, request.dropped, f"toolConfig.{name}")
            request.mode, request.allowed = chosen.mode.upper(), chosen.allowed_function_names
            if request.mode not in _MODES:
                raise InvalidRequest(f"There is no mode `{chosen.mode[:40]}`.", f"{name}.mode")
        elif name != "includeServerSideToolInvocations" and given not in _NOTHING:
            request.dropped.add(f"toolConfig.{name}")


def _config(request: _Request, value: Raw) -> None:
    for name, given in read(_object, value).items():
        _read(request, _CONFIG, name, given, "generationConfig.")


def _moved(name: str, decode: Callable[[Raw], Any]) -> _Reader:
    """A value that OpenAI has under another name, checked by `decode` and otherwise as it is."""

    def move(request: _Request, value: Raw) -> None:
        read(decode, value)
        setattr(request.out, name, value)

    return move


def _stops(request: _Request, value: Raw) -> None:
    if read(_strings, value):
        request.out.stop = value


def _top_k(request: _Request, value: Raw) -> None:
    read(_float, value)
    if request.dropped.blocks:
        # OpenAI has no such thing, but what follows may have; it takes a whole number.
        wanted = read(_float, value)
        request.out.top_k = Raw(b"%d" % int(wanted))
        if wanted != int(wanted):
            request.dropped.add("generationConfig.topK")
    else:
        request.dropped.add("generationConfig.topK")


def _thinks(request: _Request, value: Raw) -> None:
    wanted = read_known(_thinking, value, _THINKING, request.dropped, "generationConfig.thinkingConfig")
    if wanted.include_thoughts and request.dropped.blocks:
        # OpenAI's models, served by Responses, show what they think to those who ask.
        request.out.reasoning = SUMMARY
    if wanted.thinking_level not in _UNTOLD:
        request.out.reasoning_effort = wanted.thinking_level.lower()
        if wanted.thinking_budget is not None and wanted.thinking_budget >= 0:
            request.dropped.add("generationConfig.thinkingConfig.thinkingBudget")
    elif wanted.thinking_budget is not None and wanted.thinking_budget >= 0:
        budget = wanted.thinking_budget
        if budget or not request.dropped.blocks:
            request.dropped.add("generationConfig.thinkingConfig.thinkingBudget")
        if not budget and not request.dropped.blocks:
            # Models differ in how they are told not to think, and refuse the other's words.
            return
        request.words = (*request.words[:-1], *BY_BUDGET)
        request.out.reasoning_effort = next((effort for limit, effort in _BUDGETS if budget <= limit), "high")


def _mime_type(request: _Request, value: Raw) -> None:
    kind = read(_str, value)
    if kind == "application/json":
        request.as_json = True
    elif kind != "text/plain":
        request.dropped.add("generationConfig.responseMimeType")


def _schema(request: _Request, value: Raw) -> None:
    if request.schema:
        # Google takes one of the two.
        request.dropped.add(f"{_CONFIG_NAME}responseSchema")
        return
    request.schema = json_schema(value)


def _json_schema(request: _Request, value: Raw) -> None:
    if first(value) != BRACE:
        raise InvalidRequest("Expected `object`.")
    if request.schema:
        request.dropped.add(f"{_CONFIG_NAME}responseSchema")
    request.schema = value
    request.schema_name = f"{_CONFIG_NAME}responseJsonSchema"
    named = ("response_format.json_schema", "response_format.json_schema.schema", "response_format.json_schema.strict")
    request.words = (dict.fromkeys(named, request.schema_name), *request.words)


def _modalities(request: _Request, value: Raw) -> None:
    words = [word.lower() for word in read(_strings, value)]
    if words not in ([], ["text"]):
        request.out.modalities = words


def _cached(request: _Request, value: Raw) -> None:
    raise InvalidRequest("Content cached at Google is out of reach for this model's provider.")


def _tier(request: _Request, value: Raw) -> None:
    tier = read(_str, value).lower()
    if tier in _TIERS:
        request.out.service_tier = _TIERS[tier]
    elif tier not in ("", "unspecified", "service_tier_unspecified"):
        request.dropped.add("serviceTier")


_FIELDS: Mapping[str, _Reader] = {
    "model": _nothing,
    "contents": _contents,
    "systemInstruction": _system,
    "tools": _tools,
    "toolConfig": _tool_config,
    "generationConfig": _config,
    "cachedContent": _cached,
    "serviceTier": _tier,
}
"""What is done with each field that is not null; all others are dropped by name."""

_CONFIG: Mapping[str, _Reader] = {
    "temperature": _moved("temperature", _float),
    "topP": _moved("top_p", _float),
    "topK": _top_k,
    "maxOutputTokens": _moved("max_completion_tokens", _int),
    "stopSequences": _stops,
    "candidateCount": _moved("n", _int),
    "seed": _moved("seed", _int),
    "presencePenalty": _moved("presence_penalty", _float),
    "frequencyPenalty": _moved("frequency_penalty", _float),
    "responseLogprobs": _moved("logprobs", _bool),
    "logprobs": _moved("top_logprobs", _int),
    "responseMimeType": _mime_type,
    "responseSchema": _schema,
    "responseJsonSchema": _json_schema,
    "responseModalities": _modalities,
    "thinkingConfig": _thinks,
}
"""The same for the fields of generationConfig."""
