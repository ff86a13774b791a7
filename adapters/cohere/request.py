"""Chat request → Cohere's, field by field. What Cohere has no word for is named in `Outbound.dropped`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat.choice import ALLOWED, allowed_of, choice_of
from adapters.chat.fields import MEDIUM, SUMMARY, options_of
from adapters.chat.request import described, format_of, stops_of
from adapters.cohere.messages import translate as messages_of
from adapters.effort import beside, implied
from adapters.errors import InvalidRequest
from adapters.reading import Dropped, member, missing, read, read_all, under
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_int = msgspec.json.Decoder(int).decode
_float = msgspec.json.Decoder(float).decode
_bool = msgspec.json.Decoder(bool).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode

_BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""Thinking tokens for each `reasoning_effort`: Cohere takes a budget and no word."""
_TRUE = Raw(b"true")
_TOOL = frozenset(("type", "function", "cache_control"))
_FUNCTION = frozenset(("name", "description", "parameters", "strict"))
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_TIED = "max"
"""The effort that gets no other budget than the one below it."""


class _Request:
    """One translation under way."""

    __slots__ = ("behind", "dropped", "effort", "implied", "only", "out", "strict")

    def __init__(self, call: Call) -> None:
        self.out: dict[str, Any] = {"model": call.model}
        self.dropped = Dropped(call.blocks)
        self.effort: str | None = None
        self.implied: str | None = None
        """The effort that the client's `thinking` says already."""
        self.only: list[str] | None = None
        """The names of the tools that may be called, where not all of them."""
        self.behind: set[str] = set()
        """The names of tools that cannot come along."""
        self.strict = False


def translate(call: Call) -> Outbound:
    """Cohere's request for `call`. Raises InvalidRequest with the path of the field at fault."""
    request = _Request(call)
    read_all(request, call.body, _FIELDS, _HARMLESS)
    out = request.out
    if "messages" not in out:
        raise InvalidRequest("The request needs `messages`.", "messages")
    if request.effort is not None:
        if request.effort != "none" and out.get("thinking") == {"type": "enabled"}:
            # How much is the effort's to say.
            del out["thinking"]
        if "thinking" in out:
            if request.effort != request.implied:
                request.dropped.add("reasoning_effort")
        elif request.effort == "none":
            out["thinking"] = {"type": "disabled"}
        else:
            out["thinking"] = {"type": "enabled", "token_budget": _BUDGETS[request.effort]}
            if request.effort == _TIED:
                request.dropped.add("reasoning_effort")
    _settle(request)
    out["stream"] = call.stream
    return Outbound(_encode(out), dropped=request.dropped.names())


def _settle(request: _Request) -> None:
    """Brings the tools, the choice among them and the switch for all of them together."""
    out, only = request.out, request.only
    tools = out.get("tools", [])
    if only is not None:
        # Which tools may be called cannot be said: those that may not are left out instead.
        among = frozenset(only)
        chosen = [tool for tool in tools if _str(tool["function"]["name"]) in among]
        if not chosen and not request.behind.intersection(only):
            raise InvalidRequest(f"There is no tool `{only[0][:64]}` to call.", "tool_choice.function.name")
        if len(chosen) < len(only):
            request.dropped.add("tool_choice")
        if chosen:
            out["tools"] = tools = chosen
        else:
            out.pop("tool_choice", None)
    if not tools and out.pop("tool_choice", None) == "REQUIRED":
        # Cohere refuses a choice without tools.
        request.dropped.add("tool_choice")
    if request.strict and tools:
        # Cohere refuses this for a tool that must be given nothing.
        fit = "strict_tools" in out or all(_required(tool["function"]) for tool in tools)
        if not fit or out.setdefault("strict_tools", _TRUE) != _TRUE:
            request.dropped.add("tools[].function.strict")


def _required(function: Mapping[str, Raw]) -> bool:
    parameters = function.get("parameters", ABSENT)
    return first(parameters) == BRACE and first(read(_object, parameters).get("required", ABSENT)) == BRACKET


def _nothing(request: _Request, value: Raw) -> None:
    """Told by the call, or asked for when the answer comes."""


def _messages(request: _Request, value: Raw) -> None:
    request.out["messages"] = messages_of(value, request.dropped)


def _as(name: str, decode: Callable[[Raw], Any] | None = None) -> Callable[[_Request, Raw], None]:
    """A value under Cohere's name for it; one of Cohere's own is the client's affair. Where both names are there and do
    not agree, the first one counts."""

    def put(request: _Request, value: Raw) -> None:
        if decode is not None:
            read(decode, value)
        if request.out.setdefault(name, value) != value:
            request.dropped.add(name)

    return put


def _max_tokens(request: _Request, value: Raw) -> None:
    read(_int, value)
    if request.out.setdefault("max_tokens", value) != value:
        request.dropped.add("max_tokens")


def _max_completion_tokens(request: _Request, value: Raw) -> None:
    read(_int, value)
    if request.out.get("max_tokens", value) != value:
        request.dropped.add("max_tokens")
    request.out["max_tokens"] = value


def _stop_sequences(request: _Request, value: Raw) -> None:
    wanted = stops_of(value, "")
    if not wanted:
        return
    if request.out.setdefault("stop_sequences", wanted) != wanted:
        request.dropped.add("stop_sequences")


def _tools(request: _Request, value: Raw) -> None:
    tools = []
    for at, tool in enumerate(read(_objects, value)):
        try:
            function = _function(request, tool)
        except InvalidRequest as error:
            raise under(f"[{at}]", error) from error
        if function is not None:
            tools.append({"type": "function", "function": function})
    if tools:
        request.out["tools"] = tools


def _function(request: _Request, tool: Mapping[str, Raw]) -> dict[str, Any] | None:
    kind = member(_str, tool, "type") or "function"
    if kind != "function":
        request.dropped.add(f"tools[].{kind}")
        request.behind.add(member(_str, tool, "name") or "")
        return None
    function = member(_object, tool, "function")
    if function is None or first(function.get("name", ABSENT)) != QUOTE:
        raise missing("name", "function.name")
    if member(_bool, function, "strict"):
        # One switch for all of them.
        request.strict = True
    if first(tool.get("cache_control", ABSENT)) != NULL:
        request.dropped.add("cache_control")
    request.dropped.strangers(tool, _TOOL, "tools[]")
    request.dropped.strangers(function, _FUNCTION, "tools[].function")
    made: dict[str, Any] = {
        name: function[name] for name in ("name", "description") if first(function.get(name, ABSENT)) != NULL
    }
    # Which Cohere insists on.
    parameters = function.get("parameters", ABSENT)
    made["parameters"] = _NO_PARAMETERS if first(parameters) == NULL else parameters
    return made


def _tool_choice(request: _Request, value: Raw) -> None:
    kind, name, fields = choice_of(value, "", _CHOICES, request.dropped, "tool_choice")
    if name is not None:
        request.only = [name]
        request.out["tool_choice"] = "REQUIRED"
        return
    if kind == ALLOWED and fields:
        request.only, required = allowed_of(fields, "", request.dropped)
        if required:
            request.out["tool_choice"] = "REQUIRED"
        return
    if fields:
        raise InvalidRequest(f"A tool choice of type `{kind[:40]}` cannot be translated.", "type")
    word = _CHOICES[kind]
    if word is not None:
        request.out["tool_choice"] = word


_CHOICES = {"auto": None, "none": "NONE", "required": "REQUIRED"}


def _response_format(request: _Request, value: Raw) -> None:
    fields = read(_object, value)
    kind = member(_str, fields, "type")
    if kind == "text":
        request.dropped.strangers(fields, {"type"}, "response_format")
        return
    if kind == "json_object":
        request.out["response_format"] = value
        return
    if kind != "json_schema":
        raise InvalidRequest(f"There is no response format `{(kind or '')[:40]}`.", "type")
    made: dict[str, Any] = {"type": "json_object"}
    if first(fields.get("json_schema", ABSENT)) == BRACE:
        _, wanted = format_of(value, "", request.dropped)
        if wanted is not None:
            # Cohere holds the model to it, `strict` or not.
            made["json_schema"] = described(wanted, request.dropped)
    request.out["response_format"] = made


def _reasoning_effort(request: _Request, value: Raw) -> None:
    effort = read(_str, value)
    if effort != "none" and effort not in _BUDGETS:
        raise InvalidRequest(
            f"There is no reasoning effort `{effort[:40]}`; there are {', '.join(('none', *_BUDGETS))}."
        )
    request.effort = effort


def _thinking(request: _Request, value: Raw) -> None:
    fields = read(_object, value)
    kind = member(_str, fields, "type")
    request.implied = implied(value)
    made: dict[str, Any] = {"type": "disabled" if kind == "disabled" else "enabled"}
    budgets = [each for name in ("token_budget", "budget_tokens") if first(each := fields.get(name, ABSENT)) != NULL]
    if budgets:
        made["token_budget"] = budgets[0]
        if budgets[0] != budgets[-1]:
            request.dropped.add("thinking.budget_tokens")
    for name in beside(value):
        if name != "token_budget":
            request.dropped.add(f"thinking.{name}")
    request.out["thinking"] = made


_FIELDS: Mapping[str, Callable[[_Request, Raw], None]] = {
    "model": _nothing,
    "stream": _nothing,
    "stream_options": lambda request, value: options_of(value, "stream_options", request.dropped),
    "messages": _messages,
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_completion_tokens,
    "temperature": _as("temperature", _float),
    "top_p": _as("p", _float),
    "top_k": _as("k", _int),
    "frequency_penalty": _as("frequency_penalty", _float),
    "presence_penalty": _as("presence_penalty", _float),
    "seed": _as("seed", _int),
    "logprobs": _as("logprobs", _bool),
    "stop": _stop_sequences,
    "stop_sequences": _stop_sequences,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "reasoning_effort": _reasoning_effort,
    "thinking": _thinking,
    # Cohere's own.
    **{
        name: _as(name)
        for name in (
            "p",
            "k",
            "documents",
            "citation_options",
            "safety_mode",
            "strict_tools",
            "priority",
        )
    },
}
"""Every field with a meaning upstream; the others are dropped by name."""

_HARMLESS: Mapping[str, tuple[Raw, ...]] = {
    "n": (Raw(b"1"),),
    "top_logprobs": (Raw(b"0"),),
    "store": (Raw(b"false"),),
    "verbosity": (MEDIUM,),
    "reasoning": (SUMMARY,),
    "parallel_tool_calls": (Raw(b"true"),),
    "logit_bias": (Raw(b"{}"),),
    "modalities": (Raw(b'["text"]'),),
}
"""Values that ask for nothing."""
