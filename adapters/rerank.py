"""Ranking documents by a query, in the shape that most providers share.

Request: `model`, `query`, `documents` (texts, or objects with `text`), `top_n`, `return_documents`. Answer:
`results` of `index`, `relevance_score` and, where asked for, `document`. Voyage says the same in other words, which
are at the end of this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import openai_errors, peek
from adapters.chain import Verbatim
from adapters.embeddings import NOTHING, name_others
from adapters.errors import BadAnswer, InvalidRequest, UpstreamError
from adapters.reading import Dropped
from adapters.types import Call, Count, Outbound, Reply, StreamDecoder, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode


class _Asked(Struct):
    query: str
    documents: list[str | dict[str, Any]]
    top_n: int | None = None
    return_documents: bool | None = None


class Wish(Struct, frozen=True):
    """A rerank request, read. `rest` are the fields not named here, each as the JSON it came in. `unread` names what
    documents have beside their `text`: nobody ranks by that."""

    query: str
    documents: list[str | dict[str, Any]]
    top_n: int | None
    returns: bool
    rest: Mapping[str, Raw]
    unread: tuple[str, ...] = ()

    def lost(self, *said: str) -> tuple[str, ...]:
        """The names of what is not said where of `rest` only these fields are."""
        return (*self.unread, *(name for name in self.rest if name not in said))

    def texts(self) -> list[str]:
        """The documents as texts; an object without `text` is its JSON."""
        return [each if isinstance(each, str) else _text_of(each) for each in self.documents]


class Result(Struct, gc=False):
    """One result as most providers give it."""

    index: int
    relevance_score: float


_asked = msgspec.json.Decoder(_Asked).decode
_KNOWN = ("model", "query", "documents", "top_n", "return_documents")


def _text_of(document: dict[str, Any]) -> str:
    text = document.get("text")
    return text if isinstance(text, str) else _encode(document).decode()


def read(call: Call) -> Wish:
    """Reads the request. Raises InvalidRequest with the path of the field at fault."""
    try:
        asked = _asked(call.body)
    except UNREADABLE as error:
        raise peek.malformed(error) from error
    if not asked.documents:
        raise InvalidRequest("There are no documents to rank.", "documents")
    fields = peek.fields(call.body)
    rest = {name: value for name, value in fields.items() if name not in _KNOWN and value not in NOTHING}
    dropped = Dropped(found={})
    for each in asked.documents:
        if isinstance(each, dict) and isinstance(each.get("text"), str):
            name_others(each, ("text",), "documents[]", dropped)
    return Wish(asked.query, asked.documents, asked.top_n, bool(asked.return_documents), rest, dropped.names())


def answer(
    call: Call,
    wish: Wish,
    results: Sequence[Result],
    told: dict[str, Any],
    usage: Usage | None,
    id: str | None = None,
) -> Reply:
    """The answer for these results; `told` is its usage object. Raises BadAnswer for a document that was not sent."""
    made = []
    for result in results:
        if not 0 <= result.index < len(wish.documents):
            raise BadAnswer("The provider ranked a document that it was not sent.")
        one: dict[str, Any] = {"index": result.index, "relevance_score": result.relevance_score}
        if wish.returns:
            document = wish.documents[result.index]
            one["document"] = {"text": document} if isinstance(document, str) else document
        made.append(one)
    body = {"id": id or f"rerank-{call.id}", "model": call.model, "results": made, "usage": told}
    return Reply(_encode(body), usage)


# Voyage: https://docs.voyageai.com/reference/reranker-api


class _VoyageUsage(Struct, gc=False):
    total_tokens: Count | None = None


class _VoyageAnswer(Struct, gc=False):
    data: list[Result]
    usage: _VoyageUsage | None = None


_voyage = msgspec.json.Decoder(_VoyageAnswer).decode


class RerankToVoyage:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        wish = read(call)
        out: dict[str, Any] = {"model": call.model, "query": wish.query, "documents": wish.texts()}
        if wish.top_n is not None:
            out["top_k"] = wish.top_n
        # Where `top_n` is given as well, that counts.
        said = ("truncation",) if "top_k" in out else ("truncation", "top_k")
        out.update((name, wish.rest[name]) for name in said if name in wish.rest)
        return Outbound(_encode(out), dropped=wish.lost(*said))

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body holds no results."""
        try:
            ranked = _voyage(body)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no ranking.") from error
        tokens = ranked.usage.total_tokens if ranked.usage is not None else None
        told = {} if tokens is None else {"total_tokens": tokens}
        return answer(call, read(call), ranked.data, told, None if tokens is None else Usage(tokens))

    def stream(self, call: Call) -> StreamDecoder:
        """Rankings are not streamed."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an error answer. Never raises."""
        return openai_errors.read(status, headers, body)


RERANK_TO_VOYAGE = RerankToVoyage()
