"""Input items → chat messages.

Reasoning, words and tool calls that follow one another are one assistant message. Text and image data move as the JSON
they came in. A function's output may hold images and files: where the upstream follows OpenAI's rules strictly, those
come right after the results, as a message of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from adapters.errors import InvalidRequest
from adapters.known import Reader
from adapters.packing import CALL_SIGNATURE, read_head, unpack
from adapters.reading import Dropped, missing, string, under
from adapters.reasoning import details_of
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode

_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_LINE = b"\\n"
_DIRECT = b'"direct"'
_NOTHING = Raw(b"[]")
_CONTENT = "input[].content"

Message = dict[str, Any]


class Item(Struct, forbid_unknown_fields=True, gc=False):
    """Any input item: the union of the fields that some type of item has."""

    type: str = "message"
    role: str = ""
    content: Raw = ABSENT
    call_id: str = ""
    name: str = ""
    arguments: Raw = ABSENT
    input: Raw = ABSENT
    output: Raw = ABSENT
    encrypted_content: str | None = None
    summary: Raw = ABSENT
    id: str | None = None
    phase: Raw = ABSENT
    namespace: str | None = None
    caller: Raw = ABSENT
    status: Raw = ABSENT
    asynchronous: bool | None = field(default=None, name="async")


class Part(Struct, forbid_unknown_fields=True, gc=False):
    """Any content part, likewise."""

    type: str
    text: Raw = ABSENT
    refusal: Raw = ABSENT
    image_url: Raw = ABSENT
    detail: str | None = None
    file_id: Raw = ABSENT
    file_data: Raw = ABSENT
    file_url: Raw = ABSENT
    filename: Raw = ABSENT
    input_audio: Raw = ABSENT
    annotations: Raw = ABSENT
    logprobs: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


class Conversation:
    """Chat messages in the making. `names` are those of custom tools, whose input is free text."""

    __slots__ = ("_assistant", "_blocks", "_foreign", "_shown", "_signatures", "dropped", "messages")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.messages: list[Message] = []
        self._assistant: Message | None = None
        self._blocks: list[Raw] = []
        self._foreign = False
        self._shown: list[Message] = []
        self._signatures: dict[str, str] = {}

    def add_all(self, value: Raw) -> None:
        """Adds the request's `input`. Raises InvalidRequest with the path below it."""
        if first(value) == QUOTE:
            self.messages.append({"role": "user", "content": value})
            return
        if first(value) != BRACKET:
            raise InvalidRequest("Expected a string or a list of items.")
        for at, item in enumerate(_READER.read(value, self.dropped, name="input")):
            add = _ITEMS.get(item.type)
            try:
                if add is None:
                    self._foreign_item(item)
                else:
                    add(self, item)
            except InvalidRequest as error:
                raise under(f"[{at}]", error) from error
        self._close_assistant()
        self._show()

    def _foreign_item(self, item: Item) -> None:
        # Calls that ran on OpenAI's servers, and what only those can read.
        self.dropped.add(f"input[].{item.type}")

    def _reference(self, item: Item) -> None:
        if (item.id or "").startswith("rs_"):
            # A thought that stays behind leaves the conversation whole; its signature is missed where one is due.
            self.dropped.add("input[].item_reference")
            return
        raise InvalidRequest(
            "This model's provider stores no responses: send the items themselves instead of references, as clients do"
            " when `store` is false.",
            "type",
        )

    def _message(self, item: Item) -> None:
        role = _ROLES.get(item.role)
        if role is None:
            raise InvalidRequest(f"`{item.role[:40]}` is not a role.", "role")
        if first(item.content) not in (QUOTE, BRACKET):
            raise InvalidRequest("Expected a string or a list of content parts.", "content")
        try:
            if role == "assistant":
                self.dropped.phase(item.phase, "input[].phase")
                self._said(item.content)
                return
            content = self._content(item.content)
        except InvalidRequest as error:
            raise under("content", error) from error
        self._close_assistant()
        self._show()
        self.messages.append({"role": role, "content": content})

    def _content(self, content: Raw, name: str = _CONTENT) -> Raw | list[Message]:
        if first(content) == QUOTE:
            return content
        read_parts = _PARTS_READER.read(content, self.dropped, name=name)
        parts = [self._part(part, f"[{at}]") for at, part in enumerate(read_parts)]
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            # Many compatible providers take text as a string only.
            text: Raw = parts[0]["text"]
            return text
        return parts or _EMPTY

    def _part(self, part: Part, path: str) -> Message:
        make = _PARTS.get(part.type)
        if make is None:
            raise InvalidRequest(f"`{part.type[:40]}` is not a content part.", f"{path}.type")
        try:
            made = make(part)
        except InvalidRequest as error:
            raise under(path, error) from error
        if part.type == "input_file" and part.detail not in (None, "auto"):
            self.dropped.add("input[].content[].detail")
        if first(part.prompt_cache_breakpoint) != NULL:
            if self.dropped.blocks:
                made["cache_control"] = {"type": "ephemeral"}
                if b'"ttl"' in bytes(part.prompt_cache_breakpoint):
                    # OpenAI's are other lifetimes than Anthropic's.
                    self.dropped.add("input[].content[].prompt_cache_breakpoint.ttl")
            else:
                self.dropped.add("input[].content[].prompt_cache_breakpoint")
        return made

    def _said(self, content: Raw) -> None:
        assistant = self._open_assistant()
        if first(content) == QUOTE:
            texts = [content]
        else:
            texts = []
            for at, part in enumerate(_PARTS_READER.read(content, self.dropped, name=_CONTENT)):
                value = part.refusal if part.type == "refusal" else part.text
                texts.append(string(value, f"[{at}].{'refusal' if part.type == 'refusal' else 'text'}"))
                if first(part.annotations) == BRACKET and part.annotations != _NOTHING:
                    self.dropped.add("input[].content[].annotations")
        for text in texts:
            assistant["texts"].append(text)
            self._blocks.append(Raw(b'{"type":"text","text":%b}' % text))

    def _reasoning(self, item: Item) -> None:
        packed = unpack(item.encrypted_content) if item.encrypted_content else None
        if self.dropped.thoughts:
            told = item.content if first(item.content) == BRACKET else item.summary
            parts = _PARTS_READER.read(told, self.dropped, name="input[].summary") if first(told) == BRACKET else []
            assistant = self._open_assistant()
            assistant["thoughts"] += [part.text for part in parts if first(part.text) == QUOTE]
            details = details_of(packed or ()) if self.dropped.details else []
            assistant["details"] += details
            if item.encrypted_content and not details and (packed is None or any(map(_is_sealed, packed))):
                self.dropped.add("input[].encrypted_content")
            return
        if packed is None or not self.dropped.blocks:
            if item.encrypted_content:
                # Another maker's, or one that this upstream has no place for.
                self.dropped.add("input[].encrypted_content")
            else:
                for name, told in (("content", item.content), ("summary", item.summary)):
                    if first(told) == BRACKET and told != _NOTHING:
                        self.dropped.add(f"input[].{name}")
            return
        self._open_assistant()
        for block in packed:
            head = read_head(block)
            if head.type == CALL_SIGNATURE:
                self._signatures[head.call_id] = head.signature
            else:
                self._blocks.append(block)
                self._foreign = True

    def _call(self, item: Item) -> None:
        self._add_call(item, string(item.arguments, "arguments"))

    def _custom_call(self, item: Item) -> None:
        arguments = b'{"input":%b}' % string(item.input, "input")
        self._add_call(item, Raw(_encode(arguments.decode())))

    def _add_call(self, item: Item, arguments: Raw) -> None:
        for name in ("call_id", "name"):
            if not getattr(item, name):
                raise missing(name)
        if item.namespace:
            self.dropped.add("input[].namespace")
        if item.asynchronous:
            self.dropped.add("input[].async")
        self._called(item)
        function = {"name": item.name, "arguments": _EMPTY_OBJECT if arguments == _EMPTY else arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        self._open_assistant()["calls"].append(call)

    def _called(self, item: Item) -> None:
        """Names who called, where that was no model but a program that only OpenAI's servers run."""
        if first(item.caller) == BRACE and _DIRECT not in bytes(item.caller):
            self.dropped.add("input[].caller")

    def _output(self, item: Item) -> None:
        if not item.call_id:
            raise missing("call_id")
        self._called(item)
        self._close_assistant()
        message: Message = {"role": "tool", "tool_call_id": item.call_id}
        try:
            content = _EMPTY if first(item.output) == NULL else self._content(item.output, "input[].output")
        except InvalidRequest as error:
            raise under("output", error) from error
        if isinstance(content, list) and not self.dropped.blocks:
            texts = [part["text"] for part in content if part["type"] == "text"]
            others = [part for part in content if part["type"] != "text"]
            content = joined(texts, _LINE)
            if others:
                # With several results in a turn the model could not tell whose image it sees.
                self._shown += [{"type": "text", "text": f"Content of tool result {item.call_id}:"}, *others]
        message["content"] = content
        self.messages.append(message)

    def _open_assistant(self) -> Message:
        if self._assistant is None:
            self._show()
            self._assistant = {"texts": [], "calls": [], "thoughts": [], "details": []}
        return self._assistant

    def _close_assistant(self) -> None:
        assistant, self._assistant = self._assistant, None
        if assistant is None:
            return
        texts, calls = assistant["texts"], assistant["calls"]
        message: Message = {"role": "assistant", "content": joined(texts, _LINE) if texts else _NULL}
        if calls:
            for call in calls:
                if call["id"] in self._signatures:
                    call["function"]["thought_signature"] = self._signatures[call["id"]]
            message["tool_calls"] = calls
        thought = self.dropped.thought(assistant["thoughts"], bool(calls))
        if assistant["details"]:
            message["reasoning_details"] = assistant["details"]
        elif thought:
            message[self.dropped.thoughts] = thought
        if self._foreign:
            message["content_blocks"] = self._blocks
        self._blocks, self._foreign = [], False
        if texts or calls or "content_blocks" in message:
            self.messages.append(message)

    def _show(self) -> None:
        if self._shown:
            self.messages.append({"role": "user", "content": self._shown})
            self._shown = []


def _is_sealed(block: Raw) -> bool:
    """Whether a block that came back packed says more than the text of a thought."""
    head = read_head(block)
    return head.type != "thinking" or bool(head.signature)


_EMPTY_OBJECT = Raw(b'"{}"')
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}

_ITEMS: Mapping[str, Callable[[Conversation, Item], None]] = {
    "message": Conversation._message,
    "reasoning": Conversation._reasoning,
    "function_call": Conversation._call,
    "function_call_output": Conversation._output,
    "custom_tool_call": Conversation._custom_call,
    "custom_tool_call_output": Conversation._output,
    "item_reference": Conversation._reference,
}
"""What is done with each type of item; all others are dropped by name."""


def _text(part: Part) -> Message:
    return {"type": "text", "text": string(part.text, "text")}


def _refused(part: Part) -> Message:
    return {"type": "text", "text": string(part.refusal, "refusal")}


def _image(part: Part) -> Message:
    if first(part.image_url) != QUOTE:
        raise _foreign_file("image_url") if first(part.file_id) == QUOTE else missing("image_url")
    image: Message = {"url": part.image_url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}


def _file(part: Part) -> Message:
    file: Message = {}
    if first(part.file_data) == QUOTE:
        file["file_data"] = part.file_data
    elif first(part.file_url) == QUOTE:
        file["file_url"] = part.file_url
    else:
        raise _foreign_file("file_data") if first(part.file_id) == QUOTE else missing("file_data")
    if first(part.filename) == QUOTE:
        file["filename"] = part.filename
    return {"type": "file", "file": file}


def _audio(part: Part) -> Message:
    if first(part.input_audio) == NULL:
        raise missing("input_audio")
    return {"type": "input_audio", "input_audio": part.input_audio}


def _foreign_file(instead: str) -> InvalidRequest:
    return InvalidRequest(f"A file stored at OpenAI cannot reach this model's provider: send `{instead}`.", "file_id")


_PARTS: Mapping[str, Callable[[Part], Message]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "summary_text": _text,
    "refusal": _refused,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}

_READER = Reader(msgspec.json.Decoder(list[Item]).decode, Item, _ITEMS)
_PARTS_READER = Reader(msgspec.json.Decoder(list[Part]).decode, Part, {*_PARTS, "reasoning_text"})
