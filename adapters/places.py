"""Where in the client's own request a fault is that was found in the chat request made of it.

Nothing is kept for this while a request is translated. Only when one is refused, its parts are counted: the item at
fault is the first without which the chat request would have no such message or tool. That asks the translation again
for shorter requests, a dozen times, so it is done for small ones; of the others only the field's name is told.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect, Outbound, in_words
from adapters.values import UNREADABLE

Translate = Callable[[Call], Outbound]

_LARGEST = 256 * 1024
"""Bytes of a request whose parts are counted."""
_GEMINI = {"messages": ("contents", ("parts",)), "tools": ("tools", ("functionDeclarations",))}
_LISTS: Mapping[Dialect, Mapping[str, tuple[str, tuple[str, ...]]]] = {
    Dialect.ANTHROPIC_MESSAGES: {"messages": ("messages", ("content",)), "tools": ("tools", ())},
    Dialect.OPENAI_RESPONSES: {"messages": ("input", ("content", "output")), "tools": ("tools", ())},
    Dialect.GEMINI_GENERATE: _GEMINI,
    Dialect.GEMINI_STREAM_ARRAY: _GEMINI,
}
"""For the lists of a chat request: those that they are made of, and the lists within those."""
_SYSTEM: Mapping[Dialect, str] = {
    Dialect.ANTHROPIC_MESSAGES: "system",
    Dialect.OPENAI_RESPONSES: "instructions",
    Dialect.GEMINI_GENERATE: "systemInstruction",
    Dialect.GEMINI_STREAM_ARRAY: "systemInstruction",
}
_PLACE = re.compile(r"(messages|tools)\[(\d+)\](?:\.(content|content_blocks|tool_calls)\[(\d+)\])?")
_INDEX = re.compile(r"\[\d+\]")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def in_client(error: InvalidRequest, call: Call, chat: Outbound, translate: Translate) -> InvalidRequest:
    """The error as the client knows its request: `call` is its own, `chat` what `translate` made of it."""
    if not error.param:
        return error
    named = in_words(chat.words, (_INDEX.sub("[]", error.param),))[0]
    if len(call.body) <= _LARGEST:
        try:
            body = msgspec.json.decode(call.body)
            named = _existing(body, _located(error.param, named, call, body, translate, chat)) or named
        except (InvalidRequest, *UNREADABLE):
            # A part of a request may be wrong where the whole is not; the field's name is told all the same.
            pass
    return InvalidRequest(error.message, named, error.code)


def _located(path: str, named: str, call: Call, body: Any, translate: Translate, chat: Outbound) -> str:
    """`named` with the client's indexes for those in `path`."""
    found = _PLACE.match(path)
    lists = _LISTS.get(call.dialect)
    if found is None or lists is None:
        return named
    name, number, part, place = found[1], int(found[2]), found[3], int(found[4] or 0)
    outer, inners = lists[name]
    items = body.get(outer)
    if not isinstance(items, list):
        return _SYSTEM[call.dialect] if _is_system(name, number, chat) and _SYSTEM[call.dialect] in body else outer

    def reaches(kept: list[Any]) -> bool:
        shorter = msgspec.structs.replace(call, body=msgspec.json.encode({**body, outer: kept}))
        made = msgspec.json.decode(translate(shorter).body).get(name) or ()
        return len(made) > number and (part is None or _count(made[number].get(part)) > place)

    at = bisect_left(range(1, len(items)), True, key=lambda count: reaches(items[:count]))
    if at == 0 and _SYSTEM[call.dialect] in body and _is_system(name, number, chat):
        return _SYSTEM[call.dialect]
    named = named.replace("[]", f"[{at}]", 1)
    item = items[at]
    inner = next((each for each in inners if isinstance(item.get(each), list)), None)
    if inner is None or "[]" not in named:
        return named
    blocks = item[inner]
    before = items[:at]
    block = bisect_left(
        range(1, len(blocks)), True, key=lambda count: reaches([*before, {**item, inner: blocks[:count]}])
    )
    return named.replace(f".{inners[0]}[]", f".{inner}[{block}]", 1)


def _is_system(name: str, number: int, chat: Outbound) -> bool:
    """Whether the place in the chat request is that of the system's text, which clients have apart."""
    if name != "messages" or number:
        return False
    messages = msgspec.json.decode(chat.body)["messages"]
    return bool(messages) and messages[0]["role"] == "system"


def _count(parts: Any) -> int:
    return len(parts) if isinstance(parts, list) else int(bool(parts))


def _existing(body: Any, path: str) -> str:
    """As much of a path as there is in the body."""
    kept = ""
    for found in _STEP.finditer(path):
        index, name = found.groups()
        if index is not None and isinstance(body, list) and int(index) < len(body):
            body = body[int(index)]
        elif name is not None and isinstance(body, dict) and name in body:
            body = body[name]
        else:
            break
        kept = path[: found.end()]
    return kept
