"""Chat messages → Cohere's. Strings and image addresses move as the JSON they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.chat.parts import GAPS
from adapters.chat.turns import BELONGS, named_calls
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped, missing, string, under
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first, joined

_str = msgspec.json.Decoder(str).decode
_LINE = b"\\n"
_ERROR = Raw(b'"Error:"')
_EMPTY = Raw(b'""')
_NO_ARGUMENTS = Raw(b'"{}"')


class Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: Raw = ABSENT
    thought_signature: str | None = None


class ToolCall(Struct, forbid_unknown_fields=True, gc=False):
    id: str
    function: Function
    type: Raw = ABSENT
    index: Raw = ABSENT
    cache_control: Raw = ABSENT


class Message(Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: Raw = ABSENT
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str = ""
    content_blocks: list[Raw] | None = None
    is_error: bool | None = None
    name: str | None = None
    refusal: Raw = ABSENT
    audio: Raw = ABSENT
    function_call: Raw = ABSENT
    cache_control: Raw = ABSENT
    # Came with an answer and says nothing that `content` does not say.
    annotations: Raw = ABSENT


_BREAKPOINT = "messages[].content[].prompt_cache_breakpoint"
_SIGNATURE = "messages[].content_blocks[].thinking.signature"


class Part(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    text: Raw = ABSENT
    refusal: Raw = ABSENT
    image_url: Raw = ABSENT
    document: Raw = ABSENT
    thinking: Raw = ABSENT
    signature: Raw = ABSENT
    phase: Raw = ABSENT
    citations: Raw = ABSENT
    cache_control: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


_MARKS = "cache_control prompt_cache_breakpoint"
_MESSAGES = Reader(msgspec.json.Decoder(list[Message]).decode, Message)
_BLOCK = Reader(msgspec.json.Decoder(Part).decode, Part, ("text", "thinking"))
_OF_ROLE = Belongs(Message, BELONGS)
_OF_PART = Belongs(
    Part, {name: f"{name} {_MARKS}" for name in ("text", "refusal", "image_url", "document", "thinking")}
)
_OF_BLOCK = Belongs(
    Part, {"text": "text phase citations cache_control", "thinking": "thinking signature cache_control"}
)

Made = dict[str, Any]


def translate(value: Raw, dropped: Dropped) -> list[Made]:
    """Cohere's messages for chat's. Raises InvalidRequest with the path below `messages`."""
    made: list[Made] = []
    shown: list[Made] = []
    messages = _MESSAGES.read(value, dropped, name="messages")
    called: set[tuple[str | None, str]] | None = None
    for at, message in enumerate(messages):
        add = _ROLES.get(message.role)
        if add is None:
            raise InvalidRequest(f"There is no role `{message.role[:40]}`.", f"[{at}].role")
        if shown and message.role != "tool":
            made.append({"role": "user", "content": shown})
            shown = []
        try:
            made.append(add(message, dropped, shown))
        except InvalidRequest as error:
            raise under(f"[{at}]", error) from error
        _OF_ROLE.heed(message, message.role, dropped, "messages[]")
        if message.name:
            called = named_calls(messages) if called is None else called
            if (message.tool_call_id, message.name) not in called:
                dropped.add("messages[].name")
        if first(message.cache_control) != NULL:
            dropped.add("cache_control")
        for call in message.tool_calls or ():
            if first(call.cache_control) != NULL:
                dropped.add("cache_control")
            dropped.signed(call.function.thought_signature)
    if shown:
        made.append({"role": "user", "content": shown})
    return made


def _content(message: Message, dropped: Dropped) -> Raw | list[Made]:
    content = message.content
    if first(content) == QUOTE:
        return content
    if first(content) != BRACKET:
        raise InvalidRequest("Expected a string or a list of content parts.", "content")
    made = []
    parts = _CONTENT.read(content, dropped, name="messages[].content")
    _OF_PART.heed_all(parts, dropped, "messages[].content")
    for at, part in enumerate(parts):
        make = _PARTS.get(part.type)
        if make is None:
            raise InvalidRequest(f"Cohere's models take no `{part.type[:40]}` parts.", f"content[{at}].type")
        for name, value in (("cache_control", part.cache_control), (_BREAKPOINT, part.prompt_cache_breakpoint)):
            if first(value) != NULL:
                dropped.add(name)
        try:
            made.append(make(part))
        except InvalidRequest as error:
            raise under(f"content[{at}]", error) from error
    return made


def _text(part: Part) -> Made:
    return {"type": "text", "text": string(part.text, "text")}


def _refusal(part: Part) -> Made:
    return {"type": "text", "text": string(part.refusal, "refusal")}


def _image(part: Part) -> Made:
    if first(part.image_url) == BRACE:
        return {"type": "image_url", "image_url": part.image_url}
    return {"type": "image_url", "image_url": {"url": string(part.image_url, "image_url")}}


def _document(part: Part) -> Made:
    if first(part.document) != BRACE:
        raise missing("document")
    return {"type": "document", "document": part.document}


def _thinking(part: Part) -> Made:
    return {"type": "thinking", "thinking": string(part.thinking, "thinking")}


_PARTS: Mapping[str, Callable[[Part], Made]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "document": _document,
    "thinking": _thinking,
}


_CONTENT = Reader(msgspec.json.Decoder(list[Part]).decode, Part, _PARTS)


def _plain(message: Message, dropped: Dropped, shown: list[Made]) -> Made:
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": _content(message, dropped)}


_SAID = ("text", "thinking")
"""The types of parts that an assistant's message may have."""


def _assistant(message: Message, dropped: Dropped, shown: list[Made]) -> Made:
    made: Made = {"role": "assistant"}
    content: Raw | list[Made] = _EMPTY if first(message.content) == NULL else _content(message, dropped)
    if isinstance(content, list):
        for part in content:
            if part["type"] not in _SAID:
                dropped.add(f"messages[].content[].{part['type']}")
        content = [part for part in content if part["type"] in _SAID] or _EMPTY
    thoughts, texts = _thoughts(message, dropped)
    if content == _EMPTY and texts:
        content = joined(texts)
    elif texts and _str(joined(texts)).replace(*GAPS) != _str(_words(content)).replace(*GAPS):
        dropped.add("messages[].content_blocks[].text")
    if first(message.refusal) == QUOTE and message.refusal != _EMPTY:
        if content == _EMPTY:
            content = message.refusal
        else:
            dropped.add("messages[].refusal")
    for name, value in (("audio", message.audio), ("function_call", message.function_call)):
        if first(value) != NULL:
            dropped.add(f"messages[].{name}")
    if message.tool_calls:
        if not isinstance(content, Raw):
            thoughts += [part for part in content if part["type"] == "thinking"]
        text = _words(content)
        if len(text) > len(b'""'):
            made["tool_plan"] = text
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": call.function.arguments if len(call.function.arguments) > 2 else _NO_ARGUMENTS,
                },
            }
            for call in message.tool_calls
        ]
        if thoughts:
            made["content"] = thoughts
        return made
    if thoughts:
        said = [{"type": "text", "text": content}] if isinstance(content, Raw) else content
        content = [*thoughts, *said]
    made["content"] = content
    return made


def _words(content: Raw | list[Made]) -> Raw:
    """The text of a content, one JSON string."""
    if isinstance(content, Raw):
        return content
    texts = [part["text"] for part in content if "text" in part]
    return joined(texts) if texts else _EMPTY


def _thoughts(message: Message, dropped: Dropped) -> tuple[list[Made], list[Raw]]:
    """What a message's blocks think, and the texts among them, which its content says again unless it is empty."""
    found, texts = [], []
    for raw in message.content_blocks or ():
        block = _BLOCK.read(raw, dropped, name="messages[].content_blocks[]")
        _OF_BLOCK.heed(block, block.type, dropped, "messages[].content_blocks[]")
        if first(block.cache_control) != NULL:
            dropped.add("cache_control")
        if block.type == "thinking" and first(block.thinking) == QUOTE:
            if block.thinking != _EMPTY:
                found.append({"type": "thinking", "thinking": block.thinking})
            if first(block.signature) == QUOTE and block.signature != _EMPTY:
                # Cohere signs no thoughts: what another maker's model thought crosses as text.
                dropped.add(_SIGNATURE)
        elif block.type == "text":
            texts.append(string(block.text, "content_blocks[].text"))
            dropped.phase(block.phase, "messages[].content_blocks[].phase")
            dropped.cited(block.citations)
        elif block.type != "thinking":
            dropped.add(f"messages[].content_blocks[].{block.type}")
    return found, texts


def _tool(message: Message, dropped: Dropped, shown: list[Made]) -> Made:
    if not message.tool_call_id:
        raise missing("tool_call_id")
    content: Raw | list[Made] = _EMPTY if first(message.content) == NULL else _content(message, dropped)
    if isinstance(content, list):
        images = [part for part in content if part["type"] == "image_url"]
        if images:
            # Results hold text and documents only; the model sees their images right after them.
            note = {"type": "text", "text": f"Content of tool result {message.tool_call_id}:"}
            shown += [note, *images]
            content = [part for part in content if part["type"] != "image_url"] or _EMPTY
    if message.is_error:
        error = {"type": "text", "text": _ERROR}
        content = joined([_ERROR, content], _LINE) if isinstance(content, Raw) else [error, *content]
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}


_ROLES: Mapping[str, Callable[[Message, Dropped, list[Made]], Made]] = {
    "system": _plain,
    "developer": _plain,
    "user": _plain,
    "assistant": _assistant,
    "tool": _tool,
}
