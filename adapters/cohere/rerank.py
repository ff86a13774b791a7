"""The common rerank on Cohere's `/rerank`, which does not repeat the documents: they are filled in here."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from adapters import rerank
from adapters.errors import BadAnswer
from adapters.rerank import Result
from adapters.types import Call, CountAsFloat, Outbound, Rare, Reply, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode


class Units(Struct, gc=False):
    search_units: CountAsFloat | None = None
    input_tokens: CountAsFloat | None = None


class Meta(Struct, gc=False):
    billed_units: Units | None = None


class Ranked(Struct, gc=False):
    results: list[Result]
    id: str | None = None
    meta: Meta | None = None


_ranked = msgspec.json.Decoder(Ranked).decode
_PASSED = ("max_tokens_per_doc", "priority")


def to_cohere(call: Call) -> Outbound:
    """Cohere's request. Raises InvalidRequest with the path of the field at fault."""
    wish = rerank.read(call)
    out: dict[str, Any] = {"model": call.model, "query": wish.query, "documents": wish.texts()}
    if wish.top_n is not None:
        out["top_n"] = wish.top_n
    out.update((name, value) for name, value in wish.rest.items() if name in _PASSED)
    return Outbound(_encode(out), dropped=wish.lost(*_PASSED))


def from_cohere(call: Call, body: bytes) -> Reply:
    """The common answer. Raises BadAnswer when the body holds no results."""
    try:
        ranked = _ranked(body)
    except UNREADABLE as error:
        raise BadAnswer("The provider's answer holds no ranking.") from error
    units = ranked.meta.billed_units if ranked.meta is not None else None
    told: dict[str, Any] = {}
    usage = None
    if units is not None:
        if units.search_units is not None:
            told["search_units"] = int(units.search_units)
        if units.input_tokens is not None:
            told["total_tokens"] = int(units.input_tokens)
        if told:
            ranked_units = told.get("search_units")
            rare = Rare(searches=ranked_units) if ranked_units else None
            usage = Usage(told.get("total_tokens", 0), rare=rare)
    return rerank.answer(call, rerank.read(call), ranked.results, told, usage, ranked.id)
