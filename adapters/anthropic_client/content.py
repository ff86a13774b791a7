"""Messages and their content blocks → chat messages.

A user message of blocks becomes the answers to tool calls first, then one message with all the rest in its order. Text
and image data move as the JSON they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters.anthropic_client.assistant import assistant
from adapters.anthropic_client.blocks import (
    CONTENT,
    OF_ASSISTANTS,
    blocks_of,
    mark_of,
    name_set,
    name_sources,
    source_of,
)
from adapters.anthropic_client.wire import (
    Block,
    ChatMessage,
    File,
    FilePart,
    ImagePart,
    Message,
    Part,
    Source,
    Text,
    TextPart,
    ToolText,
    Url,
)
from adapters.errors import InvalidRequest
from adapters.known import Reader
from adapters.reading import Dropped, missing, read, string, under
from adapters.values import ABSENT, BRACE, BRACKET, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_MESSAGES = Reader(msgspec.json.Decoder(list[Message]).decode, Message)

_EMPTY = Raw(b'""')
_ERROR = Raw(b'"Error:"')
_LINE = b"\\n"
_DISABLED = Raw(b'{"enabled":false}')


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
    for at, block in enumerate(blocks_of(content, dropped, "system")):
        if block.type != "text":
            raise InvalidRequest("System prompts hold text blocks only.", f"[{at}].type")
        parts.append(TextPart(string(block.text, f"[{at}].text"), mark_of(block, dropped)))
        name_sources(block, dropped, "system[]")
    if any(part.cache_control for part in parts):
        return [*parts]
    return joined([part.text for part in parts], _LINE)


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
    name_sources(block, turn.dropped)
    turn.parts.append(TextPart(string(block.text, "text")))


def _image(turn: _Turn, block: Block) -> None:
    if first(block.transformations) == BRACE:
        turn.dropped.add("messages[].content[].transformations")
    source = source_of(block, turn.dropped)
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
    source = source_of(block, turn.dropped)
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
    name_set(block, turn.dropped)
    if not block.tool_use_id:
        raise missing("tool_use_id")
    inner = _Turn(turn.dropped)
    _nested(inner, block.content, "content")
    texts = [part.text for part in inner.parts if type(part) is TextPart]
    if turn.dropped.blocks:
        bare = len(texts) == len(inner.parts) and not any(part.cache_control for part in inner.parts)
        content = joined(texts, _LINE) if bare else inner.parts
        turn.results.append(ToolText(block.tool_use_id, content, block.is_error or None, mark_of(block, turn.dropped)))
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
        for at, block in enumerate(blocks_of(content, turn.dropped, f"{CONTENT}[].content")):
            if block.type == "tool_result":
                raise InvalidRequest("Tool results cannot be nested.", f"[{at}].type")
            _apply(turn, block, at)
    except InvalidRequest as error:
        raise under(path, error) from error


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


def _apply(turn: _Turn, block: Block, at: int) -> None:
    reader = _USER.get(block.type)
    if reader is None:
        if block.type in OF_ASSISTANTS:
            raise InvalidRequest(f"`{block.type}` blocks belong in assistant messages.", f"[{at}].type")
        turn.dropped.add(f"messages[].content[].{block.type}")
        return
    try:
        reader(turn, block)
    except InvalidRequest as error:
        raise under(f"[{at}]", error) from error
    mark = ABSENT if block.type == "tool_result" and turn.dropped.blocks else mark_of(block, turn.dropped)
    if mark and turn.parts:
        turn.parts[-1].cache_control = mark
    elif mark:
        turn.dropped.add("cache_control")


def _user(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    if first(content) == QUOTE:
        return [Text("user", content)]
    turn = _Turn(dropped)
    for at, block in enumerate(blocks_of(content, dropped, CONTENT)):
        _apply(turn, block, at)
    messages: list[ChatMessage] = [*turn.results]
    parts = turn.shown + turn.parts
    if len(parts) == 1 and type(parts[0]) is TextPart and not parts[0].cache_control:
        # Many compatible providers take text as a string only.
        messages.append(Text("user", parts[0].text))
    elif parts:
        messages.append(Text("user", parts))
    return messages or [Text("user", _EMPTY)]


def _system(content: Raw, dropped: Dropped) -> list[ChatMessage]:
    return [Text("system", system_text(content, dropped))]


_ROLES: Mapping[str, Callable[[Raw, Dropped], list[ChatMessage]]] = {
    "user": _user,
    "assistant": assistant,
    "system": _system,
}
