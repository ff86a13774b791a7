"""Chat messages → Anthropic's system prompt and turns.

System and developer messages become system blocks, in order, wherever they stood. Neighbours of one role become one
turn: Anthropic wants the results of parallel tool calls in a single user turn, and users and models to alternate.
A plain string stays the JSON text it came in; nothing of it is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic import parts
from adapters.anthropic.parts import Block
from adapters.anthropic.wire import Message, Turn, Typed
from adapters.chat import turns
from adapters.chat.parts import refused_as_well, said_otherwise
from adapters.chat.request import input_of
from adapters.chat.turns import Messages, no_content
from adapters.chat.wire import EMPTY_STRING, NULL, FunctionCall
from adapters.reading import Dropped
from adapters.values import QUOTE, first, is_blank

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_types = msgspec.json.Decoder(list[Typed]).decode

_THINKING = ("thinking", "redacted_thinking")
_THOUGHT = Raw(b'"thinking"')
_UNMARKED = (_THOUGHT, Raw(b'"redacted_thinking"'))
"""Blocks that Anthropic refuses a mark of caching on, as they stand in JSON."""

_clean_id = re.compile(r"[^a-zA-Z0-9_-]").sub
"""Anthropic refuses ids with other characters, which other providers' tool calls in a history may have."""


class Conversation(turns.Conversation[Message]):
    """What a list of chat messages comes to.

    `thoughtless` is true when the last assistant turn calls tools and does not begin with its thinking: Anthropic then
    refuses a request that turns thinking on.
    """

    __slots__ = ("system", "thoughtless", "turns")

    blocks = staticmethod(parts.blocks)
    """Content parts → blocks; a dialect around Anthropic's blocks has its own."""

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.system: list[Block] = []
        self.turns: list[Turn] = []
        self.thoughtless = False
        self._function_id = None

    def _add(self, role: str, content: Raw | list[Block]) -> None:
        turns = self.turns
        if not turns or turns[-1].role != role:
            turns.append(Turn(role, content))
            return
        last = turns[-1]
        if not isinstance(last.content, list):
            last.content = _as_blocks(last.content)
        last.content += content if isinstance(content, list) else _as_blocks(content)

    def _content(self, message: Message, index: int) -> list[Block]:
        """The blocks of a message's content, be it a string, an array or null."""
        content = message.content
        if content == NULL or is_blank(content):
            return []
        if first(content) == QUOTE:
            return [parts.text(content)]
        return self.blocks(content, f"messages[{index}].content", self.dropped)

    def _marked(self, blocks: list[Block], mark: Raw) -> list[Block]:
        """The blocks of a message with its own mark of caching, which the last of them bears."""
        if mark == NULL:
            return blocks
        last: Mapping[str, Any] = {}
        if blocks:
            last = blocks[-1] if isinstance(blocks[-1], dict) else _decode_fields(blocks[-1])
        if last.get("type", _THOUGHT) in _UNMARKED or last.get("cache_control", NULL) not in (NULL, mark):
            self.dropped.add("messages[].cache_control")
            return blocks
        return [*blocks[:-1], {**last, "cache_control": mark}]

    def _system(self, message: Message, index: int) -> None:
        if message.content == NULL:
            raise no_content(message, index)
        self.system += self._marked(self._content(message, index), message.cache_control)

    def _user(self, message: Message, index: int) -> None:
        content = message.content
        if message.cache_control == NULL and first(content) == QUOTE:
            self._add("user", content)
            return
        if message.content == NULL:
            raise no_content(message, index)
        self._add("user", self._marked(self._content(message, index), message.cache_control) or EMPTY_STRING)

    def _assistant(self, message: Message, index: int) -> None:
        calls = self._calls(message, index)
        self.thoughtless = False
        if message.audio != NULL:
            self.dropped.add("messages[].audio")
        if not calls and _is_plain(message):
            self._add("assistant", message.content)
            return
        blocks = self._said(message, index)
        if calls:
            self.thoughtless = not _begins_with_thought(message)
            blocks += calls
        blocks = self._marked(blocks, message.cache_control)
        if blocks:
            self._add("assistant", blocks)

    def _said(self, message: Message, index: int) -> list[Block]:
        if message.content_blocks == NULL:
            blocks = self._content(message, index)
        else:
            path = f"messages[{index}].content_blocks"
            blocks = self.blocks(message.content_blocks, path, self.dropped)
            # The blocks of an answer hold its text too; who kept only the thinking still sends it in `content`.
            if any(each.type == "text" for each in _decode_types(message.content_blocks)):
                said_otherwise(message, self.dropped)
            else:
                blocks += self._content(message, index)
        refusal = refused_as_well(message)
        return [*blocks, parts.text(refusal)] if refusal else blocks

    def _calls(self, message: Message, index: int) -> list[Block]:
        calls = message.tool_calls or ()
        called = self._called(message, calls, index)
        if called is not None and self._function_id is not None:
            self.dropped.signed(called.thought_signature)
            return [_tool_use(self._function_id, called, NULL, f"messages[{index}].function_call")]
        for call in calls:
            self.dropped.signed(call.function.thought_signature)
        return [
            _tool_use(call.id, call.function, call.cache_control, f"messages[{index}].tool_calls[{number}].function")
            for number, call in enumerate(calls)
        ]

    def _result(self, call_id: str, message: Message, index: int) -> None:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _clean_id("_", call_id)}
        content = message.content
        if first(content) == QUOTE:
            if not is_blank(content):
                block["content"] = content
        elif content != NULL:
            block["content"] = self.blocks(content, f"messages[{index}].content", self.dropped)
        if message.is_error:
            block["is_error"] = True
        self._add("user", [parts.cached(block, message.cache_control)])


MESSAGES = Messages(Message, Conversation, cached=True)


def _as_blocks(content: Raw) -> list[Block]:
    return [] if content == EMPTY_STRING else [parts.text(content)]


def _is_plain(message: Message) -> bool:
    """Whether the message is a text and nothing else. Anthropic refuses one without a word in it."""
    content = message.content
    if message.content_blocks != NULL or message.cache_control != NULL or is_blank(content):
        return False
    return first(content) == QUOTE and message.refusal == NULL


def _begins_with_thought(message: Message) -> bool:
    blocks = message.content_blocks if message.content_blocks != NULL else message.content
    if blocks == NULL or first(blocks) == QUOTE:
        return False
    types = _decode_types(blocks)
    return bool(types) and types[0].type in _THINKING


def _tool_use(call_id: str, function: FunctionCall, cache_control: Raw, path: str) -> Block:
    block: dict[str, Any] = {"type": "tool_use", "id": _clean_id("_", call_id), "name": function.name}
    block["input"] = input_of(function.arguments, path)
    return parts.cached(block, cache_control)
