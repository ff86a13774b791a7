"""What each provider can be asked for, and what becomes of each parameter on the way: the report, made of the tables
and the codecs that serve requests."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from adapters.capabilities import operations
from adapters.errors import Kind
from adapters.provider import Provider
from adapters.providers import PROVIDERS, RETIRED
from adapters.types import Dialect
from proxy.config.access import provider_row
from proxy.config.dialects import SERVED_BY
from proxy.errors import Refused
from proxy.routes import AdminContext, AdminRequest, Answer, Route

LABELS: dict[Dialect, str] = {
    Dialect.OPENAI_CHAT: "chat",
    Dialect.OPENAI_COMPLETIONS: "completions",
    Dialect.OPENAI_RESPONSES: "responses",
    Dialect.OPENAI_EMBEDDINGS: "embeddings",
    Dialect.ANTHROPIC_MESSAGES: "messages",
    Dialect.ANTHROPIC_COUNT_TOKENS: "count tokens",
}
"""Short names of what clients can ask for; a dialect that is not here goes by its own."""


def label(dialect: str) -> str:
    """The short name of a client dialect."""
    return LABELS.get(Dialect(dialect), dialect)


def report(name: str | None = None) -> list[dict[str, Any]]:
    """One entry a provider, as plain data; only the one named, if one is. Raises Refused (400, 410)."""
    rows = [provider_row(name)] if name is not None else list(PROVIDERS.values())
    entries = [_entry(row) for row in rows]
    if name is None:
        entries += [{"provider": gone, "status": "retired", "advice": advice} for gone, advice in RETIRED.items()]
    return entries


def _entry(row: Provider) -> dict[str, Any]:
    served = operations(row, SERVED_BY)
    return {
        "provider": row.name,
        "status": "available" if served else "passthrough",
        "base_url": row.base_url or None,
        **({"advice": row.ended} if row.ended else {}),
        "docs": row.docs,
        "operations": msgspec.to_builtins(served),
    }


async def _capabilities(context: AdminContext, request: AdminRequest) -> Answer:
    name = request.query.get("provider")
    if set(request.query) - {"provider"}:
        raise Refused(Kind.INVALID_REQUEST, "The only filter here is `provider`.", code="unknown_filter")
    # Thousands of small translations, the first time: a tenth of a second that the event loop must not wait for.
    entries = await asyncio.to_thread(report, name)
    return Answer({"object": "list", "total": len(entries), "data": entries})


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/providers/capabilities",
        scope="any",
        summary="What each provider can be asked for, and what becomes of each parameter on the way",
        handler=_capabilities,
        tag="operations",
    ),
)
