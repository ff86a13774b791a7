"""Providers and integrations: the SDKs' newer names for virtual keys.

On the hosted product an integration holds a credential and a provider makes it usable in a workspace. Here both are
virtual keys: an integration is one with a credential of its own, usable at once, and a provider is any. A provider
that is created from an integration has its credential and follows its changes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.admin import limits, masks, virtual_keys
from proxy.admin.body import bad, iso, parse, read
from proxy.admin.scene import Scene, editable, enter, leave, page, routes
from proxy.ports import VirtualKeyRow
from proxy.routes import AdminContext, AdminRequest, Answer

WORKSPACE = "default"
"""The one workspace of a gateway."""

_RENAMED = {"ai_provider_id": "provider", "description": "note"}
_UNUSED = ("create_default_provider", "default_provider_slug", "pricing_adjustments")


class Model(msgspec.Struct, forbid_unknown_fields=True):
    """A model of an integration, as the SDKs send it."""

    slug: str
    enabled: bool = True
    is_custom: bool | None = None
    is_finetune: bool | None = None
    base_model_slug: str | None = None
    configurations: dict[str, Any] | None = None
    pricing_config: dict[str, Any] | None = None


class ModelsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which models an integration allows: all of them, or those enabled."""

    models: list[Model] = []
    allow_all_models: bool | None = None


# Providers


def shown_provider(row: VirtualKeyRow, now: int) -> dict[str, Any]:
    """A virtual key as a provider."""
    return {
        "id": row.slug,
        "slug": row.slug,
        "name": row.name,
        "note": row.note or None,
        "status": virtual_keys.status(row.expires_at, now),
        "integration_id": row.extra.get("integration_id", row.slug),
        "ai_provider_id": row.provider,
        "ai_provider_name": row.provider,
        "model_config": virtual_keys.model_config(row),
        "workspace_id": row.extra.get("workspace_id"),
        "usage_limits": limits.shown_usage(row.limits, row.extra),
        "rate_limits": limits.shown_rates(row.limits),
        "expires_at": iso(row.expires_at),
        "created_at": iso(row.created_at),
        "last_updated_at": iso(row.updated_at),
        "origin": row.origin,
        "object": "provider",
    }


def _listed_provider(row: VirtualKeyRow, now: int) -> dict[str, Any]:
    """The same in a list, where the Python SDK takes no list of rates."""
    return {name: value for name, value in shown_provider(row, now).items() if name != "rate_limits"}


async def _create_provider(context: AdminContext, request: AdminRequest) -> Answer:
    row = await virtual_keys.create(await enter(context, request), _as_virtual_key(read(request.body)))
    await leave(context, request, "providers.create", row.slug)
    return Answer({"id": row.slug, "slug": row.slug, "object": "provider"})


async def _list_providers(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)

    def view(row: VirtualKeyRow) -> dict[str, Any]:
        return scene.seen(_listed_provider(row, scene.now), virtual_keys.WHAT, row.slug)

    return page(scene.rows.virtual_keys, request.query, view)


async def _show_provider(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    row = virtual_keys.find(scene, request.params["slug"])
    return Answer(scene.seen(shown_provider(row, scene.now), virtual_keys.WHAT, row.slug))


async def _update_provider(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    row = await virtual_keys.update(scene, request.params["slug"], _as_virtual_key(read(request.body)))
    await leave(context, request, "providers.update", row.slug)
    return Answer({"id": row.slug, "slug": row.slug, "object": "provider"})


async def _delete_provider(context: AdminContext, request: AdminRequest) -> Answer:
    row = await virtual_keys.delete(await enter(context, request), request.params["slug"])
    await leave(context, request, "providers.delete", row.slug)
    return Answer({"success": True})


# Integrations


def shown_integration(row: VirtualKeyRow, now: int) -> dict[str, Any]:
    """A virtual key as an integration."""
    return {
        "id": row.slug,
        "slug": row.slug,
        "name": row.name,
        "description": row.note or None,
        "ai_provider_id": row.provider,
        "organisation_id": None,
        "workspace_id": row.extra.get("workspace_id"),
        "owner_id": None,
        "status": virtual_keys.status(row.expires_at, now),
        "configurations": virtual_keys.model_config(row),
        "allow_all_models": row.models is None,
        "global_workspace_access": {"enabled": True},
        "masked_key": masks.MASK if row.key else None,
        "created_at": iso(row.created_at),
        "last_updated_at": iso(row.updated_at),
        "type": "workspace",
        "origin": row.origin,
        "object": "integration",
    }


def _as_virtual_key(raw: dict[str, Any]) -> dict[str, Any]:
    """A body of these routes in the words of a virtual key's."""
    return {_RENAMED.get(name, name): value for name, value in raw.items() if name not in _UNUSED}


def _integrations(scene: Scene) -> list[VirtualKeyRow]:
    return [row for row in scene.rows.virtual_keys if "integration_id" not in row.extra]


async def _create_integration(context: AdminContext, request: AdminRequest) -> Answer:
    row = await virtual_keys.create(await enter(context, request), _as_virtual_key(read(request.body)))
    await leave(context, request, "integrations.create", row.slug)
    return Answer({"id": row.slug, "slug": row.slug, "object": "integration"})


async def _list_integrations(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    return page(_integrations(scene), request.query, lambda row: shown_integration(row, scene.now))


async def _show_integration(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    return Answer(shown_integration(virtual_keys.find(scene, request.params["slug"]), scene.now))


async def _update_integration(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    row = await virtual_keys.update(scene, request.params["slug"], _as_virtual_key(read(request.body)))
    await leave(context, request, "integrations.update", row.slug)
    return Answer({"success": True, "id": row.slug, "slug": row.slug, "object": "integration"})


async def _delete_integration(context: AdminContext, request: AdminRequest) -> Answer:
    row = await virtual_keys.delete(await enter(context, request), request.params["slug"])
    await leave(context, request, "integrations.delete", row.slug)
    return Answer({"success": True})


# Models and workspaces of an integration


async def _list_models(context: AdminContext, request: AdminRequest) -> Answer:
    row = virtual_keys.find(await enter(context, request), request.params["slug"])
    models = [
        {
            "slug": model,
            "enabled": True,
            "is_custom": False,
            "is_finetune": False,
            "base_model_slug": None,
            "pricing_config": None,
            "created_at": iso(row.created_at),
            "last_updated_at": iso(row.updated_at),
        }
        for model in row.models or ()
    ]
    answer = {"object": "list", "total": len(models), "models": models, "allow_all_models": row.models is None}
    return Answer(answer)


async def _update_models(context: AdminContext, request: AdminRequest) -> Answer:
    body = parse(read(request.body), ModelsBody)

    def allowed(old: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if body.allow_all_models or (old is None and body.allow_all_models is None and not body.models):
            return None
        kept = dict.fromkeys(old or ())
        for model in body.models:
            if model.enabled:
                kept[model.slug] = None
            else:
                kept.pop(model.slug, None)
        return tuple(kept)

    return await _edit_models(context, request, allowed)


async def _delete_models(context: AdminContext, request: AdminRequest) -> Answer:
    gone = {slug for slug in request.query.get("slugs", "").split(",") if slug}
    if not gone:
        raise bad("slugs", "name the models to take away, separated by commas")

    def allowed(old: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if old is None else tuple(model for model in old if model not in gone)

    return await _edit_models(context, request, allowed)


async def _edit_models(context: AdminContext, request: AdminRequest, allowed: Any) -> Answer:
    scene = await enter(context, request)
    row = virtual_keys.find(scene, request.params["slug"])
    editable(row, virtual_keys.WHAT, row.slug)
    row = await scene.store.edit_virtual_key(
        row.slug, lambda old: msgspec.structs.replace(old, models=allowed(old.models), updated_at=scene.now)
    )
    await virtual_keys.follow(scene, row)
    await leave(context, request, "integrations.models.update", row.slug)
    return Answer({"success": True})


async def _list_workspaces(context: AdminContext, request: AdminRequest) -> Answer:
    row = virtual_keys.find(await enter(context, request), request.params["slug"])
    workspace = {"id": WORKSPACE, "enabled": True, "created_at": iso(row.created_at)}
    answer = {
        "object": "list",
        "total": 1,
        "data": [workspace],
        "workspaces": [workspace],
        "global_workspace_access": {"enabled": True},
    }
    return Answer(answer)


async def _update_workspaces(context: AdminContext, request: AdminRequest) -> Answer:
    virtual_keys.find(await enter(context, request), request.params["slug"])
    raise bad("workspaces", "this gateway has one workspace; use the allow-lists of API keys to say who may use what")


_PROVIDERS = "/v1/providers"
_PROVIDER = "/v1/providers/{slug}"
_INTEGRATIONS = "/v1/integrations"
_INTEGRATION = "/v1/integrations/{slug}"
_MODELS = "/v1/integrations/{slug}/models"
_WORKSPACES = "/v1/integrations/{slug}/workspaces"

ROUTES = (
    *routes(
        "providers",
        ("POST", _PROVIDERS, "providers.create", "Create a provider", _create_provider),
        ("GET", _PROVIDERS, "providers.list", "List providers", _list_providers),
        ("GET", _PROVIDER, "providers.read", "Show a provider", _show_provider),
        ("PUT", _PROVIDER, "providers.update", "Change a provider", _update_provider),
        ("DELETE", _PROVIDER, "providers.delete", "Delete a provider", _delete_provider),
    ),
    *routes(
        "integrations",
        ("POST", _INTEGRATIONS, "integrations.create", "Create an integration", _create_integration),
        ("GET", _INTEGRATIONS, "integrations.list", "List integrations", _list_integrations),
        ("GET", _INTEGRATION, "integrations.read", "Show an integration", _show_integration),
        ("PUT", _INTEGRATION, "integrations.update", "Change an integration", _update_integration),
        ("DELETE", _INTEGRATION, "integrations.delete", "Delete an integration", _delete_integration),
        ("GET", _MODELS, "integrations.read", "List an integration's models", _list_models),
        ("PUT", _MODELS, "integrations.update", "Allow or forbid models", _update_models),
        ("DELETE", _MODELS, "integrations.update", "Take models from the allow-list", _delete_models),
        ("GET", _WORKSPACES, "integrations.read", "List an integration's workspaces", _list_workspaces),
        ("PUT", _WORKSPACES, "integrations.update", "Refused: there is one workspace", _update_workspaces),
    ),
)
