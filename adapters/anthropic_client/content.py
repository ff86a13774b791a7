"""Messages and their content blocks → chat messages.

A user message of blocks becomes the answers to tool calls first, then one message with all the rest in its order. Text
and image data move as the JSON they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic_client.wire import (
    Assistant,
    Block,
    ChatMessage,
    File,
    FilePart,
    FunctionCall,
    ImagePart,
    Message,
    Part,
    Source,
    Text,
    TextPart,
    ToolCall,
    ToolText,
    Url,
)
from adapters.errors import InvalidRequest
from adapters.known import Reader
from adapters.packing import CALL_SIGNATURE, read_head, unpack
from adapters.reading import Dropped, missing, read, string, under
from adapters.reasoning import opened
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_MESSAGES = Reader(msgspec.json.Decoder(list[Message]).decode, Message)
_raws = msgspec.json.Decoder(list[Raw]).decode
_SOURCE = Reader(msgspec.json.Decoder(Source).decode, Source)

_CONTENT = "messages[].content"
_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_ERROR = Raw(b'"Error:"')
_LINE = b"\\n"
_DIRECT = b'"direct"'
_DISABLED = Raw(b'{"enabled":false}')
_OF_ASSISTANTS = frozenset(("tool_use", "thinking", "redacted_thinking"))


def chat_messages(value: Raw, dropped: Dropped) -> list[ChatMessage]:
    """Translates `messages`. Raises InvalidRequest with the path below it."""
    messages: list[ChatMessage] = []
    for at, message in enumerate(_MESSAGES.read(value, dropped, name="messages")):
        translate = _ROLES.get(message.role)
        if translate is None:
            raise InvalidRequest(f"`{message.role}` is not a role.", f"[{at}].role")
        content = message.content
        if first(content) not in (QUOTE, BRACKET):
            raise InvalidRequest("Expected a string or a list of content blocks.", f"[{at}].content")
        try:
            messages.extend(translate(content, dropped))
        except InvalidRequest as error:
            raise under(f"[{at}].content", error) from error
    return messages


def system_text(content: Raw, dropped: Dropped) -> Raw | list[Part]:
    """A system prompt as one JSON string, its blocks joined by line ends; as parts where marks of caching survive."""
    if first(content) == QUOTE:
        return content
    if first(content) != BRACKET:
        raise InvalidRequest("Expected a string or a list of text blocks.")
    parts: list[TextPart] = []
    for at, block in enumerate(_BLOCKS.read(content, dropped, name="system")):
        if block.type != "text":
            raise InvalidRequest("System prompts hold text blocks only.", f"[{at}].type")
        parts.append(TextPart(string(block.text, f"[{at}].text"), _mark(block, dropped)))
        if first(block.citations) == BRACKET:
            dropped.add("system[].citations")
    if any(part.cache_control for part in parts):
        return [*parts]
    return joined([part.text for part in parts], _LINE)


def _mark(block: Block, dropped: Dropped) -> Raw:
    """The block's `cache_control`, if it can go on."""
    mark = block.cache_control
    if not mark or first(mark) == NULL:
        return ABSENT
    if not dropped.blocks:
        dropped.add("cache_control")
        return ABSENT
    return mark


class _Turn:
    """What one user message becomes."""

    __slots__ = ("dropped", "parts", "results", "shown")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.results: list[ToolText] = []
        self.shown: list[Part] = []
        """Images and files out of tool results, for OpenAI's tool messages hold text only."""
        self.parts: list[Part] = []


def _text(turn: _Turn, block: Block) -> None:
    if block.citations:
        turn.dropped.add("messages[].content[].citations")
    turn.parts.append(TextPart(string(block.text, "text")))


def _name_set(block: Block, dropped: Dropped) -> None:
    """Names the toolset that a call or a result belongs to, which only Anthropic's own tools have."""
    if first(block.toolset_name) == QUOTE:
        dropped.add("messages[].content[].toolset_name")


def _image(turn: _Turn, block: Block) -> None:
    if first(block.transformations) == BRACE:
        turn.dropped.add("messages[].content[].transformations")
    source = _source_of(block, turn.dropped)
    if source.type == "url":
        url = string(source.url, "source.url")
    elif source.type == "base64":
        url = _data_url(source)
    else:
        raise _foreign(source)
    turn.parts.append(ImagePart(Url(url)))


def _cite(turn: _Turn, block: Block) -> None:
    """Names the wish that the model cites this source."""
    if first(block.citations) != NULL and block.citations != _DISABLED:
        turn.dropped.add("messages[].content[].citations")


def _document(turn: _Turn, block: Block) -> None:
    _cite(turn, block)
    source = _source_of(block, turn.dropped)
    read_source = _DOCUMENTS.get(source.type)
    if read_source is None:
        raise _foreign(source)
    read_source(turn, block, source)


def _file(turn: _Turn, block: Block, source: Source) -> None:
    # The title is the file's name; the context has only the text before the file to stand in.
    _describe(turn, block.context)
    if source.type == "url":
        file = File(block.title, file_url=string(source.url, "source.url"))
    else:
        # OpenAI wants a name.
        file = File(block.title or (None if turn.dropped.blocks else "document.pdf"), file_data=_data_url(source))
    turn.parts.append(FilePart(file))


def _plain(turn: _Turn, block: Block, source: Source) -> None:
    _describe(turn, block.title, block.context)
    turn.parts.append(TextPart(string(source.data, "source.data")))


def _composed(turn: _Turn, block: Block, source: Source) -> None:
    _describe(turn, block.title, block.context)
    _nested(turn, source.content, "source.content")


_DOCUMENTS: Mapping[str, Callable[[_Turn, Block, Source], None]] = {
    "base64": _file,
    "url": _file,
    "text": _plain,
    "content": _composed,
}


def _search_result(turn: _Turn, block: Block) -> None:
    _cite(turn, block)
    if first(block.source) == QUOTE:
        _describe(turn, block.title, read(_str, block.source))
    else:
        _describe(turn, block.title)
    _nested(turn, block.content, "content")


def _tool_reference(turn: _Turn, block: Block) -> None:
    """A tool that a search found. Elsewhere models have every tool from the first: its name is all to say."""
    if not block.tool_name:
        raise missing("tool_name")
    turn.parts.append(TextPart(_json(block.tool_name)))


def _describe(turn: _Turn, *words: str | None) -> None:
    known = [each for each in words if each]
    if known:
        turn.parts.append(TextPart(_json("\n".join(known))))


def _tool_result(turn: _Turn, block: Block) -> None:
    _name_set(block, turn.dropped)
    if not block.tool_use_id:
        raise missing("tool_use_id")
    inner = _Turn(turn.dropped)
    _nested(inner, block.content, "content")
    texts = [part.text for part in inner.parts if type(part) is TextPart]
    if turn.dropped.blocks:
        bare = len(texts) == len(inner.parts) and not any(part.cache_control for part in inner.parts)
        content = joined(texts, _LINE) if bare else inner.parts
        turn.results.append(ToolText(block.tool_use_id, content, block.is_error or None, _mark(block, turn.dropped)))
        return
    if block.is_error:
        # OpenAI has no flag for it, and the model must not take a failure for a result.
        texts.insert(0, _ERROR)
    turn.results.append(ToolText(block.tool_use_id, joined(texts, _LINE)))
    if len(texts) - bool(block.is_error) < len(inner.parts):
        # With several results in a turn the model could not tell whose image it sees.
        turn.shown.append(TextPart(_json(f"Content of tool result {block.tool_use_id}:")))
        turn.shown.extend(part for part in inner.parts if type(part) is not TextPart)


def _nested(turn: _Turn, content: Raw, path: str) -> None:
    """The content of a document, a search result or a tool result: a string, blocks, or nothing."""
    if first(content) == NULL:
        return
    if first(content) == QUOTE:
        turn.parts.append(TextPart(content))
        return
    try:
        for at, block in enumerate(_BLOCKS.read(content, turn.dropped, name="messages[].content[].content")):
            if block.type == "tool_result":
                raise InvalidRequest("Tool results cannot be nested.", f"[{at}].type")
            _apply(turn, block, at)
    except InvalidRequest as error:
        raise under(path, error) from error


def _source_of(block: Block, dropped: Dropped) -> Source:
    if not block.source:
        raise missing("source")
    try:
        return _SOURCE.read(block.source, dropped, name=f"{_CONTENT}[].source")
    except InvalidRequest as error:
        raise under("source", error) from error


def _foreign(source: Source) -> InvalidRequest:
    return InvalidRequest(f"A source of type `{source.type}` cannot reach this model's provider.", "source.type")


def _data_url(source: Source) -> Raw:
    data = memoryview(string(source.data, "source.data"))[1:]
    return Raw(b"".join((b'"data:', _encode(source.media_type)[1:-1], b";base64,", data)))


def _json(text: str) -> Raw:
    return Raw(_encode(text))


_USER: Mapping[str, Callable[[_Turn, Block], None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
    "tool_result": _tool_result,
}
"""The blocks of user messages; each reader adds to the turn what OpenAI calls them."""
_BLOCKS = Reader(msgspec.json.Decoder(list[Block]).decode, Block, {*_USER, *_OF_ASSISTANTS, "compaction"})


def _apply(turn: _Turn, block: Block, at: int) -> None:
    reader = _USER.get(block.type)
    if reader is None:
        if block.type in _OF_ASSISTANTS:
            raise InvalidRequest(f"`{block.type}` blocks belong in assistant messages.", f"[{at}].type")
        turn.dropped.add(f"messages[].content[].{block.type}")
        return
    try:
        reader(turn, block)
    except InvalidRequest as error:
        raise under(f"[{at}]", error) from error
    mark = ABSENT if block.type == "tool_result" and turn.dropped.blocks else _mark(block, turn.dropped)
    if mark and turn.parts:
        turn.parts[-1].cache_control = mark


def _user(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    if first(content) == QUOTE:
        return [Text("user", content)]
    turn = _Turn(dropped)
    for at, block in enumerate(_BLOCKS.read(content, dropped, name=_CONTENT)):
        _apply(turn, block, at)
    messages: list[ChatMessage] = [*turn.results]
    parts = turn.shown + turn.parts
    if len(parts) == 1 and type(parts[0]) is TextPart and not parts[0].cache_control:
        # Many compatible providers take text as a string only.
        messages.append(Text("user", parts[0].text))
    elif parts:
        messages.append(Text("user", parts))
    return messages or [Text("user", _EMPTY)]


class _Said:
    """What one assistant message becomes. `blocks` are those that OpenAI has no word for, with the texts among them."""

    __slots__ = ("blocks", "calls", "details", "foreign", "signatures", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[Raw] = []
        self.thoughts: list[Raw] = []
        self.details: list[dict[str, Any]] = []
        self.calls: list[ToolCall] = []
        self.blocks: list[Raw] = []
        self.foreign = False
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


def _assistant(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    if first(content) == QUOTE:
        return [Assistant(content)]
    said = _Said()
    raws = _raws(content) if dropped.blocks else ()
    for at, block in enumerate(_BLOCKS.read(content, dropped, name=_CONTENT)):
        if block.type == "text":
            _assistant_text(said, block, raws[at] if raws else None, dropped, at)
        elif block.type == "compaction" and first(block.content) == QUOTE:
            # A summary of the conversation so far, which the model would otherwise not know.
            said.texts.append(block.content)
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
        elif block.type in _USER:
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
    said.texts.append(text)
    if raw is not None:
        said.blocks.append(raw)
        # Caching and sources stand in the block alone.
        said.foreign = said.foreign or bool(block.cache_control) or first(block.citations) == BRACKET
        return
    _mark(block, dropped)
    if block.citations:
        dropped.add("messages[].content[].citations")


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
    _name_set(block, dropped)
    if first(block.caller) == BRACE and _DIRECT not in bytes(block.caller):
        dropped.add("messages[].content[].caller")
    arguments = bytes(block.input).decode() if kind == BRACE else "{}"
    return ToolCall(block.id, FunctionCall(block.name, arguments), _mark(block, dropped))


def _system(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    return [Text("system", system_text(content, dropped))]


_ROLES: Mapping[str, Callable[[Raw, Dropped], list[ChatMessage]]] = {
    "user": _user,
    "assistant": _assistant,
    "system": _system,
}
