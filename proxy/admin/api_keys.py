"""API keys: the credentials of this gateway. Of a key only its SHA-256 is kept; the text is shown once, when made.

Whoever manages keys hands out no right that their own key lacks: administrative scopes can only be granted, and keys
that have them only be changed, rotated or deleted, by a caller who has them too.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from adapters.errors import Kind
from proxy.admin import limits, slugs
from proxy.admin.body import Nothing, bad, given, iso, moment, parse, read, text
from proxy.admin.scene import Scene, editable, enter, leave, missing, page, refuse_unknown, routes
from proxy.config.near import hint
from proxy.errors import Refused
from proxy.ports import ApiKeyRow
from proxy.routes import AdminContext, AdminRequest, Answer
from proxy.scopes import ADMIN, KNOWN, expand

WHAT = "API key"
TRANSITION_MS = 1_800_000
"""How long the old text of a rotated key stays valid unless the call or the key's rotation policy says otherwise."""
_LONGEST_TRANSITION_MS = 366 * 86_400_000
_TYPES = ("workspace", "organisation", "organization")
_SUB_TYPES = ("service", "user")
_HASH = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_IGNORED = ("type", "sub-type", "sub_type", "organisation_id", "id", "object")
_KEPT = ("workspace_id", "user_id", "alert_emails", "rotation_policy", "cache_group")


class Defaults(msgspec.Struct, forbid_unknown_fields=True):
    """What requests of a key get when they bring nothing of their own."""

    config_id: str | UnsetType | None = UNSET
    metadata: dict[str, str | int | float | bool] | UnsetType | None = UNSET
    allow_config_override: bool | UnsetType | None = UNSET


class RotationPolicy(msgspec.Struct, forbid_unknown_fields=True):
    """Kept and shown; `key_transition_period_ms` is the overlap of a rotation that names none."""

    rotation_period: str | None = None
    next_rotation_at: str | None = None
    key_transition_period_ms: int | None = None


class ApiKeyBody(limits.Given, forbid_unknown_fields=True, kw_only=True):
    """What may stand in a body."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    scopes: list[str] | UnsetType = UNSET
    defaults: Defaults | UnsetType | None = UNSET
    expires_at: str | int | float | UnsetType | None = UNSET
    key: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    virtual_keys: list[str] | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    config: str | UnsetType | None = UNSET
    metadata: dict[str, str | int | float | bool] | UnsetType | None = UNSET
    allow_config_override: bool | UnsetType = UNSET
    workspace_id: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET
    cache_group: str | UnsetType | None = UNSET
    status: Literal["active"] | UnsetType | None = UNSET
    reset_usage: int | bool | UnsetType | None = UNSET
    alert_emails: list[str] | UnsetType | None = UNSET
    rotation_policy: RotationPolicy | UnsetType | None = UNSET


class RotationBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old text stays valid, in milliseconds; 0: not at all."""

    key_transition_period_ms: int | None = None


def _understood(raw: dict[str, Any]) -> ApiKeyBody:
    return parse({name: value for name, value in raw.items() if name not in _IGNORED}, ApiKeyBody)


async def create(
    scene: Scene, raw: dict[str, Any], type: str = "workspace", sub_type: str = "service"
) -> tuple[ApiKeyRow, str | None]:
    """Adds a key; returns it and its text (None when only a hash was given). Raises `Refused` (400, 403, 409)."""
    if type not in _TYPES:
        raise bad("type", f"must be workspace or organisation{hint(type, _TYPES)}")
    if sub_type not in _SUB_TYPES:
        raise bad("sub-type", f"must be service or user{hint(sub_type, _SUB_TYPES)}")
    body = _understood(raw)
    if body.name is UNSET:
        raise bad("name", "is missing")
    digest, token = _secret(body)
    blank = ApiKeyRow(
        id=slugs.new_id(),
        name=body.name,
        digest=digest,
        type="workspace" if type == "workspace" else "organisation",
        sub_type=sub_type,
        created_at=scene.now,
    )
    row = _changed(blank, body, scene)
    _refuse_filed_token(scene, row)
    await scene.store.insert_api_key(row)
    return row, token


async def update(scene: Scene, id: str, raw: dict[str, Any]) -> ApiKeyRow:
    """Changes what the body names. Raises `Refused` (400, 403, 404, 409)."""
    row = find(scene, id)
    editable(row, WHAT, row.name)
    if raw.get("id") not in (None, row.id, id):
        raise bad("id", "the id of a key never changes")
    body = _understood(raw)
    if body.key is not UNSET or body.hash is not UNSET:
        raise bad("hash" if body.key is UNSET else "key", "the text of a key never changes; rotate it")
    return await scene.store.edit_api_key(row.id, lambda old: _changed(old, body, scene))


async def rotate(scene: Scene, id: str, raw: dict[str, Any]) -> tuple[ApiKeyRow, str]:
    """Gives a key a new text; the old one stays valid for the transition period. Raises `Refused`."""
    row = find(scene, id)
    editable(row, WHAT, row.name)
    body = parse(raw, RotationBody)
    period = body.key_transition_period_ms
    if period is not None and not 0 <= period <= _LONGEST_TRANSITION_MS:
        raise bad("key_transition_period_ms", f"must be from 0 to {_LONGEST_TRANSITION_MS}")
    token = slugs.new_token()

    def change(old: ApiKeyRow) -> ApiKeyRow:
        _refuse_grant(scene, old.scopes)
        chosen = (old.extra.get("rotation_policy") or {}).get("key_transition_period_ms") if period is None else period
        overlap = TRANSITION_MS if chosen is None else chosen
        return msgspec.structs.replace(
            old,
            digest=slugs.digest(token),
            previous_digest=old.digest if overlap else None,
            previous_expires_at=scene.now + -(-overlap // 1000) if overlap else None,
            updated_at=scene.now,
        )

    return await scene.store.edit_api_key(row.id, change), token


async def delete(scene: Scene, id: str) -> ApiKeyRow:
    """Removes a key; it is refused from then on. Raises `Refused` (403, 404, 409)."""
    row = find(scene, id)
    editable(row, WHAT, row.name)
    _refuse_grant(scene, row.scopes)
    await scene.store.delete_api_key(row.id)
    return row


def find(scene: Scene, id: str) -> ApiKeyRow:
    """The key with an id, or with a name that only one key has. Raises `Refused` (404, 409)."""
    rows = scene.rows.api_keys
    named = [row for row in rows if row.id == id] or [row for row in rows if row.name == id]
    if len(named) > 1:
        raise Refused(Kind.CONFLICT, f"{len(named)} API keys have the name '{id}'; give the id")
    if not named:
        raise missing(WHAT, id, [row.name for row in rows])
    return named[0]


def shown(row: ApiKeyRow, now: int) -> dict[str, Any]:
    """A key as the SDKs read it, without its text."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "type": f"{row.type}-{row.sub_type}",
        "organisation_id": None,
        "workspace_id": row.extra.get("workspace_id"),
        "user_id": row.extra.get("user_id"),
        "status": "expired" if row.expires_at is not None and row.expires_at <= now else "active",
        "created_at": iso(row.created_at),
        "last_updated_at": iso(row.updated_at),
        "expires_at": iso(row.expires_at),
        "key_transition_expires_at": iso(_overlap(row, now)),
        "creation_mode": "file" if row.origin == "file" else "api",
        "rate_limits": limits.shown_rates(row.limits),
        "usage_limits": limits.shown_usage(row.limits, row.extra),
        "reset_usage": None,
        "scopes": list(row.scopes),
        "defaults": {
            "config_id": row.config,
            "metadata": row.metadata,
            "allow_config_override": row.allow_config_override,
        },
        "virtual_keys": None if row.virtual_keys is None else list(row.virtual_keys),
        "models": None if row.models is None else list(row.models),
        "limits": limits.shown(row.limits),
        "alert_emails": row.extra.get("alert_emails", []),
        "rotation_policy": row.extra.get("rotation_policy"),
        "cache_group": row.cache_group,
        "origin": row.origin,
        "object": "api-key",
    }


def _overlap(row: ApiKeyRow, now: int) -> int | None:
    until = row.previous_expires_at
    return until if until is not None and until > now else None


def _secret(body: ApiKeyBody) -> tuple[str, str | None]:
    """The digest of a new key, and its text where this gateway knows it."""
    if body.hash is not UNSET:
        match = _HASH.fullmatch(body.hash)
        if body.key is not UNSET or match is None:
            raise bad("hash", "give key or hash; a hash is sha256: and 64 hexadecimal digits")
        return match[1].lower(), None
    token = slugs.new_token() if body.key is UNSET else slugs.checked_token(body.key)
    return slugs.digest(token), token


def _refuse_filed_token(scene: Scene, row: ApiKeyRow) -> None:
    if any(other.digest == row.digest for other in scene.rows.api_keys):
        raise Refused(Kind.CONFLICT, "another API key has this key text already", param="key")


def _refuse_grant(scene: Scene, scopes: tuple[str, ...]) -> None:
    """Raises `Refused` (403) when the caller lacks one of a key's administrative rights."""
    lacking = sorted((expand(scopes) & ADMIN) - scene.scopes)
    if lacking:
        message = f"your own key lacks the scope {lacking[0]}, so it can neither give it nor manage keys that have it"
        raise Refused(Kind.FORBIDDEN, message, param="scopes", code="033")


def _changed(row: ApiKeyRow, body: ApiKeyBody, scene: Scene) -> ApiKeyRow:
    """The row after a body. Called within the store's transaction."""
    _refuse_grant(scene, row.scopes)
    said = given(body)
    defaults = given(said.pop("defaults", None) or Defaults())
    if "config_id" in defaults:
        said.setdefault("config", defaults["config_id"])
    said = {**{name: value for name, value in defaults.items() if name != "config_id"}, **said}
    values: dict[str, Any] = {name: _READERS[name](scene, value) for name, value in said.items() if name in _READERS}
    values["limits"], extra = limits.merge(row.limits, row.extra, body)
    for name in _KEPT:
        if name in said:
            extra = {**extra, name: msgspec.to_builtins(said[name])}
    if body.reset_usage:
        extra = {**extra, "usage_reset_at": scene.now}
    _refuse_grant(scene, values.get("scopes", row.scopes))
    return msgspec.structs.replace(row, **values, extra=extra, updated_at=scene.now)


def _scopes(scene: Scene, names: list[str]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if name not in KNOWN:
            raise bad(f"scopes[{index}]", f"unknown scope '{name}'{hint(name, KNOWN)}")
    if not names:
        raise bad("scopes", "give at least one scope, such as inference")
    return tuple(dict.fromkeys(names))


def _virtual_keys(scene: Scene, names: list[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    bare = tuple(name.removeprefix("@") for name in names)
    refuse_unknown(scene, bare, (row.slug for row in scene.rows.virtual_keys), "virtual_keys", "virtual key")
    return bare


def _config(scene: Scene, slug: str | None) -> str | None:
    if not slug:
        return None
    for row in scene.rows.configs:
        if slug in (row.slug, row.id):
            return row.slug
    refuse_unknown(scene, [slug], (row.slug for row in scene.rows.configs), "config", "config")
    return slug


def _metadata(scene: Scene, value: dict[str, Any] | None) -> dict[str, str]:
    return {
        name: item if isinstance(item, str) else msgspec.json.encode(item).decode()
        for name, item in (value or {}).items()
    }


_READERS: dict[str, Any] = {
    "name": lambda _, value: text(value, "name"),
    "description": lambda _, value: text(value or "", "description", empty=True),
    "scopes": _scopes,
    "expires_at": lambda _, value: moment(value, "expires_at"),
    "virtual_keys": _virtual_keys,
    "models": lambda _, value: None if value is None else tuple(value),
    "config": _config,
    "metadata": _metadata,
    "allow_config_override": lambda _, value: True if value is None else value,
}


# Handlers


async def _create(context: AdminContext, request: AdminRequest) -> Answer:
    kind, sub_type = request.params.get("type", "workspace"), request.params.get("sub_type", "service")
    row, token = await create(await enter(context, request), read(request.body), kind, sub_type)
    await leave(context, request, "api_keys.create", row.id)
    return Answer({"id": row.id, "key": token, "object": "api-key"})


async def _list(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    workspace = request.query.get("workspace_id")
    rows = [row for row in scene.rows.api_keys if not workspace or row.extra.get("workspace_id") in (None, workspace)]
    return page(rows, request.query, lambda row: scene.seen(shown(row, scene.now), WHAT, row.id))


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    row = find(scene, request.params["id"])
    return Answer(scene.seen(shown(row, scene.now), WHAT, row.id))


async def _update(context: AdminContext, request: AdminRequest) -> Answer:
    row = await update(await enter(context, request), request.params["id"], read(request.body))
    await leave(context, request, "api_keys.update", row.id)
    return Answer({"success": True, "id": row.id, "object": "api-key"})


async def _rotate(context: AdminContext, request: AdminRequest) -> Answer:
    row, token = await rotate(await enter(context, request), request.params["id"], read(request.body))
    await leave(context, request, "api_keys.rotate", row.id)
    until = iso(row.previous_expires_at)
    return Answer({"id": row.id, "key": token, "key_transition_expires_at": until, "object": "api-key"})


async def _reset(context: AdminContext, request: AdminRequest) -> Answer:
    row = find(await enter(context, request), request.params["id"])
    parse(read(request.body), Nothing)
    if not context.reset_usage(WHAT, row.id):
        raise bad("limits.budget", "there is no budget to reset")
    await leave(context, request, "api_keys.reset_usage", row.id)
    return Answer({"success": True})


async def _delete(context: AdminContext, request: AdminRequest) -> Answer:
    row = await delete(await enter(context, request), request.params["id"])
    await leave(context, request, "api_keys.delete", row.id)
    return Answer({"success": True})


_ALL = "/v1/api-keys"
_ONE = "/v1/api-keys/{id}"
_SCOPE = "workspace_service_api_keys"

ROUTES = routes(
    "API keys",
    ("POST", "/v1/api-keys/{id}/rotate", f"{_SCOPE}.update", "Give an API key a new text", _rotate),
    ("POST", f"{_ONE}/reset-usage", f"{_SCOPE}.update", "Set what a budget has spent to nothing", _reset),
    ("POST", "/v1/api-keys/{type}/{sub_type}", f"{_SCOPE}.create", "Create an API key", _create),
    ("POST", _ALL, f"{_SCOPE}.create", "Create an API key of a workspace's service", _create),
    ("GET", _ALL, f"{_SCOPE}.list", "List API keys", _list),
    ("GET", _ONE, f"{_SCOPE}.read", "Show an API key", _show),
    ("PUT", _ONE, f"{_SCOPE}.update", "Change an API key", _update),
    ("DELETE", _ONE, f"{_SCOPE}.delete", "Delete an API key", _delete),
)
