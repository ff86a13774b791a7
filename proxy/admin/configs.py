"""Saved config objects, addressed by slug (`pc-…`). Every change of the object makes a version.

An object may hold keys of its targets. They are encrypted at rest and shown as masks, which an update may send back.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from adapters.errors import Kind
from proxy.admin import masks, slugs
from proxy.admin.body import bad, iso, parse, read, text
from proxy.admin.scene import Scene, editable, enter, leave, missing, page, routes
from proxy.config import objects
from proxy.config.near import nearest
from proxy.errors import Refused
from proxy.ports import ConfigRow
from proxy.routes import AdminContext, AdminRequest, Answer

WHAT = "config"
_IGNORED = (
    "organisation_id", "id", "object", "owner_id", "updated_by", "format", "type", "version_id", "created_at",
    "last_updated_at",
)  # fmt: skip


class ConfigBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may stand in a body. The config is an object, or its JSON as text."""

    name: str | UnsetType = UNSET
    config: dict[str, Any] | str | UnsetType = UNSET
    slug: str | UnsetType | None = UNSET
    is_default: int | bool | UnsetType | None = UNSET
    isDefault: int | bool | UnsetType | None = UNSET
    status: Literal["active"] | UnsetType | None = UNSET
    workspace_id: str | UnsetType | None = UNSET


def _understood(raw: dict[str, Any]) -> ConfigBody:
    return parse({name: value for name, value in raw.items() if name not in _IGNORED}, ConfigBody)


async def create(scene: Scene, raw: dict[str, Any]) -> ConfigRow:
    """Saves a config object. Raises `Refused` (400, 409)."""
    body = _understood(raw)
    if body.name is UNSET:
        raise bad("name", "is missing")
    if body.config is UNSET:
        raise bad("config", "is missing")
    name = text(body.name, "name")
    slug = slugs.checked(body.slug) if body.slug else slugs.make(name, "pc-")
    if any(row.slug == slug for row in scene.rows.configs):
        raise Refused(Kind.CONFLICT, f"there is a config '{slug}' already", param="slug")
    row = ConfigRow(
        slug=slug,
        name=name,
        config=checked(scene, masks.unmask(_object(body.config), {})),
        id=slugs.new_id(),
        version_id=slugs.new_id(),
        is_default=_is_default(body) or False,
        created_at=scene.now,
        updated_at=scene.now,
    )
    await scene.store.insert_config(row)
    return row


async def update(scene: Scene, slug: str, raw: dict[str, Any]) -> ConfigRow:
    """Changes what the body names; a changed object is a new version. Raises `Refused` (400, 404, 409)."""
    row = find(scene, slug)
    editable(row, WHAT, row.slug)
    body = _understood(raw)
    if body.slug not in (UNSET, None, row.slug, row.id):
        raise bad("slug", "a slug never changes; save the config under a new name")
    given = None if body.config is UNSET else _object(body.config)

    def change(old: ConfigRow) -> ConfigRow:
        values: dict[str, Any] = {"updated_at": scene.now}
        if body.name is not UNSET:
            values["name"] = text(body.name, "name")
        if _is_default(body) is not None:
            values["is_default"] = _is_default(body)
        if given is not None:
            restored = masks.unmask(given, old.config, _tag(old))
            values |= {"config": checked(scene, restored), "version_id": slugs.new_id()}
        return msgspec.structs.replace(old, **values)

    return await scene.store.edit_config(row.slug, change)


async def delete(scene: Scene, slug: str) -> ConfigRow:
    """Removes a config and its versions. Raises `Refused` (404, 409)."""
    row = find(scene, slug)
    editable(row, WHAT, row.slug)
    users = [key.name for key in scene.rows.api_keys if key.config == row.slug]
    if users:
        raise Refused(Kind.CONFLICT, f"'{row.slug}' is the default config of the API keys {', '.join(users)}")
    await scene.store.delete_config(row.slug)
    return row


async def versions(scene: Scene, slug: str) -> tuple[ConfigRow, ...]:
    """All versions, newest first; a config of the file has one. Raises `Refused` (404)."""
    row = find(scene, slug)
    return (row,) if row.origin == "file" else await scene.store.config_versions(row.slug)


def find(scene: Scene, slug: str) -> ConfigRow:
    """The config with a slug or an id. Raises `Refused` (404)."""
    for row in scene.rows.configs:
        if slug in (row.slug, row.id):
            return row
    raise missing(WHAT, slug, [row.slug for row in scene.rows.configs])


def shown(row: ConfigRow) -> dict[str, Any]:
    """A config as the SDKs read it, with masks for keys."""
    return {
        "id": row.id or row.slug,
        "organisation_id": None,
        "workspace_id": None,
        "slug": row.slug,
        "name": row.name,
        "config": masks.mask(row.config, _tag(row)),
        "is_default": int(row.is_default),
        "status": "active",
        "owner_id": None,
        "updated_by": None,
        "created_at": iso(row.created_at),
        "last_updated_at": iso(row.updated_at),
        "format": "json",
        "type": "ORG_CONFIG",
        "version": row.version,
        "version_id": row.version_id or None,
        "origin": row.origin,
        "object": "config",
    }


def warnings(row: ConfigRow) -> list[str]:
    """What is odd about a config that can be used all the same: keys that nobody knows, settings without effect."""
    return list(objects.parse(row.config).warnings)


def _tag(row: ConfigRow) -> str:
    return f"@{row.version}"


def _is_default(body: ConfigBody) -> bool | None:
    for value in (body.is_default, body.isDefault):
        if isinstance(value, int):
            return bool(value)
    return None


def _object(config: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(config, dict):
        return config
    try:
        return read(config.encode())
    except Refused as error:
        raise bad("config", error.message) from None


def checked(scene: Scene, config: dict[str, Any]) -> dict[str, Any]:
    """The object, if it can be used: its schema, and the virtual keys that it names."""
    try:
        node = objects.parse(config)
    except objects.InvalidConfig as error:
        raise Refused(
            Kind.INVALID_REQUEST, "Invalid config passed", param="config", errors=tuple(error.findings)
        ) from None
    known = {row.slug for row in scene.rows.virtual_keys}
    unknown = sorted(_slugs(node) - known) if scene.complete else []
    if unknown:
        near = nearest(unknown[0], known)
        message = f"Following keys are not valid: {', '.join(unknown)}"
        raise bad("config", f"{message}; did you mean '{near}'?" if near else message)
    return config


def _slugs(node: objects.Node) -> set[str]:
    """The virtual keys that a config's targets name."""
    found = {node.virtual_key} if node.virtual_key else set()
    if node.provider and node.provider.startswith("@"):
        found.add(node.provider[1:].partition("/")[0])
    return found.union(*(_slugs(target) for target in node.targets))


# Handlers


async def _create(context: AdminContext, request: AdminRequest) -> Answer:
    row = await create(await enter(context, request), read(request.body))
    await leave(context, request, "configs.create", row.slug)
    named = {"id": row.id, "version_id": row.version_id, "slug": row.slug}
    return Answer({"success": True, "data": named, **named, "object": "config", "warnings": warnings(row)})


async def _list(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    return page(scene.rows.configs, request.query, shown)


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    whole = shown(find(await enter(context, request), request.params["slug"]))
    return Answer({"success": True, "data": whole, **whole})


async def _update(context: AdminContext, request: AdminRequest) -> Answer:
    row = await update(await enter(context, request), request.params["slug"], read(request.body))
    await leave(context, request, "configs.update", row.slug)
    named = {"version_id": row.version_id, "slug": row.slug}
    return Answer({"success": True, "data": named, **named, "object": "config", "warnings": warnings(row)})


async def _delete(context: AdminContext, request: AdminRequest) -> Answer:
    row = await delete(await enter(context, request), request.params["slug"])
    await leave(context, request, "configs.delete", row.slug)
    return Answer({"success": True})


async def _versions(context: AdminContext, request: AdminRequest) -> Answer:
    rows = await versions(await enter(context, request), request.params["slug"])
    return page(rows, request.query, shown)


_ALL = "/v1/configs"
_ONE = "/v1/configs/{slug}"

ROUTES = routes(
    "configs",
    ("POST", _ALL, "configs.create", "Save a config", _create),
    ("GET", _ALL, "configs.list", "List configs", _list),
    ("GET", _ONE, "configs.read", "Show a config", _show),
    ("PUT", _ONE, "configs.update", "Change a config; a new version", _update),
    ("DELETE", _ONE, "configs.delete", "Delete a config", _delete),
    ("GET", "/v1/configs/{slug}/versions", "configs.read", "List the versions of a config", _versions),
)
