"""Virtual keys: stored provider credentials. The credential goes in and never comes out again.

A row may be made *from* another one (`integration_id`): it then has the same provider and credential, and follows when
those change there.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from adapters.errors import Kind
from adapters.providers import PROVIDERS, RETIRED
from proxy.admin import fields as provider_fields
from proxy.admin import limits, masks, slugs
from proxy.admin.body import Nothing, bad, given, iso, moment, parse, read, text
from proxy.admin.scene import Scene, editable, enter, leave, missing, page, routes
from proxy.config import hosts
from proxy.config.fields import PROVIDER_FIELDS
from proxy.config.near import hint
from proxy.config.read import header_fault
from proxy.errors import Refused
from proxy.ports import Secret, VirtualKeyRow
from proxy.routes import AdminContext, AdminRequest, Answer

WHAT = "virtual key"
_HEADER_VALUE = re.compile(r"[ -~\x80-ÿ]*")
SHARED = (
    "provider",
    "key",
    "custom_host",
    "custom_headers",
    "fields",
    "models",
    "aliases",
    "default_model",
    "completions_mode",
)
"""What a row made from another one has in common with it."""

_IGNORED = ("organisation_id", "user_id", "id", "object")


class VirtualKeyBody(limits.Given, forbid_unknown_fields=True, kw_only=True):
    """What may stand in a body beside the provider fields."""

    name: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    key: str | UnsetType | None = UNSET
    slug: str | UnsetType | None = UNSET
    note: str | UnsetType | None = UNSET
    custom_host: str | UnsetType | None = UNSET
    custom_headers: dict[str, str] | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    aliases: dict[str, str] | UnsetType | None = UNSET
    default_model: str | UnsetType | None = UNSET
    completions_mode: Literal["auto", "legacy", "messages"] | UnsetType = UNSET
    expires_at: str | int | float | UnsetType | None = UNSET
    status: Literal["active"] | UnsetType | None = UNSET
    reset_usage: int | bool | UnsetType | None = UNSET
    integration_id: str | UnsetType | None = UNSET
    workspace_id: str | UnsetType | None = UNSET


class Change(msgspec.Struct):
    """A body, checked: what was in it, and the provider fields (None: to be cleared)."""

    body: VirtualKeyBody
    fields: dict[str, Any]


def _understood(raw: dict[str, Any]) -> Change:
    raw = provider_fields.flattened(raw)
    if raw.get("secret_mappings"):
        raise bad("secret_mappings", "references to secret stores are not supported; give the key itself")
    kept = {name: value for name, value in raw.items() if name not in (*_IGNORED, "secret_mappings")}
    fields, rest = provider_fields.split(kept)
    return Change(parse(rest, VirtualKeyBody, known=PROVIDER_FIELDS), fields)


async def create(scene: Scene, raw: dict[str, Any]) -> VirtualKeyRow:
    """Adds a virtual key. Raises `Refused` (400, 409)."""
    change = _understood(raw)
    body = change.body
    if body.name is UNSET:
        raise bad("name", "is missing")
    name = text(body.name, "name")
    slug = slugs.checked(body.slug) if body.slug else slugs.make(name)
    if any(row.slug == slug for row in scene.rows.virtual_keys):
        raise Refused(Kind.CONFLICT, f"there is a virtual key '{slug}' already", param="slug")
    blank = VirtualKeyRow(slug=slug, name=name, provider="", key=Secret(""), created_at=scene.now)
    if body.integration_id:
        source = find(scene, body.integration_id, "integration_id")
        common = {field: getattr(source, field) for field in SHARED}
        blank = msgspec.structs.replace(blank, **common, extra={"integration_id": source.slug})
    elif body.provider is UNSET:
        raise bad("provider", "is missing")
    row = _changed(blank, change, scene)
    await scene.store.insert_virtual_key(row)
    return row


async def update(scene: Scene, slug: str, raw: dict[str, Any]) -> VirtualKeyRow:
    """Changes what the body names; rows made from this one follow. Raises `Refused` (400, 404, 409)."""
    change = _understood(raw)
    row = find(scene, slug)
    editable(row, WHAT, row.slug)
    if change.body.slug not in (UNSET, None, row.slug):
        raise bad("slug", "a slug never changes; make a new virtual key")
    if change.body.provider not in (UNSET, row.provider):
        raise bad("provider", "the provider of a virtual key never changes; make a new one")
    row = await scene.store.edit_virtual_key(row.slug, lambda old: _changed(old, change, scene))
    await follow(scene, row)
    return row


async def follow(scene: Scene, row: VirtualKeyRow) -> None:
    """Brings the rows made from this one up to date with it."""
    common = {field: getattr(row, field) for field in SHARED}
    for other in dependants(scene, row.slug):
        await scene.store.edit_virtual_key(
            other.slug, lambda old: msgspec.structs.replace(old, **common, updated_at=scene.now)
        )


async def delete(scene: Scene, slug: str) -> VirtualKeyRow:
    """Removes a virtual key. Raises `Refused` (404, 409)."""
    row = find(scene, slug)
    editable(row, WHAT, row.slug)
    users = [other.slug for other in dependants(scene, row.slug)]
    if users:
        raise Refused(Kind.CONFLICT, f"'{row.slug}' is the integration of {', '.join(users)}; delete them first")
    await scene.store.delete_virtual_key(row.slug)
    return row


def find(scene: Scene, slug: str, path: str | None = None) -> VirtualKeyRow:
    """The row with a slug (`@` in front is allowed). Raises `Refused`: 404, or 400 where a body's `path` named it."""
    wanted = slug.removeprefix("@")
    for row in scene.rows.virtual_keys:
        if row.slug == wanted:
            return row
    error = missing(WHAT, wanted, [row.slug for row in scene.rows.virtual_keys])
    raise bad(path, error.message) if path else error


def dependants(scene: Scene, slug: str) -> list[VirtualKeyRow]:
    """The rows that were made from this one."""
    return [row for row in scene.rows.virtual_keys if row.extra.get("integration_id") == slug]


def shown(row: VirtualKeyRow, now: int) -> dict[str, Any]:
    """A virtual key as the SDKs read it; of what is secret, only that it is there."""
    return {
        "id": row.slug,
        "slug": row.slug,
        "name": row.name,
        "ai_provider_name": row.provider,
        "provider": row.provider,
        "note": row.note or None,
        "status": status(row.expires_at, now),
        "masked_api_key": masks.MASK if row.key else None,
        "model_config": model_config(row),
        "custom_host": row.custom_host,
        "models": None if row.models is None else list(row.models),
        "aliases": row.aliases,
        "default_model": row.default_model,
        "completions_mode": row.completions_mode,
        "limits": limits.shown(row.limits),
        "usage_limits": limits.shown_usage(row.limits, row.extra),
        "rate_limits": limits.shown_rates(row.limits),
        "reset_usage": None,
        "expires_at": iso(row.expires_at),
        "created_at": iso(row.created_at),
        "last_updated_at": iso(row.updated_at),
        "workspace_id": row.extra.get("workspace_id"),
        "integration_id": row.extra.get("integration_id"),
        "origin": row.origin,
        "object": "virtual-key",
    }


def model_config(row: VirtualKeyRow) -> dict[str, Any]:
    """The provider fields, the host and the headers, with masks for what is secret in them."""
    whole: dict[str, Any] = dict(row.fields)
    if row.custom_host:
        whole["custom_host"] = row.custom_host
    if row.custom_headers:
        whole["custom_headers"] = row.custom_headers
    masked: dict[str, Any] = masks.mask(whole)
    return masked


def status(expires_at: int | None, now: int) -> str:
    """`active` or `expired`."""
    return "expired" if expires_at is not None and expires_at <= now else "active"


def _changed(row: VirtualKeyRow, change: Change, scene: Scene) -> VirtualKeyRow:
    """The row after a body. Called within the store's transaction, so it must decide from `row` alone."""
    body = change.body
    values: dict[str, Any] = {"updated_at": scene.now}
    for name, value in given(body).items():
        if name in _READERS:
            values[name] = _READERS[name](value)
    if body.key is not UNSET:
        values["key"] = Secret((body.key or "").strip())
    # The whole of it, so that a mask in one place may stand for what is in the other.
    old = {**row.fields, "custom_headers": row.custom_headers}
    # Checked again: what a mask stood for may not be what this field holds.
    fields, _ = provider_fields.split(masks.unmask(change.fields, old))
    values["fields"] = {name: value for name, value in {**row.fields, **fields}.items() if value is not None}
    if body.custom_headers is not UNSET:
        values["custom_headers"] = _headers(masks.unmask({"custom_headers": body.custom_headers or {}}, old))
    values["limits"], extra = limits.merge(row.limits, row.extra, body)
    if body.workspace_id:
        extra = {**extra, "workspace_id": body.workspace_id}
    if body.reset_usage:
        extra = {**extra, "usage_reset_at": scene.now}
    changed = msgspec.structs.replace(row, **values, extra=extra)
    _complete(changed)
    return changed


def _complete(row: VirtualKeyRow) -> None:
    """Raises `Refused` (400) when the provider would not know what to do with the row."""
    provider = PROVIDERS[row.provider]
    if provider.host_required and not row.custom_host:
        raise bad("custom_host", f"is missing: the URL of the server. {provider.homeless}")
    if provider.key_required and not row.key and not row.custom_host and not row.fields:
        raise bad("key", f"is missing; the provider '{row.provider}' needs a credential")


def _provider(name: str) -> str:
    if name in RETIRED:
        raise bad("provider", f"the provider '{name}' is no more: {RETIRED[name]}")
    if name not in PROVIDERS:
        raise bad("provider", f"unknown provider '{name}'{hint(name, PROVIDERS)}")
    return name


def _host(url: str | None) -> str | None:
    fault = hosts.fault(url) if url else None
    if fault:
        raise bad("custom_host", f"no usable URL: {fault}")
    return url or None


def _headers(unmasked: dict[str, Any]) -> dict[str, str]:
    headers: dict[str, Any] = unmasked["custom_headers"]
    for name, value in headers.items():
        fault = header_fault(name)
        if fault:
            raise bad(f"custom_headers.{name}", fault)
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise bad(f"custom_headers.{name}", "has characters that no header can carry")
    return headers


def _models(models: list[str] | None) -> tuple[str, ...] | None:
    return None if models is None else tuple(models)


_READERS: dict[str, Any] = {
    "name": lambda value: text(value, "name"),
    "provider": _provider,
    "note": lambda value: text(value or "", "note", empty=True),
    "custom_host": _host,
    "models": _models,
    "aliases": lambda value: value or {},
    "default_model": lambda value: value or None,
    "completions_mode": lambda value: value,
    "expires_at": lambda value: moment(value, "expires_at"),
}


# Handlers


def _named(row: VirtualKeyRow) -> dict[str, Any]:
    return {"id": row.slug, "slug": row.slug}


async def _create(context: AdminContext, request: AdminRequest) -> Answer:
    row = await create(await enter(context, request), read(request.body))
    await leave(context, request, "virtual_keys.create", row.slug)
    return Answer({"success": True, "data": _named(row), **_named(row), "object": "virtual-key"})


async def _list(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    return page(scene.rows.virtual_keys, request.query, lambda row: scene.seen(shown(row, scene.now), WHAT, row.slug))


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    row = find(scene, request.params["slug"])
    return Answer(scene.seen(shown(row, scene.now), WHAT, row.slug))


async def _update(context: AdminContext, request: AdminRequest) -> Answer:
    row = await update(await enter(context, request), request.params["slug"], read(request.body))
    await leave(context, request, "virtual_keys.update", row.slug)
    return Answer({"success": True, "data": _named(row), **_named(row), "object": "virtual-key"})


async def _reset(context: AdminContext, request: AdminRequest) -> Answer:
    parse(read(request.body), Nothing)
    row = find(await enter(context, request), request.params["slug"])
    if not context.reset_usage(WHAT, row.slug):
        raise bad("limits.budget", "there is no budget to reset")
    await leave(context, request, "virtual_keys.reset_usage", row.slug)
    return Answer({"success": True})


async def _delete(context: AdminContext, request: AdminRequest) -> Answer:
    row = await delete(await enter(context, request), request.params["slug"])
    await leave(context, request, "virtual_keys.delete", row.slug)
    return Answer({"success": True})


_ALL = "/v1/virtual-keys"
_ONE = "/v1/virtual-keys/{slug}"

ROUTES = routes(
    "virtual keys",
    ("POST", _ALL, "virtual_keys.create", "Create a virtual key", _create),
    ("GET", _ALL, "virtual_keys.list", "List virtual keys", _list),
    ("GET", _ONE, "virtual_keys.read", "Show a virtual key", _show),
    ("PUT", _ONE, "virtual_keys.update", "Change a virtual key", _update),
    ("POST", f"{_ONE}/reset-usage", "virtual_keys.update", "Set what a budget has spent to nothing", _reset),
    ("DELETE", _ONE, "virtual_keys.delete", "Delete a virtual key", _delete),
)
