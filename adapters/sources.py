"""Sources that providers which search the web tell beside an answer's choices → OpenAI's annotations.

Perplexity has `search_results` (https://docs.perplexity.ai/api-reference/chat-completions-post), objects with `url` and
`title`, and before those `citations`, addresses alone, as xAI's live search has. The text refers to them by number, so
no annotation says where in it.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from adapters.values import ABSENT, BRACKET, UNREADABLE, first


class _Found(Struct, gc=False):
    url: str
    title: str | None = None


_found = msgspec.json.Decoder(list[_Found]).decode
_addresses = msgspec.json.Decoder(list[str]).decode
_encode = msgspec.json.Encoder().encode


def cited(results: Raw, citations: Raw) -> Raw:
    """The annotations, an array, of an answer that has either; absent where it has neither, or in a form of its own."""
    try:
        found = _found(results) if first(results) == BRACKET else []
        if not found and first(citations) == BRACKET:
            found = [_Found(url) for url in _addresses(citations)]
    except UNREADABLE:
        return ABSENT
    if not found:
        return ABSENT
    told = [{"url": each.url, "title": each.title or "", "start_index": 0, "end_index": 0} for each in found]
    return Raw(_encode([{"type": "url_citation", "url_citation": each} for each in told]))
