"""The models a key may use, as `@slug/model`: what its virtual keys list themselves, else what their providers do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote

import msgspec

from adapters.errors import Kind
from adapters.types import Dialect
from adapters.values import UNREADABLE
from proxy.config.target import Target
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.routes import AdminContext, AdminRequest, Answer
from proxy.seams import Timeouts, Transport

_FRESH = 300.0
_FAILED = 15.0  # seconds until a provider that gave no list is asked again
_PATIENCE = 5.0
_LIMIT = 4 << 20
_WILD = frozenset("*?[")


class _Model(msgspec.Struct):
    id: str
    created: int | None = None


class _Named(msgspec.Struct):
    name: str


class _List(msgspec.Struct):
    """OpenAI's list, or Google's."""

    data: list[_Model] = []
    models: list[_Named] = []

    def names(self) -> list[str]:
        """The names in either."""
        return [model.id for model in self.data] + [model.name.removeprefix("models/") for model in self.models]


_decode = msgspec.json.Decoder(_List).decode


class Catalog:
    """Asks providers for their models and remembers the answers for five minutes. One that fails is left alone for a
    while, so that its silence neither delays nor fills the log with every list; until then its last one counts."""

    def __init__(self, transport: Transport, timeouts: Timeouts) -> None:
        self._transport = transport
        self._timeouts = Timeouts(min(timeouts.connect, _PATIENCE), _PATIENCE, _PATIENCE)
        self._known: dict[str, tuple[float, Target, list[str]]] = {}  # until when; whose; what

    async def of(self, target: Target) -> list[str]:
        """The names a target's users may ask for. A provider that does not answer adds none of its own."""
        allowed = target.models
        names = [*target.aliases, *([target.default_model] if target.default_model else [])]
        if allowed is not None:
            names += [pattern for pattern in allowed if not _WILD & set(pattern)]
        if allowed is None or any(_WILD & set(pattern) for pattern in allowed):
            names += [name for name in await self._listed(target) if target.allows(name, name)]
        return list(dict.fromkeys(names))

    async def _listed(self, target: Target) -> list[str]:
        found = self._known.get(target.name)
        last = found[2] if found is not None and found[1] is target else None
        if found is not None and last is not None and monotonic() < found[0]:
            return last
        path = target.provider.paths.get(Dialect.OPENAI_MODELS) or target.provider.paths.get(Dialect.GEMINI_MODELS)
        if path is None or target.signing is not None:
            return []
        head, defaults = target.request_head("GET", target.base_path + path, None)
        head += b"".join(line for _, line in defaults) + b"\r\n"
        lasts = _FRESH
        try:
            reply = await self._transport.send(target.origin, head, b"", self._timeouts)
            try:
                raw = await reply.gather(_LIMIT)
                names = _decode(raw).names() if reply.status == 200 else []
                if reply.status == 429 or reply.status >= 500:
                    names, lasts = last or [], _FAILED
            finally:
                reply.finish()
        except (UpstreamFailure, *UNREADABLE) as error:
            logging.getLogger("loopway").warning("no model list from %s: %s", target.name, error)
            names, lasts = last or [], _FAILED
        self._known[target.name] = (monotonic() + lasts, target, names)
        return names


Row = tuple[Target, str]
"""A model and where it runs."""


async def list_models(context: AdminContext, request: AdminRequest) -> Answer:
    """GET /v1/models and /v1beta/models, for the virtual key that the headers name, else for all that the key may use;
    in the shape that the client reads."""
    x = _asked_in(request)
    rows, family = await _rows(context, x), x.family
    if family == "anthropic":
        return Answer(_anthropic(rows))
    if family == "gemini":
        return Answer({"models": [_gemini(*row) for row in rows]})
    return Answer({"object": "list", "data": [_openai(*row) for row in rows]})


async def one_model(context: AdminContext, request: AdminRequest) -> Answer:
    """GET /v1/models/@slug/model: one of them. Raises Refused (404)."""
    x = _asked_in(request)
    return Answer(_SHAPES.get(x.family, _openai)(*await _one(context, x, "@" + request.params["model"])))


async def one_gemini_model(context: AdminContext, request: AdminRequest) -> Answer:
    """GET /v1beta/models/{model}: one of them. Raises Refused (404)."""
    x = _asked_in(request)
    return Answer(_gemini(*await _one(context, x, unquote(request.params["model"]))))


async def _one(context: AdminContext, x: Exchange, wanted: str) -> Row:
    for target, name in await _rows(context, x):
        if wanted in (f"@{target.name}/{name}", name):
            return target, name
    raise Refused(Kind.NOT_FOUND, f"The model {wanted[:200]!r} is not known here.", param="model")


def _asked_in(request: AdminRequest) -> Exchange:
    assert request.exchange is not None
    return request.exchange


async def _rows(context: AdminContext, x: Exchange) -> list[Row]:
    targets = _addressed(x)
    lists = await asyncio.gather(*(context.catalog.of(target) for target in targets))
    key = x.key
    return [
        (target, name)
        for target, names in zip(targets, lists, strict=True)
        for name in names
        if key is None or key.may_ask_for(name, target.model_for(name) or name)
    ]


def _openai(target: Target, name: str) -> dict[str, Any]:
    return {
        "id": f"@{target.name}/{name}",
        "slug": name,
        "object": "model",
        "created": 0,
        "owned_by": target.provider.name,
    }


def _anthropic_model(target: Target, name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": f"@{target.name}/{name}",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def _gemini(target: Target, name: str) -> dict[str, Any]:
    return {
        "name": f"models/@{target.name}/{name}",
        "displayName": name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


def _addressed(x: Exchange) -> list[Target]:
    provider = x.header(b"x-portkey-provider") or ""
    slug = provider[1:].partition("/")[0] if provider[:1] == "@" else x.header(b"x-portkey-virtual-key")
    if slug:
        target = x.snapshot.target_of(slug, x.key)
        return [target] if x.key is None or x.key.may_use(slug) else []
    return [target for slug, target in x.snapshot.targets.items() if x.key is None or x.key.may_use(slug)]


def _anthropic(rows: list[Row]) -> dict[str, Any]:
    data = [_anthropic_model(*row) for row in rows]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


_SHAPES: dict[str, Callable[[Target, str], dict[str, Any]]] = {"anthropic": _anthropic_model, "gemini": _gemini}
