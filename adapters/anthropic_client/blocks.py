"""Content blocks and what they hold, as clients send them: read, and asked whether their fields belong to them."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters.anthropic_client.wire import Block, Source
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped, missing, under
from adapters.values import ABSENT, NULL, QUOTE, first

CONTENT = "messages[].content"
_HOLDS = f"{CONTENT}[].source"
_NO_SOURCES = Raw(b"[]")
OF_ASSISTANTS = frozenset(("tool_use", "thinking", "redacted_thinking"))
_FIELDS = {
    "text": "text citations cache_control",
    "image": "source transformations cache_control",
    "document": "source title context citations cache_control",
    "search_result": "source title content citations cache_control",
    "tool_reference": "tool_name cache_control",
    "tool_result": "tool_use_id toolset_name content is_error cache_control",
    "tool_use": "id name input caller toolset_name cache_control",
    "thinking": "thinking signature",
    "redacted_thinking": "data",
    "compaction": "content cache_control",
}
"""The fields of each type of block."""
OF_USERS = _FIELDS.keys() - OF_ASSISTANTS - {"compaction"}
_BELONGS = Belongs(Block, _FIELDS)
_HELD = Belongs(Source, {"base64": "media_type data", "text": "media_type data", "url": "url", "content": "content"})
_BLOCKS = Reader(msgspec.json.Decoder(list[Block]).decode, Block, _FIELDS)
_SOURCE = Reader(msgspec.json.Decoder(Source).decode, Source)


def blocks_of(content: Raw, dropped: Dropped, path: str) -> list[Block]:
    """The blocks of a content, once what does not belong in them is named below `path`."""
    blocks = _BLOCKS.read(content, dropped, name=path)
    _BELONGS.heed_all(blocks, dropped, path)
    return blocks


def mark_of(block: Block, dropped: Dropped) -> Raw:
    """The block's `cache_control`, if it can go on."""
    mark = block.cache_control
    if not mark or first(mark) == NULL:
        return ABSENT
    if not dropped.blocks:
        dropped.add("cache_control")
        return ABSENT
    return mark


def name_sources(block: Block, dropped: Dropped, path: str = f"{CONTENT}[]") -> None:
    """Names the sources of a text, where it has some."""
    if block.citations and first(block.citations) != NULL and block.citations != _NO_SOURCES:
        dropped.add(f"{path}.citations")


def name_set(block: Block, dropped: Dropped) -> None:
    """Names the toolset that a call or a result belongs to, which only Anthropic's own tools have."""
    if first(block.toolset_name) == QUOTE:
        dropped.add("messages[].content[].toolset_name")


def source_of(block: Block, dropped: Dropped) -> Source:
    """What an image or a document is made of. Raises InvalidRequest."""
    if not block.source:
        raise missing("source")
    try:
        source = _SOURCE.read(block.source, dropped, name=_HOLDS)
    except InvalidRequest as error:
        raise under("source", error) from error
    _HELD.heed(source, source.type, dropped, _HOLDS)
    return source
