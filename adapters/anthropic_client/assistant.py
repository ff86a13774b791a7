"""An assistant's blocks → its chat message.

Texts and calls stand in the message itself; blocks that OpenAI has no word for stay as they came, with the texts among
them, for whoever takes such.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic_client.blocks import CONTENT, OF_USERS, blocks_of, mark_of, name_set, name_sources
from adapters.anthropic_client.wire import Assistant, Block, ChatMessage, FunctionCall, TextPart, ToolCall
from adapters.errors import InvalidRequest
from adapters.packing import CALL_SIGNATURE, read_head, unpack
from adapters.reading import Dropped, missing, read, string
from adapters.reasoning import opened
from adapters.values import BLANK_LINE, BRACE, BRACKET, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode

_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_DIRECT = {"type": Raw(b'"direct"')}


class _Said:
    """What one assistant message becomes. `blocks` are those that OpenAI has no word for, with the texts among them."""

    __slots__ = ("blocks", "calls", "details", "foreign", "gap", "signatures", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[Raw] = []
        self.thoughts: list[Raw] = []
        self.details: list[dict[str, Any]] = []
        self.calls: list[ToolCall] = []
        self.blocks: list[Raw] = []
        self.foreign = self.gap = False
        """`gap`: something else stands behind the last text."""
        self.signatures: dict[str, str] = {}

    def message(self, dropped: Dropped) -> Assistant:
        for call in self.calls:
            call.function.thought_signature = self.signatures.get(call.id)
        content = joined(self.texts) if self.texts else _NULL if self.calls or self.foreign else _EMPTY
        made = Assistant(content, self.calls or None, self.blocks if self.foreign else None)
        thought = dropped.thought(self.thoughts, bool(self.calls))
        if self.details:
            made.reasoning_details = self.details
        elif thought:
            setattr(made, dropped.thoughts, thought)
        return made


def assistant(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    if first(content) == QUOTE:
        return [Assistant(content)]
    said = _Said()
    raws = _raws(content) if dropped.blocks else ()
    for at, block in enumerate(blocks_of(content, dropped, CONTENT)):
        if block.type != "text":
            said.gap = bool(said.texts)
        if block.type == "text":
            _assistant_text(said, block, raws[at] if raws else None, dropped, at)
        elif block.type == "compaction" and first(block.content) == QUOTE:
            # A summary of the conversation so far, which the model would otherwise not know.
            said.texts.append(block.content)
            mark = mark_of(block, dropped)
            if raws:
                said.blocks.append(Raw(_encode(TextPart(block.content, mark))))
                said.foreign = said.foreign or bool(mark)
        elif block.type == "tool_use":
            said.calls.append(_tool_call(block, dropped, at))
        elif block.type == "thinking" and dropped.thoughts:
            said.thoughts.append(string(block.thinking, f"[{at}].thinking"))
            signature = read(_str, block.signature) if first(block.signature) == QUOTE else ""
            details = opened(signature, read(_str, block.thinking)) if dropped.details else []
            said.details += details
            if signature and not details:
                # The text of a thought is all that such a model takes back.
                dropped.add("messages[].content[].signature")
        elif block.type in OF_USERS:
            raise InvalidRequest(f"`{block.type}` blocks belong in user messages.", f"[{at}].type")
        elif not (dropped.blocks and _unpacked(said, block)):
            if raws:
                said.blocks.append(raws[at])
                said.foreign = True
            else:
                # Thinking is signed for its maker alone; the rest are calls that only its servers could run.
                kind = "thinking" if block.type == "redacted_thinking" else block.type
                dropped.add(f"messages[].content[].{kind}")
    return [said.message(dropped)]


def _assistant_text(said: _Said, block: Block, raw: Raw | None, dropped: Dropped, at: int) -> None:
    text = string(block.text, f"[{at}].text")
    if said.gap:
        said.gap = False
        said.texts.append(BLANK_LINE)
    said.texts.append(text)
    if raw is not None:
        said.blocks.append(raw)
        # Caching and sources stand in the block alone.
        said.foreign = said.foreign or bool(block.cache_control) or first(block.citations) == BRACKET
        return
    mark_of(block, dropped)
    name_sources(block, dropped)


def _unpacked(said: _Said, block: Block) -> bool:
    """Takes what this gateway itself put into a block of redacted thinking."""
    packed = None
    if block.type == "redacted_thinking" and first(block.data) == QUOTE:
        packed = unpack(read(_str, block.data))
    for each in packed or ():
        head = read_head(each)
        if head.type == CALL_SIGNATURE:
            said.signatures[head.call_id] = head.signature
        else:
            said.blocks.append(each)
            said.foreign = True
    return packed is not None


def _tool_call(block: Block, dropped: Dropped, at: int) -> ToolCall:
    for name, value in (("id", block.id), ("name", block.name)):
        if not value:
            raise missing(name, f"[{at}].{name}")
    kind = first(block.input)
    if kind not in (BRACE, NULL):
        raise InvalidRequest("Expected `object`.", f"[{at}].input")
    name_set(block, dropped)
    if first(block.caller) == BRACE and _object(block.caller) != _DIRECT:
        dropped.add("messages[].content[].caller")
    arguments = bytes(block.input).decode() if kind == BRACE else "{}"
    return ToolCall(block.id, FunctionCall(dropped.tool(block.name), arguments), mark_of(block, dropped))
