"""Where a request goes: its headers, its model and its key's default, resolved to a plan.

First match wins: a config (the request's, else the key's default) decides alone, unless it names no target or has a
`passthrough` one; then, as without any config, the `@slug` provider header, the virtual-key header, `@slug/model` in
the body, `?model=@slug/…`, a plain provider with the client's own credential, and last the virtual key that claims the
model.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from adapters.errors import Kind
from adapters.peek import DEFAULT
from adapters.providers import PROVIDERS
from proxy.config.fields import PROVIDER_FIELDS
from proxy.config.nodes import Cache, Node, model_slug
from proxy.config.plan import Leaf, Plan
from proxy.config.snapshot import Key, Snapshot
from proxy.config.target import Target
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.keys import bare, token_of

ONLY_VIRTUAL_KEYS = "This API key may only use its virtual keys, not a provider with a credential of the request's own."
_HEADER_FIELDS = {b"x-portkey-" + name.replace("_", "-").encode(): name for name in PROVIDER_FIELDS}


def resolve(x: Exchange, key: Key) -> Plan:
    """The plan for a request. Sets `x.model` to the model without its slug. Raises Refused."""
    config = _config(x, key)
    if isinstance(config, Plan):
        if b"x-portkey-custom-host" in x.headers:
            _refuse_custom_host(x, "a config that names its targets: write custom_host into the config")
        if x.model is not None and x.model[:1] == "@":
            _strip_slug(x)
        return config
    plan = _addressed(x, key)
    if b"x-portkey-cache" in x.headers:
        config = _legacy_cache(x, config)
    if config is None:
        return plan
    assert plan.single is not None
    target = plan.single.target
    if config.targets:
        inline = x.headers.get(b"x-portkey-config", b"")[:1] == b"{"
        return x.snapshot.passing(config, target, key if inline else None)
    leaf = Leaf(target, "config", config)
    leaf.watch(x.snapshot.healths, config, frozenset())
    return Plan(leaf)


def _config(x: Exchange, key: Key) -> Plan | Node | None:
    text = x.headers.get(b"x-portkey-config")
    if text:
        if not key.allow_override and key.config is not None:
            raise Refused(Kind.INVALID_REQUEST, "Cannot override default config set for this API key.", param="config")
        if text[:1] == b"{":
            return x.snapshot.inline(text, key)
        slug = text.decode("utf-8", "replace")
        if slug[:3] != "pc-":
            message = "Invalid config passed: it must be a JSON object or the slug of a saved config (pc-…)."
            raise Refused(Kind.INVALID_REQUEST, message, param="config")
        plan = x.snapshot.saved(slug)
        x.config = slug  # what exists: reports have a place for each
        return plan
    if key.config is not None:
        x.config = key.config
        return x.snapshot.saved(key.config)
    return None


def _legacy_cache(x: Exchange, config: Node | None) -> Node | None:
    """The older way to ask for a cache: `x-portkey-cache: true` (or a mode), where no config says anything of it."""
    if x.headers[b"x-portkey-cache"] not in (b"true", b"simple", b"semantic"):
        return config
    if config is None:
        return Node(cache=Cache("simple"), identity="x-portkey-cache")
    return config if config.cache is not None else msgspec.structs.replace(config, cache=Cache("simple"))


def _strip_slug(x: Exchange) -> None:
    if x.model is not None and model_slug(x.model) is not None:
        x.model = x.model.partition("/")[2]


def _addressed(x: Exchange, key: Key) -> Plan:
    snapshot = x.snapshot
    found = x.headers
    provider = x.header(b"x-portkey-provider") if b"x-portkey-provider" in found else None
    slug: str | None = None
    if provider and provider[0] == "@":
        slug = provider[1:].partition("/")[0]
    elif virtual_key := found.get(b"x-portkey-virtual-key"):
        slug = virtual_key.decode("utf-8", "replace")
    elif x.model is not None and x.model[:1] == "@":
        slug = model_slug(x.model)
    elif b"model=@" in (query := x.query.encode("latin-1", "replace")) or b"model=%40" in query:
        slug = _from_query(x)
    _strip_slug(x)
    if slug is not None:
        _refuse_custom_host(x, "a stored credential")
        return snapshot.plan_of(slug, key)
    if provider:
        return Plan(Leaf(_raw(x, key, provider)))
    _refuse_custom_host(x, "a stored credential")
    return _by_model(x, key)


def _refuse_custom_host(x: Exchange, beside: str) -> None:
    if b"x-portkey-custom-host" in x.headers:
        message = f"A custom host in a request cannot be combined with {beside}."
        raise Refused(Kind.INVALID_REQUEST, message, param="x-portkey-custom-host")


def _from_query(x: Exchange) -> str | None:
    model = parse_qs(x.query).get("model", [""])[0]
    slug = model_slug(model)
    if slug is not None and (x.model is None or x.model == DEFAULT):
        x.model = model.partition("/")[2]
    return slug


def _raw(x: Exchange, key: Key, provider: str) -> Target:
    """A provider by its plain name, with the credential that the client sent beside its gateway key."""
    if not key.may_use(None):
        raise Refused(Kind.FORBIDDEN, ONLY_VIRTUAL_KEYS, code="virtual_key_not_allowed")
    used = token_of(x.headers)
    credential = b""
    for name in (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"):
        value = x.headers.get(name)
        if value and used is not None and used[1] != name and bare(value) != used[0]:
            credential = bare(value)
            break
    fields = _fields(x) if provider in PROVIDERS and PROVIDERS[provider].takes_fields else ()
    return x.snapshot.adhoc(provider, credential.decode("latin-1"), x.header(b"x-portkey-custom-host"), fields)


def _fields(x: Exchange) -> tuple[tuple[str, str], ...]:
    """The provider fields among the headers, in the order of their names."""
    return tuple(
        sorted(
            (_HEADER_FIELDS[name], value.decode("latin-1"))
            for name, value in x.headers.items()
            if name in _HEADER_FIELDS
        )
    )


def _by_model(x: Exchange, key: Key) -> Plan:
    if x.model is not None and x.model != DEFAULT:
        plan = x.snapshot.by_model(x.model, key)
        if plan is not None:
            return plan
        usable = _usable(x.snapshot, key)
        raise Refused(
            Kind.NOT_FOUND,
            f"The model {x.model[:200]!r} is not known here. Name where it runs: model @slug/{x.model[:200]}, "
            f"header x-portkey-virtual-key, or x-portkey-config. {usable}",
            param="model",
            code="model_not_found",
        )
    plan = x.snapshot.by_model("", key)
    if plan is not None:
        return plan
    raise Refused(
        Kind.INVALID_REQUEST,
        "Either x-portkey-config, x-portkey-provider or x-portkey-virtual-key header is required, "
        f"or a model of the form @slug/model. {_usable(x.snapshot, key)}",
    )


def _usable(snapshot: Snapshot, key: Key) -> str:
    slugs = [slug for slug in snapshot.targets if key.may_use(slug)]
    if not slugs:
        return "No virtual key exists yet that this API key may use."
    listed = ", ".join(slugs[:10]) + (" …" if len(slugs) > 10 else "")
    return f"This API key may use the virtual keys: {listed}."
