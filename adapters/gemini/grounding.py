"""What Gemini's answer rests on → OpenAI's annotations, and its log probabilities → OpenAI's.

Gemini counts places in an answer's text in bytes of UTF-8, OpenAI in characters.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.values import BRACE, first


class Web(Struct, gc=False):
    uri: str | None = None
    title: str | None = None


class Chunk(Struct, gc=False, rename="camel"):
    web: Web | None = None
    maps: Web | None = None
    retrieved_context: Web | None = None


class Segment(Struct, gc=False, rename="camel"):
    start_index: int = 0
    end_index: int = 0


class Support(Struct, gc=False, rename="camel"):
    segment: Segment | None = None
    grounding_chunk_indices: list[int] = []


class Grounding(Struct, gc=False, rename="camel"):
    grounding_chunks: list[Chunk] = []
    grounding_supports: list[Support] = []


class Source(Struct, gc=False, rename="camel"):
    start_index: int = 0
    end_index: int = 0
    uri: str | None = None
    title: str | None = None


class Citations(Struct, gc=False, rename="camel"):
    citation_sources: list[Source] = []
    citations: list[Source] = []


class Token(Struct, gc=False, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class Top(Struct, gc=False):
    candidates: list[Token] = []


class Logprobs(Struct, gc=False, rename="camel"):
    chosen_candidates: list[Token] = []
    top_candidates: list[Top] = []


_grounding = msgspec.json.Decoder(Grounding).decode
_read_citations = msgspec.json.Decoder(Citations).decode
_logprobs = msgspec.json.Decoder(Logprobs).decode


def citations(grounding: Raw, cited: Raw, text: str | None) -> list[dict[str, Any]]:
    """The `url_citation`s of an answer; one without a place in the text covers nothing of it.

    `text` is the answer's; None: it is not known, and places stay bytes. Raises what msgspec raises for junk.
    """
    places = _Places(text)
    found: list[dict[str, Any]] = []
    if first(grounding) == BRACE:
        rests = _grounding(grounding)
        for support in rests.grounding_supports:
            segment = support.segment or Segment()
            for index in support.grounding_chunk_indices:
                if 0 <= index < len(rests.grounding_chunks):
                    _cite(found, places, segment.start_index, segment.end_index, _page(rests.grounding_chunks[index]))
        if not rests.grounding_supports:
            for chunk in rests.grounding_chunks:
                _cite(found, places, 0, 0, _page(chunk))
    if first(cited) == BRACE:
        named = _read_citations(cited)
        for source in (*named.citation_sources, *named.citations):
            _cite(found, places, source.start_index, source.end_index, Web(source.uri, source.title))
    return found


def _page(chunk: Chunk) -> Web:
    return chunk.web or chunk.maps or chunk.retrieved_context or Web()


def _cite(found: list[dict[str, Any]], places: _Places, start: int, end: int, page: Web) -> None:
    if page.uri:
        place = {"start_index": places.of(start), "end_index": places.of(end)}
        found.append(
            {"type": "url_citation", "url_citation": {**place, "url": page.uri, "title": page.title or page.uri}}
        )


class _Places:
    """Bytes to characters."""

    __slots__ = ("_data",)

    def __init__(self, text: str | None) -> None:
        self._data = None if text is None or text.isascii() else text.encode("utf-8", "replace")

    def of(self, at: int) -> int:
        return at if self._data is None else len(self._data[:at].decode("utf-8", "ignore"))


def logprobs(result: Raw) -> dict[str, Any] | None:
    """The `logprobs` of a choice, None where there are none. Raises what msgspec raises for junk."""
    if first(result) != BRACE:
        return None
    read = _logprobs(result)
    tops = read.top_candidates
    content = []
    for index, token in enumerate(read.chosen_candidates):
        others = tops[index].candidates if index < len(tops) else []
        content.append({**_token(token), "top_logprobs": [_token(each) for each in others]})
    return {"content": content, "refusal": None}


def _token(token: Token) -> dict[str, Any]:
    data = token.token.encode("utf-8", "replace")
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(data)}
