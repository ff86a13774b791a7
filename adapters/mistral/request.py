"""Chat and text completion requests in Mistral's words (https://docs.mistral.ai/api)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.chat.choice import ALLOWED, allowed_of
from adapters.chat.fields import options_of
from adapters.chat.request import format_of
from adapters.errors import InvalidRequest
from adapters.mistral.messages import mended
from adapters.mistral.wire import FIM_FIELDS, HARMLESS, NOTHING, REFUSED, RENAMED, TIERS
from adapters.reading import Dropped, read
from adapters.strict import kept_to
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_tools = msgspec.json.Decoder(list[dict[str, Any]]).decode

_CACHED, _STRICT = b'"cache_control"', b'"strict"'


def chat(call: Call) -> Outbound:
    """Mistral's chat request. Raises InvalidRequest with the path of the field at fault."""
    body = call.body
    out: dict[str, Any] = {}
    dropped = Dropped()
    for name, value in peek.fields(body).items():
        if first(value) == NULL:
            continue
        if name == "stream_options":
            options_of(value, name, dropped)
        if name in REFUSED:
            harmless = HARMLESS.get(name, ())
            if harmless is not None and bytes(value) not in harmless:
                dropped.add(name)
            continue
        if name == "service_tier":
            if bytes(value) not in TIERS:
                dropped.add(name)
                continue
            value = Raw(TIERS[bytes(value)])
        _put(out, name, value, dropped)
    choice, bare = out.get("tool_choice", ABSENT), False
    if first(choice) == QUOTE and read(_str, choice, "tool_choice") == "required":
        out["tool_choice"] = _ANY
    if "tools" in out:
        if first(choice) == BRACE and _ALLOWED in bytes(choice):
            _only_allowed(out, choice, dropped)
        bare = _only_functions(out, dropped)
    if call.blocks and _STRICT in body and "response_format" in out:
        out["response_format"] = _format(out["response_format"], dropped)
    if call.origin is not None and call.origin.family != "openai" and _STRICT in body and "tools" in out:
        out["tools"] = Raw(_encode([_kept(tool, dropped) for tool in read(_objects, out["tools"], "tools")]))
    if "tools" in out and (bare or _CACHED in body):
        out["tools"] = [_fitted(tool, dropped) for tool in read(_tools, out["tools"])]
    if "messages" in out:
        out["messages"] = mended(out["messages"], dropped)
    out["model"] = call.model
    return Outbound(_encode(out), dropped=dropped.names())


def _put(out: dict[str, Any], name: str, value: Raw, dropped: Dropped) -> None:
    """Puts a value under Mistral's name for it. Where two names for one thing do not agree, OpenAI's counts."""
    renamed = RENAMED.get(name, name)
    if out.get(renamed, value) != value:
        dropped.add(renamed)
        if renamed == name:
            return
    out[renamed] = value


class _Chosen(msgspec.Struct, gc=False):
    name: str = ""
    parameters: Raw = ABSENT


class _Tool(msgspec.Struct, gc=False):
    type: str = "function"
    name: str = ""
    function: _Chosen | None = None


class _Choice(msgspec.Struct, gc=False):
    function: _Chosen | None = None


_kinds = msgspec.json.Decoder(list[_Tool]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_choice = msgspec.json.Decoder(_Choice).decode
_TRUE = Raw(b"true")
_AUTO, _NONE, _ANY = Raw(b'"auto"'), Raw(b'"none"'), Raw(b'"any"')
_ALLOWED = b'"allowed_tools"'


def _only_allowed(out: dict[str, Any], raw: Raw, dropped: Dropped) -> None:
    """Leaves out the tools that may not be called: Mistral has no choice among some of them."""
    fields = read(_object, raw, "tool_choice")
    if ALLOWED not in fields:
        return
    names, required = allowed_of(fields, "tool_choice", dropped)
    kinds = read(_kinds, out["tools"], "tools")
    among = frozenset(names)
    allowed = [
        tool
        for tool, each in zip(_raws(out["tools"]), kinds, strict=True)
        if (each.function.name if each.function is not None else each.name or each.type) in among
    ]
    if not allowed:
        raise InvalidRequest(f"There is no tool `{names[0][:64]}` to call.", f"tool_choice.{ALLOWED}.tools[0]")
    if len(allowed) < len(names):
        dropped.add("tool_choice")
    out["tools"], out["tool_choice"] = Raw(_encode(allowed)), _ANY if required else _AUTO


def _only_functions(out: dict[str, Any], dropped: Dropped) -> bool:
    """Leaves out tools that are no functions, and the choice of one of them: Mistral's chat has none. Says whether one
    of the others is without parameters."""
    kinds = read(_kinds, out["tools"], "tools")
    others = {each.name for each in kinds if each.type != "function"}
    bare = any(each.function is not None and first(each.function.parameters) == NULL for each in kinds)
    if not others:
        return bare
    for each in kinds:
        if each.type != "function":
            dropped.add(f"tools[].{each.type[:40]}")
    functions = [raw for raw, each in zip(_raws(out["tools"]), kinds, strict=True) if each.type == "function"]
    choice = out.get("tool_choice", ABSENT)
    chosen = read(_choice, choice, "tool_choice").function if first(choice) == BRACE else None
    unmeant = not functions or (chosen is not None and chosen.name in others)
    if unmeant and out.pop("tool_choice", _AUTO) not in (_AUTO, _NONE):
        dropped.add("tool_choice")
    if functions:
        out["tools"] = Raw(_encode(functions))
    else:
        del out["tools"]
    return bare


def _format(raw: Raw, dropped: Dropped) -> Raw:
    """The format of an answer for which a client of another dialect was promised that it keeps to its schema. Mistral's
    docs show closed schemas alone with `strict`, so it is asked for with those that OpenAI would take."""
    wanted = format_of(raw, "response_format", Dropped(found={}))[1]
    if wanted is None or kept_to(wanted.schema, wanted.strict, dropped) == wanted.strict:
        return raw
    schema: dict[str, Any] = {"name": wanted.name or "output", "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    return Raw(_encode({"type": "json_schema", "json_schema": schema}))


def _kept(tool: dict[str, Raw], dropped: Dropped) -> dict[str, Any]:
    """The same for a function's parameters."""
    function = read(_object, tool.get("function", ABSENT), "tools[].function")
    strict = function.get("strict") == _TRUE
    if strict and not kept_to(function.get("parameters", ABSENT), True, dropped, "tools[].function.strict"):
        del function["strict"]
        return {**tool, "function": function}
    return tool


def _fitted(tool: dict[str, Any], dropped: Dropped) -> dict[str, Any]:
    """The tool without marks of caching, of which Mistral has none, and with the parameters that it insists on."""
    if isinstance(tool.get("function"), dict) and tool["function"].get("parameters") is None:
        tool["function"]["parameters"] = {"type": "object", "properties": {}}
    if tool.pop("cache_control", None) is not None:
        dropped.add("cache_control")
    return tool


def fim(call: Call) -> Outbound:
    """The fill-in-the-middle request. Raises InvalidRequest naming the parameter that cannot be served."""
    out: dict[str, Any] = {"model": call.model}
    dropped = Dropped(found={})
    for name, value in peek.fields(call.body).items():
        if name == "model" or first(value) == NULL:
            continue
        if name == "stream_options":
            options_of(value, name, dropped)
        elif RENAMED.get(name, name) in FIM_FIELDS:
            _put(out, name, value, dropped)
        elif bytes(value) not in NOTHING.get(name, ()):
            dropped.add(name)
    if first(out.get("prompt", ABSENT)) == BRACKET:
        prompts = read(_prompts, out["prompt"], "prompt")
        if len(prompts) != 1:
            raise InvalidRequest(f"Expected one prompt, got {len(prompts)}.", "prompt")
        out["prompt"] = prompts[0]
    if first(out.get("prompt", ABSENT)) == NULL:
        raise InvalidRequest("Object missing required field `prompt`.", "prompt")
    return Outbound(_encode(out), dropped=dropped.names())


_prompts = msgspec.json.Decoder(list[Raw]).decode
