"""A chat's messages as Mistral takes them. Those that are plain move as the JSON they came in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Container, Mapping
from types import NoneType
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from adapters.chat.parts import GAPS
from adapters.chat.turns import BELONGS
from adapters.errors import InvalidRequest
from adapters.known import ECHOES
from adapters.mistral.wire import SIGNED
from adapters.reading import Dropped, read
from adapters.values import UNREADABLE

_FIT = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class _Address(Struct, forbid_unknown_fields=True, gc=False):
    url: str
    detail: str | None = None


class _Text(Struct, forbid_unknown_fields=True, tag_field="type", tag="text", gc=False):
    text: str


class _Image(Struct, forbid_unknown_fields=True, tag_field="type", tag="image_url", gc=False):
    image_url: str | _Address


class _Plain(Struct, forbid_unknown_fields=True, gc=False):
    """A message that is the same for Mistral."""

    role: Literal["system", "user", "assistant"]
    content: str | list[_Text | _Image]


_plain = msgspec.json.Decoder(list[_Plain]).decode
_messages = msgspec.json.Decoder(list[dict[str, Any]]).decode

_ROLES: Mapping[str, frozenset[str]] = {
    **{role: frozenset(own.split()) - {"name"} for role, own in BELONGS.items()},
    "assistant": frozenset((*BELONGS["assistant"].split(), "prefix")) - {"name"},
    "tool": frozenset(BELONGS["tool"].split()),
}
"""The fields of each role's messages. Only results of tools have a name."""


def mended(raw: Raw, dropped: Dropped) -> Any:
    """The messages of a chat, with ids, thoughts, files and whatever else Mistral has otherwise. Raises InvalidRequest
    with the path of what is wrong."""
    try:
        plain = _plain(raw)
    except UNREADABLE:
        made = [_mend(message, at, dropped) for at, message in enumerate(read(_messages, raw, "messages"))]
        return _ordered(made)
    return raw if _is_ordered(plain) else _ordered(_messages(raw))


def _is_ordered(messages: list[_Plain]) -> bool:
    """Whether plain messages come in an order that Mistral takes; see below."""
    before = ""
    for each in messages:
        role = each.role
        if before == "assistant" and role == "system":
            return False
        if role == "assistant" and not each.content:
            return False
        before = role
    return True


def _ordered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages in an order that Mistral takes: it refuses what the system says after an answer or a result, and a
    user after a result (`Unexpected role 'user' after role 'tool'`), and answers without anything in them. What the
    system says goes to the rest of it, and a word of the assistant's between result and user.

    https://github.com/mistralai/mistral-common, `protocol/instruct/validator.py`
    """
    made: list[dict[str, Any]] = []
    head = 0
    for one in messages:
        role, before = one["role"], made[-1]["role"] if made else None
        if role == "system" and before in ("assistant", "tool"):
            made.insert(head, one)
            head += 1
            continue
        if role == "system" and head == len(made):
            head += 1
        if role == "assistant" and not (one["content"] or one.get("tool_calls") or one.get("prefix")):
            continue
        if role == "user" and before == "tool":
            made.append({"role": "assistant", "content": "OK"})
        made.append(one)
    return made


def _mend(given: dict[str, Any], at: int, dropped: Dropped) -> dict[str, Any]:
    message = _own(given, dropped)
    role = message.get("role")
    one: dict[str, Any] = {"role": "system" if role == "developer" else role}
    content = message.get("content")
    if not isinstance(content, (str, list, NoneType)):
        raise InvalidRequest("Expected a string or a list of content parts.", f"messages[{at}].content")
    if isinstance(content, list):
        content = [_part(part, f"messages[{at}].content[{number}]", dropped) for number, part in enumerate(content)]
    if message.get("is_error"):
        content = f"Error:\n{content}" if isinstance(content, str) else [_ERROR, *(content or [])]
    blocks = message.get("content_blocks")
    if blocks is not None and not isinstance(blocks, list):
        raise InvalidRequest("Expected `array`.", f"messages[{at}].content_blocks")
    told = _words(blocks)
    if told and not content:
        content = told
    elif told and told.replace(*GAPS) != _words(content).replace(*GAPS):
        dropped.add("messages[].content_blocks[].text")
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        if content:
            dropped.add("messages[].refusal")
        else:
            content = message["refusal"]
    thoughts = _thoughts(blocks, dropped)
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
    for name, keep in _KEPT.items():
        if message.get(name) is not None:
            one[name] = keep(message[name])
    if message.get("function_call") is not None:
        dropped.add("messages[].function_call")
    return one


def _words(content: Any) -> str:
    """The text of a content or of blocks."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))


def _own(message: dict[str, Any], dropped: Dropped) -> dict[str, Any]:
    """The fields that belong to the message's role. Of a role that nobody knows Mistral says so itself."""
    role = message.get("role")
    own = _ROLES.get(role) if isinstance(role, str) else None
    if message.get("cache_control") is not None:
        dropped.add("cache_control")
    if message.get("audio"):
        dropped.add("messages[].audio")
    if own is None or message.keys() <= own:
        return message
    _strangers(message, own, "messages[]", dropped)
    return {name: value for name, value in message.items() if name in own}


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _strangers(fields: dict[str, Any], known: Container[str], path: str, dropped: Dropped) -> None:
    """Names what stays behind of an object of which only what is known goes on."""
    for name, value in fields.items():
        if name not in known and value not in _NOTHING and name not in ECHOES:
            dropped.add(f"{path}.{name}")


_NOTHING: tuple[Any, ...] = (None, False, "", [])
"""Values that ask for nothing."""


_CALL = frozenset(("id", "type", "function", "index", "cache_control"))
_FUNCTION = frozenset(("name", "arguments"))
_HEARD = frozenset(("data", "format"))
_SOURCES = ("file_url", "file_data", "file_id")
_BLOCKS = {
    "thinking": frozenset(("type", "thinking", "signature", "cache_control")),
    "text": frozenset(("type", "text", "phase", "citations", "cache_control")),
}
_SHOWN = frozenset(("url", "detail"))
_MARKS = ("cache_control", "prompt_cache_breakpoint")
_ERROR = {"type": "text", "text": "Error:"}


def _thoughts(blocks: Any, dropped: Dropped) -> list[dict[str, Any]]:
    """Mistral's thinking parts for the blocks of an assistant's message."""
    found = []
    for block in blocks if isinstance(blocks, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            dropped.add("messages[].content_blocks[]")
            continue
        if block.get("cache_control") is not None:
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
    if not isinstance(kind, str) or kind not in _PARTS or kind not in part:
        # One of Mistral's own, which says itself what it does not know.
        return part
    _strangers(part, ("type", kind), "messages[].content[]", dropped)
    return _PARTS[kind](part[kind], path, dropped)


def _text(text: Any, path: str, dropped: Dropped) -> Any:
    return {"type": "text", "text": text}


def _image(image: Any, path: str, dropped: Dropped) -> Any:
    if isinstance(image, dict):
        _strangers(image, _SHOWN, "messages[].content[].image_url", dropped)
        image = {name: value for name, value in image.items() if name in _SHOWN}
    return {"type": "image_url", "image_url": image}


def _sound(sound: Any, path: str, dropped: Dropped) -> Any:
    if isinstance(sound, dict):
        _strangers(sound, _HEARD, "messages[].content[].input_audio", dropped)
        sound = sound.get("data")
    return {"type": "input_audio", "input_audio": sound}


def _file(file: Any, path: str, dropped: Dropped) -> Any:
    if not isinstance(file, dict):
        raise InvalidRequest("Expected `object`.", f"{path}.file")
    given = next((name for name in _SOURCES if isinstance(file.get(name), str) and file[name]), None)
    if given is None:
        raise InvalidRequest("A file part needs `file_data`, `file_url` or `file_id`.", f"{path}.file")
    known = ("file_id",) if given == "file_id" else (given, "filename", "mime_type")
    _strangers(file, known, "messages[].content[].file", dropped)
    url = file[given]
    if given == "file_id":
        return {"type": "file", "file_id": url}
    if "://" not in url and not url.startswith("data:"):
        url = f"data:{file.get('mime_type') or 'application/pdf'};base64,{url}"
    made = {"type": "document_url", "document_url": url}
    if isinstance(file.get("filename"), str):
        made["document_name"] = file["filename"]
    return made


_PARTS: Mapping[str, Callable[[Any, str, Dropped], Any]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "input_audio": _sound,
    "file": _file,
}


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
