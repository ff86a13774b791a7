"""Prices of models over HTTP: ours in US dollars per million tokens, and beside them, as the SDKs' service has them, in
US cents per token."""

from __future__ import annotations

from time import time
from typing import Any

import msgspec

from adapters.errors import Kind
from adapters.providers import PROVIDERS
from proxy.admin.body import bad, parse, read
from proxy.admin.scene import leave, routes
from proxy.config.near import hint
from proxy.errors import Refused
from proxy.ports import PriceRow
from proxy.prices import Entry, Price
from proxy.routes import AdminContext, AdminRequest, Answer
from proxy.store import prices as jobs

_CENTS_PER_TOKEN = 1e-4  # of a US dollar per million tokens
_THEIRS = {
    "input": "request_token",
    "output": "response_token",
    "cache_read": "cache_read_input_token",
    "cache_write": "cache_write_input_token",
    "audio_input": "request_audio_token",
    "audio_output": "response_audio_token",
    "image_input": "request_image_token",
    "image_output": "response_image_token",
    "reasoning": "reasoning_token",
}


async def show(context: AdminContext, request: AdminRequest) -> Answer:
    """The price of a model."""
    provider, model = _named(request)
    price = context.prices().find(provider, model)
    if price is None:
        raise Refused(Kind.NOT_FOUND, f"the price of {provider}/{model} is not known")
    return Answer(_shown(provider, model, price))


async def put(context: AdminContext, request: AdminRequest) -> Answer:
    """Sets the price of a model, or of all that a pattern names."""
    provider, model = _named(request)
    entry = _entry(read(request.body))
    if entry.same_as is not None and context.prices().of(provider).same(entry.same_as) is None:
        raise bad("same_as", "names no model whose price is known; write MODEL, or PROVIDER/MODEL")
    row = PriceRow(provider, model, msgspec.json.encode(entry).decode(), int(time()))
    await context.store.run("keys", jobs.put, row)
    await leave(context, request, "set", f"price {provider}/{model}")
    price = context.prices().find(provider, model)
    return Answer(_shown(provider, model, price or Price(f"api:{provider}/{model}", entry)))


async def delete(context: AdminContext, request: AdminRequest) -> Answer:
    """Takes a price back that was set here."""
    provider, model = _named(request)
    if not await context.store.run("keys", jobs.delete, provider, model):
        raise Refused(Kind.NOT_FOUND, f"no price of {provider}/{model} was set here")
    await leave(context, request, "deleted", f"price {provider}/{model}")
    return Answer({"success": True})


def _named(request: AdminRequest) -> tuple[str, str]:
    provider, model = request.params["provider"], request.params["model"]
    if provider not in PROVIDERS:
        raise Refused(Kind.NOT_FOUND, f"there is no provider '{provider[:100]}'{hint(provider, PROVIDERS)}")
    if not model or len(model) > 256 or not model.isprintable():
        raise bad("model", "must have one to 256 characters")
    return provider, model


def _entry(raw: dict[str, Any]) -> Entry:
    """The rates of a body, in our words or in cents per token. Raises `Refused` (400)."""
    theirs = raw.get("pay_as_you_go")
    if theirs is not None:
        if not isinstance(theirs, dict):
            raise bad("pay_as_you_go", "must be an object")
        raw = {ours: _dollars(theirs[name], name) for ours, name in _THEIRS.items() if name in theirs}
    entry = parse(raw, Entry)
    if not entry.complete:
        raise bad(
            "input", "is missing: US dollars for a million input tokens (or for one piece: search, image, character …)"
        )
    return entry


def _dollars(value: Any, name: str) -> float:
    price = value.get("price") if isinstance(value, dict) else None
    if isinstance(price, bool) or not isinstance(price, int | float):
        raise bad(f"pay_as_you_go.{name}.price", "must be a number of US cents for one token")
    return round(price / _CENTS_PER_TOKEN, 9)


def _shown(provider: str, model: str, price: Price) -> dict[str, Any]:
    rates = msgspec.to_builtins(price.entry)
    theirs = {
        name: {"price": round(rates[ours] * _CENTS_PER_TOKEN, 12)} for ours, name in _THEIRS.items() if ours in rates
    }
    return {
        "object": "model-pricing",
        "provider": provider,
        "model": model,
        "id": price.id,
        "rates": rates,
        "pay_as_you_go": theirs,
        "currency": "USD",
    }


_PATH = "/v1/model-configs/pricing/{provider}/{model*}"

ROUTES = routes(
    "prices",
    ("GET", _PATH, "integrations.read", "What a model's tokens cost", show),
    ("PUT", _PATH, "integrations.update", "Set what a model's tokens cost", put),
    ("DELETE", _PATH, "integrations.update", "Take back a price that was set", delete),
)
