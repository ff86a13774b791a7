"""Chat and text completion requests in Mistral's words (https://docs.mistral.ai/api)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.chat.request import format_of
from adapters.errors import InvalidRequest
from adapters.known import ECHOES
from adapters.mistral.wire import FIM_FIELDS, HARMLESS, MARKS, NOTHING, REFUSED, RENAMED, SIGNED, TIERS
from adapters.reading import Dropped, read
from adapters.strict import kept_to
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_messages = msgspec.json.Decoder(list[dict[str, Any]]).decode
_tools = msgspec.json.Decoder(list[dict[str, Any]]).decode

_CACHED, _STRICT = b'"cache_control"', b'"strict"'

_FIT = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def chat(call: Call) -> Outbound:
    """Mistral's chat request. Raises InvalidRequest with the path of the field at fault."""
    body = call.body
    out: dict[str, Any] = {}
    dropped = Dropped()
    for name, value in peek.fields(body).items():
        if first(value) == NULL:
            continue
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
        renamed = RENAMED.get(name, name)
        if out.get(renamed, value) != value:
            # Two names for one thing that do not agree.
            dropped.add(renamed)
            if renamed == name:
                continue
        out[renamed] = value
    if first(out.get("tool_choice", ABSENT)) == QUOTE and read(_str, out["tool_choice"], "tool_choice") == "required":
        out["tool_choice"] = "any"
    if "tools" in out:
        _only_functions(out, dropped)
    if call.blocks and _STRICT in body and "response_format" in out:
        out["response_format"] = _format(out["response_format"], dropped)
    if "tools" in out and _CACHED in body:
        out["tools"] = [_unmarked(tool, dropped) for tool in read(_tools, out["tools"])]
    if "messages" in out and any(mark in body for mark in MARKS):
        out["messages"] = _mend(read(_messages, out["messages"], "messages"), dropped)
    out["model"] = call.model
    return Outbound(_encode(out), dropped=dropped.names())


class _Tool(msgspec.Struct, gc=False):
    type: str = "function"
    name: str = ""


class _Chosen(msgspec.Struct, gc=False):
    name: str = ""


class _Choice(msgspec.Struct, gc=False):
    function: _Chosen | None = None


_kinds = msgspec.json.Decoder(list[_Tool]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_choice = msgspec.json.Decoder(_Choice).decode
_AUTO, _NONE = Raw(b'"auto"'), Raw(b'"none"')


def _only_functions(out: dict[str, Any], dropped: Dropped) -> None:
    """Leaves out tools that are no functions, and the choice of one of them: Mistral's chat has none."""
    kinds = read(_kinds, out["tools"], "tools")
    others = {each.name for each in kinds if each.type != "function"}
    if not others:
        return
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


def _unmarked(tool: dict[str, Any], dropped: Dropped) -> dict[str, Any]:
    """The tool without marks of caching, of which Mistral has none."""
    if tool.pop("cache_control", None) is not None:
        dropped.add("cache_control")
    return tool


def _mend(messages: list[dict[str, Any]], dropped: Dropped) -> list[dict[str, Any]]:
    made = []
    for at, message in enumerate(messages):
        role = message.get("role")
        one: dict[str, Any] = {"role": "system" if role == "developer" else role}
        content = message.get("content")
        if isinstance(content, list):
            content = [_part(part, f"messages[{at}].content[{number}]", dropped) for number, part in enumerate(content)]
        if message.get("is_error"):
            content = f"Error:\n{content}" if isinstance(content, str) else [_ERROR, *(content or [])]
        if not content and isinstance(message.get("refusal"), str):
            content = message["refusal"]
        thoughts = _thoughts(message.get("content_blocks"), dropped)
        if thoughts:
            said = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
            content = [*thoughts, *said]
        one["content"] = content if content is not None else ""
        for call in _calls(message):
            if call.get("cache_control") is not None:
                dropped.add("cache_control")
            _strangers(call, _CALL, "messages[].tool_calls[]", dropped)
            if isinstance(call.get("function"), dict):
                _strangers(call["function"], _FUNCTION, "messages[].tool_calls[].function", dropped)
        for name, value in message.items():
            keep = _KEPT.get(name)
            if keep is not None and value is not None:
                one[name] = keep(value)
            elif name not in _KNOWN and value is not None and name not in ECHOES:
                dropped.add(name if name == "cache_control" else f"messages[].{name}")
        made.append(one)
    return made


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _strangers(fields: dict[str, Any], known: Container[str], path: str, dropped: Dropped) -> None:
    """Names what stays behind of an object of which only what is known goes on."""
    for name, value in fields.items():
        if name not in known and value is not None and value is not False and name not in ECHOES:
            dropped.add(f"{path}.{name}")


_CALL = frozenset(("id", "type", "function", "index", "cache_control"))
_FUNCTION = frozenset(("name", "arguments"))
_SOUND = frozenset(("data", "format"))
_FILE = frozenset(("file_url", "file_data", "filename", "mime_type"))
_BLOCKS = {
    "thinking": frozenset(("type", "thinking", "signature", "cache_control")),
    "text": frozenset(("type", "text", "phase", "citations", "cache_control")),
}
_MARKS = ("cache_control", "prompt_cache_breakpoint")
_ERROR = {"type": "text", "text": "Error:"}


def _thoughts(blocks: Any, dropped: Dropped) -> list[dict[str, Any]]:
    """Mistral's thinking parts for the blocks of an assistant's message."""
    found = []
    for block in blocks if isinstance(blocks, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if kind is not None and block.get("cache_control") is not None:
            dropped.add("cache_control")
        if kind in _BLOCKS:
            _strangers(block, _BLOCKS[kind], "messages[].content_blocks[]", dropped)
        if kind == "thinking":
            words = [{"type": "text", "text": str(block.get("thinking", ""))}]
            signature = str(block.get("signature") or "")
            own = {"signature": signature.removeprefix(SIGNED)} if signature.startswith(SIGNED) else {}
            if words[0]["text"] or own:
                found.append({"type": "thinking", "thinking": words, **own, "closed": True})
            if signature and not own:
                # What another maker's model thought crosses as text.
                dropped.add("messages[].content_blocks[].thinking.signature")
        elif kind != "text":
            dropped.add(f"messages[].content_blocks[].{kind}")
        else:
            if block.get("phase") not in (None, "final_answer"):
                dropped.add("messages[].content_blocks[].phase")
            if block.get("citations"):
                dropped.add("messages[].content_blocks[].citations")
    return found


def _part(part: Any, path: str, dropped: Dropped) -> Any:
    if not isinstance(part, dict):
        raise InvalidRequest("Expected `object`.", path)
    kind = part.get("type")
    if part.get("cache_control") is not None:
        dropped.add("cache_control")
    if part.get("prompt_cache_breakpoint") is not None:
        dropped.add("messages[].content[].prompt_cache_breakpoint")
    part = {name: value for name, value in part.items() if name not in _MARKS}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        _strangers(part, ("type", kind), "messages[].content[]", dropped)
        _strangers(part[kind], _SOUND, f"messages[].content[].{kind}", dropped)
        return {"type": "input_audio", "input_audio": part["input_audio"].get("data")}
    if kind != "file" or not isinstance(part.get("file"), dict):
        return part
    file = part["file"]
    _strangers(part, ("type", kind), "messages[].content[]", dropped)
    _strangers(file, _FILE, f"messages[].content[].{kind}", dropped)
    url = file.get("file_url") or file.get("file_data")
    if not isinstance(url, str):
        raise InvalidRequest("A file part needs `file_data` or `file_url`.", f"{path}.file")
    if "://" not in url and not url.startswith("data:"):
        url = f"data:{file.get('mime_type') or 'application/pdf'};base64,{url}"
    made = {"type": "document_url", "document_url": url}
    if isinstance(file.get("filename"), str):
        made["document_name"] = file["filename"]
    return made


def _fit_id(id: Any) -> Any:
    """A tool call's id as Mistral takes them, nine letters and digits. The same id always becomes the same one."""
    if not isinstance(id, str) or _FIT.fullmatch(id):
        return id
    number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big")
    letters = []
    for _ in range(9):
        number, at = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[at])
    return "".join(letters)


def _fit_calls(calls: Any) -> Any:
    if not isinstance(calls, list):
        return calls
    made = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return calls
        named = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
        made.append({"id": _fit_id(call.get("id")), "type": "function", "function": named})
    return made


def _same(value: Any) -> Any:
    return value


_KEPT: Mapping[str, Callable[[Any], Any]] = {
    "tool_calls": _fit_calls,
    "tool_call_id": _fit_id,
    "name": _same,
    "prefix": _same,
}
_KNOWN = frozenset(("role", "content", "content_blocks", "is_error", "refusal", "annotations", *_KEPT))
"""Fields of messages that are read above, or say nothing that `content` does not say."""


def fim(call: Call) -> Outbound:
    """The fill-in-the-middle request. Raises InvalidRequest naming the parameter that cannot be served."""
    out: dict[str, Any] = {"model": call.model}
    dropped = []
    for name, value in peek.fields(call.body).items():
        if name == "model" or first(value) == NULL:
            continue
        renamed = RENAMED.get(name, name)
        if renamed in FIM_FIELDS:
            out[renamed] = value
        elif bytes(value) not in NOTHING.get(name, ()) and name != "stream_options":
            dropped.append(name)
    if first(out.get("prompt", ABSENT)) == BRACKET:
        prompts = read(_prompts, out["prompt"], "prompt")
        if len(prompts) != 1:
            raise InvalidRequest(f"Expected one prompt, got {len(prompts)}.", "prompt")
        out["prompt"] = prompts[0]
    if first(out.get("prompt", ABSENT)) == NULL:
        raise InvalidRequest("Object missing required field `prompt`.", "prompt")
    return Outbound(_encode(out), dropped=tuple(dropped))


_prompts = msgspec.json.Decoder(list[Raw]).decode
