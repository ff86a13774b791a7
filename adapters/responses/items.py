"""Chat messages → input items.

Every message keeps its role and its place; one that calls tools or brings thoughts becomes several items. Text and
image data move as the JSON they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat import turns
from adapters.chat.parts import FIELDS, has_text, one_source, refused_as_well, said_otherwise
from adapters.chat.turns import Messages, no_content
from adapters.chat.wire import EMPTY_STRING, NULL, FunctionCall
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.packing import OPENAI_ITEM
from adapters.reading import Dropped
from adapters.responses.wire import (
    File,
    ImageUrl,
    Message,
    Part,
    ToolCall,
    signature_of,
)
from adapters.values import BRACE, QUOTE, first, joined

Item = dict[str, Any]
Placed = tuple[int | None, Item | Raw]
"""An item of an assistant's turn, and how many of the turn's calls come before it (None: nobody says)."""

_IMAGE = Reader(msgspec.json.Decoder(ImageUrl).decode, ImageUrl)

_ERROR = Raw(b'"Error:"')
_LINE = b"\\n"
_PDF = b'"data:application/pdf;'
_FILE_NAME = "document.pdf"
"""What a file is called whose data came without a name, which OpenAI insists on."""


class Conversation(turns.Conversation[Message]):
    """What a list of chat messages comes to. `instructions` is the first of them, where it is a system's plain text."""

    __slots__ = ("_custom", "_phase", "_turn", "instructions", "items")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.instructions: Raw | None = None
        self.items: list[Item | Raw] = []
        self._custom: set[str] = set()
        self._function_id = None
        self._phase = NULL
        self._turn: list[Placed] = []

    # -- what users and systems say

    def _user(self, message: Message, index: int) -> None:
        content = message.content
        if content == NULL:
            raise no_content(message, index)
        if message.role == "system" and index == 0 and first(content) == QUOTE and content != EMPTY_STRING:
            self.instructions = content
            return
        said = content if first(content) == QUOTE else self._parts(content, f"messages[{index}].content")
        self.items.append({"type": "message", "role": message.role, "content": said or EMPTY_STRING})

    _system = _user

    def _parts(self, content: Raw, path: str) -> list[Item]:
        made = []
        for number, part in enumerate(_READER.read(content, self.dropped, path)):
            at = f"{path}[{number}]"
            make = _PARTS.get(part.type)
            if make is None:
                raise InvalidRequest(f"Responses take no parts of type `{part.type[:40]}`.", f"{at}.type")
            made.append(make(part, at, self.dropped))
            _BELONGS.heed(part, part.type, self.dropped, at)
            if part.prompt_cache_breakpoint != NULL:
                made[-1]["prompt_cache_breakpoint"] = part.prompt_cache_breakpoint
            if part.cache_control != NULL:
                self.dropped.add("cache_control")
        return made

    # -- what the model said

    def _assistant(self, message: Message, index: int) -> None:
        calls = self._calls(message, index)
        if message.audio != NULL:
            self.dropped.add("messages[].audio")
        self._turn, self._phase = [], NULL
        if message.content_blocks != NULL:
            self._tell_blocks(message.content_blocks, f"messages[{index}].content_blocks")
        if message.content_blocks == NULL or not has_text(message):
            # The blocks of an answer hold its text too; who kept only the thinking still sends it in `content`.
            self._tell_content(message, f"messages[{index}].content")
        else:
            said_otherwise(message, self.dropped)
        refusal = refused_as_well(message)
        if refusal:
            self._say(refusal)
        placed = 0
        for after, item in self._turn:
            while after is not None and placed < min(after, len(calls)):
                self.items.append(calls[placed])
                placed += 1
            self.items.append(item)
        self.items += calls[placed:]

    def _tell_content(self, message: Message, path: str) -> None:
        content = message.content
        if first(content) == QUOTE:
            if content != EMPTY_STRING:
                self._say(content)
        elif content != NULL:
            self._tell_blocks(content, path)

    def _tell_blocks(self, raw: Raw, path: str) -> None:
        for number, block in enumerate(_READER.read(raw, self.dropped, path)):
            at = f"{path}[{number}]"
            _BELONGS.heed(block, block.type, self.dropped, at)
            tell = _BLOCKS.get(block.type)
            if tell is None:
                self.dropped.add(f"messages[].content_blocks[].{block.type[:40]}")
            else:
                tell(self, block, at)
            if block.cache_control != NULL:
                self.dropped.add("cache_control")
            if block.prompt_cache_breakpoint != NULL:
                # Responses have them on what goes in alone.
                self.dropped.add("messages[].content[].prompt_cache_breakpoint")

    def _text(self, block: Part, path: str) -> None:
        text = block.refusal if block.type == "refusal" else block.text
        if first(text) != QUOTE:
            raise InvalidRequest(f"A {block.type} part needs `{block.type}`.", f"{path}.{block.type}")
        self.dropped.cited(block.citations)
        if text != EMPTY_STRING:
            self._say(text, self._phase if block.phase == NULL else block.phase)

    def _say(self, text: Raw, phase: Raw = NULL) -> None:
        part = {"type": "output_text", "text": text}
        last = self._turn[-1][1] if self._turn else None
        if isinstance(last, dict) and last["type"] == "message" and last.get("phase", NULL) == phase:
            last["content"].append(part)
            return
        item: Item = {"type": "message", "role": "assistant", "content": [part]}
        if phase != NULL:
            item["phase"] = phase
        self._turn.append((None, item))

    def _thinking(self, block: Part, path: str) -> None:
        signature = signature_of(block.signature)
        if signature is None:
            # Another maker's, or what OpenAI showed of a thought that nobody asked it to hand over.
            self.dropped.add("messages[].content_blocks[].thinking")
            return
        shown = first(block.thinking) == QUOTE and block.thinking != EMPTY_STRING
        summary = [{"type": "summary_text", "text": block.thinking}] if shown else []
        item: Item = {"type": "reasoning", "summary": summary, "encrypted_content": signature.encrypted}
        if signature.id:
            item["id"] = signature.id
        self._turn.append((signature.after, item))

    def _own(self, block: Part, path: str) -> None:
        if block.phase != NULL:
            self._phase = block.phase
        if first(block.item) == BRACE:
            self._turn.append((max(0, block.after), block.item))

    def _calls(self, message: Message, index: int) -> list[Item]:
        calls = message.tool_calls or ()
        called = self._called(message, calls, index)
        if called is not None and self._function_id is not None:
            self.dropped.signed(called.thought_signature)
            return [_function_call(self._function_id, called)]
        return [self._call(call, f"messages[{index}].tool_calls[{number}]") for number, call in enumerate(calls)]

    def _call(self, call: ToolCall, path: str) -> Item:
        if call.cache_control != NULL:
            self.dropped.add("cache_control")
        if call.custom is not None:
            self._custom.add(call.id)
            if call.function is not None:
                self.dropped.add("messages[].tool_calls[].function")
            named = {"name": call.custom.name, "input": call.custom.input}
            return {"type": "custom_tool_call", "call_id": call.id, **named}
        if call.function is None:
            raise InvalidRequest("A tool call needs `function`.", f"{path}.function")
        self.dropped.signed(call.function.thought_signature)
        return _function_call(call.id, call.function)

    # -- results

    def _result(self, call_id: str, message: Message, index: int) -> None:
        content = message.content
        told: Raw | list[Item]
        if content == NULL or first(content) == QUOTE:
            told = EMPTY_STRING if content == NULL else content
            if message.is_error:
                # There is no flag for it, and the model must not take a failure for a result.
                told = _ERROR if told == EMPTY_STRING else joined([_ERROR, told], _LINE)
        else:
            told = self._parts(content, f"messages[{index}].content")
            if message.is_error:
                told.insert(0, {"type": "input_text", "text": _ERROR})
            if len(told) == 1 and told[0].keys() == {"type", "text"}:
                # Compatible servers take text as a string only.
                told = told[0]["text"]
        kind = "custom_tool_call_output" if call_id in self._custom else "function_call_output"
        self.items.append({"type": kind, "call_id": call_id, "output": told or EMPTY_STRING})


MESSAGES = Messages(Message, Conversation)

_BLOCKS: Mapping[str, Callable[[Conversation, Part, str], None]] = {
    "text": Conversation._text,
    "refusal": Conversation._text,
    "thinking": Conversation._thinking,
    OPENAI_ITEM: Conversation._own,
}
"""The parts and blocks of an assistant's message; all others are dropped by name."""


def _function_call(call_id: str, function: FunctionCall) -> Item:
    arguments = function.arguments or ""
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": function.name,
        "arguments": arguments if arguments and not arguments.isspace() else "{}",
    }


def _input_text(part: Part, path: str, dropped: Dropped) -> Item:
    text = part.refusal if part.type == "refusal" else part.text
    if first(text) != QUOTE:
        raise InvalidRequest(f"A {part.type} part needs `{part.type}`.", f"{path}.{part.type}")
    dropped.phase(part.phase, "messages[].content[].phase")
    dropped.cited(part.citations)
    return {"type": "input_text", "text": text}


def _input_image(part: Part, path: str, dropped: Dropped) -> Item:
    given = part.image_url
    if given == NULL:
        raise InvalidRequest("An image_url part needs `image_url`.", f"{path}.image_url")
    image = ImageUrl(given) if first(given) == QUOTE else _IMAGE.read(given, dropped, f"{path}.image_url")
    if first(image.url) != QUOTE:
        raise InvalidRequest("Expected `str`.", f"{path}.image_url.url")
    if memoryview(image.url)[: len(_PDF)] == _PDF:
        return {"type": "input_file", "filename": _FILE_NAME, "file_data": image.url}
    return {"type": "input_image", "image_url": image.url, "detail": "auto" if image.detail == NULL else image.detail}


def _input_file(part: Part, path: str, dropped: Dropped) -> Item:
    file = part.file
    if file is None:
        raise InvalidRequest("A file part needs `file`.", f"{path}.file")
    made: Item = {"type": "input_file"}
    one_source(file, dropped, ("file_data", "file_url", "file_id"))
    if file.file_data is not None:
        made["filename"] = file.filename or _FILE_NAME
        made["file_data"] = _as_url(file.file_data, file)
        return made
    if file.filename:
        # OpenAI takes one beside data alone.
        dropped.add("messages[].content[].file.filename")
    if file.mime_type not in (None, "application/pdf"):
        dropped.add("messages[].content[].file.mime_type")
    if first(file.file_url) == QUOTE:
        made["file_url"] = file.file_url
    elif first(file.file_id) == QUOTE:
        made["file_id"] = file.file_id
    else:
        raise InvalidRequest("A file part needs `file_data`, `file_url` or `file_id`.", f"{path}.file")
    return made


def _as_url(data: str, file: File) -> str:
    if data[:5] == "data:" and file.mime_type is None:
        return data
    return f"data:{file.mime_type or 'application/pdf'};base64,{data.rpartition(',')[2]}"


def _audio(part: Part, path: str, dropped: Dropped) -> Item:
    raise InvalidRequest("Responses take no audio: ask a model that is served by chat.", f"{path}.type")


_PARTS: Mapping[str, Callable[[Part, str, Dropped], Item]] = {
    "text": _input_text,
    "refusal": _input_text,
    "image_url": _input_image,
    "file": _input_file,
    "input_audio": _audio,
}

_READ = {*_PARTS, *_BLOCKS}
_READER = Reader(msgspec.json.Decoder(list[Part]).decode, Part, _READ)
_BELONGS = Belongs(Part, {kind: FIELDS[kind] for kind in _READ})
