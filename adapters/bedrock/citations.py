"""What a text of Converse's rests on, as Anthropic's and OpenAI's clients know sources, and back again.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from adapters.chat.wire import Annotation, UrlCitation


class _Quoted(Struct, gc=False):
    text: str = ""


class _Web(Struct, gc=False):
    url: str = ""


class _Range(Struct, rename="camel", gc=False):
    """Where in which of the request's documents or search results: characters, pages or pieces of it."""

    document_index: int = 0
    search_result_index: int = 0
    start: int = 0
    end: int = 0


class _Location(Struct, rename="camel", gc=False):
    web: _Web | None = None
    document_char: _Range | None = None
    document_page: _Range | None = None
    document_chunk: _Range | None = None
    search_result_location: _Range | None = None


class Given(Struct, forbid_unknown_fields=True, gc=False):
    """A source in a history, as one of Anthropic's text blocks has it: the union of the fields of all types."""

    type: str = ""
    cited_text: str = ""
    url: str | None = None
    title: str | None = None
    source: str | None = None
    document_title: str | None = None
    document_index: int = 0
    search_result_index: int = 0
    start_char_index: int = 0
    end_char_index: int = 0
    start_page_number: int = 0
    end_page_number: int = 0
    start_block_index: int = 0
    end_block_index: int = 0
    encrypted_index: str = ""


class Citation(Struct, rename="camel", gc=False):
    """One source."""

    title: str | None = None
    source: str | None = None
    source_content: list[_Quoted] | None = None
    location: _Location | None = None

    @property
    def url(self) -> str:
        """Its address in the web; empty where it has none."""
        web = None if self.location is None else self.location.web
        if web is not None and web.url:
            return web.url
        source = self.source or ""
        return source if source.startswith(("https://", "http://")) else ""


def annotations_of(citations: Iterable[Citation], start: int, end: int) -> list[Annotation]:
    """The sources of a stretch of text that have an address, as OpenAI cites them."""
    return [Annotation(UrlCitation(each.url, each.title or "", start, end)) for each in citations if each.url]


def told(citation: Citation) -> dict[str, Any]:
    """The source as one of Anthropic's text blocks."""
    quoted = {"cited_text": "".join(each.text for each in citation.source_content or ())}
    at = citation.location
    found = None if at is None else at.search_result_location
    if found is not None:
        return {
            "type": "search_result_location",
            **quoted,
            "source": citation.source or "",
            "title": citation.title,
            "search_result_index": found.search_result_index,
            "start_block_index": found.start,
            "end_block_index": found.end,
        }
    for name, kind, unit in _PLACES:
        place: _Range | None = None if at is None else getattr(at, name)
        if place is not None:
            return {
                "type": kind,
                **quoted,
                "document_index": place.document_index,
                "document_title": citation.title or citation.source,
                f"start_{unit}": place.start,
                f"end_{unit}": place.end,
            }
    # Anthropic's index of a page is for its own servers alone.
    named = {"url": citation.url or citation.source or "", "title": citation.title or citation.source}
    return {"type": "web_search_result_location", **quoted, **named, "encrypted_index": ""}


_PLACES = (
    ("document_char", "char_location", "char_index"),
    ("document_page", "page_location", "page_number"),
    ("document_chunk", "content_block_location", "block_index"),
)
"""Converse's kinds of places in a document, Anthropic's words for each, and for what its two ends count."""


def sent(given: Given, kinds: str) -> dict[str, Any] | None:
    """The source as Converse takes it back in a history; None where its type is not among those that the model gives,
    words of Converse's in `kinds`."""
    made = dict[str, Any]()
    for name, value in (("title", given.title or given.document_title), ("source", given.source)):
        if value:
            made[name] = value
    if given.cited_text:
        made["sourceContent"] = [{"text": given.cited_text}]
    place = _place(given)
    return {**made, "location": place} if place is not None and next(iter(place)) in kinds.split() else None


def _place(given: Given) -> dict[str, Any] | None:
    if given.type == "web_search_result_location":
        return {"web": {"url": given.url or ""}}
    if given.type == "search_result_location":
        place = {"searchResultIndex": given.search_result_index}
        ends = {"start": given.start_block_index, "end": given.end_block_index}
        return {"searchResultLocation": {**place, **ends}}
    for name, kind, unit in _PLACES:
        if given.type == kind:
            ends = {"start": getattr(given, f"start_{unit}"), "end": getattr(given, f"end_{unit}")}
            return {_CAMEL[name]: {"documentIndex": given.document_index, **ends}}
    return None


_CAMEL = {"document_char": "documentChar", "document_page": "documentPage", "document_chunk": "documentChunk"}
