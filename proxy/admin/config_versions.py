"""Versions of saved configs: one of them, what changed between two, and going back to one.

Going back makes a new version with the content of an old one, so the history stays whole and can be gone back on too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from adapters.errors import Kind
from proxy.admin import configs, masks, slugs
from proxy.admin.body import bad, parse, read
from proxy.admin.scene import Scene, editable, enter, leave, routes
from proxy.errors import Refused
from proxy.ports import ConfigRow
from proxy.routes import AdminContext, AdminRequest, Answer

Step = str | int
_ABSENT = object()


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place where two versions differ. `path` is as in `config.targets[0].retry`; `op` is add, remove or replace.
    What is secret is shown as a mask on both sides."""

    path: str
    op: str
    old: Any = None
    new: Any = None


class RollbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which version to go back to, by number or id; without either, the one before the current."""

    version: int | None = None
    version_id: str | None = None


async def version(scene: Scene, slug: str, name: str) -> ConfigRow:
    """One version, by its number or its id. Raises `Refused` (404)."""
    rows = await configs.versions(scene, slug)
    for row in rows:
        if name in (str(row.version), row.version_id):
            return row
    raise Refused(Kind.NOT_FOUND, f"'{slug}' has no version '{name}'; it has {_listed(rows)}", param="version")


async def diff(scene: Scene, slug: str, old: str | None, new: str | None) -> tuple[ConfigRow, ConfigRow, list[Change]]:
    """Two versions and what changed from one to the other. Without names: the one before the newest, and the newest.
    Raises `Refused` (404)."""
    rows = await configs.versions(scene, slug)
    later = rows[0] if new is None else await version(scene, slug, new)
    if old is not None:
        earlier = await version(scene, slug, old)
    else:
        earlier = next((row for row in rows if row.version < later.version), later)
    shown = (masks.mask(earlier.config), masks.mask(later.config))
    return earlier, later, list(_changes(earlier.config, later.config, *shown, "config"))


async def rollback(scene: Scene, slug: str, name: str | None) -> ConfigRow:
    """Makes an old version's content the current one. Raises `Refused` (400, 404, 409)."""
    row = configs.find(scene, slug)
    editable(row, configs.WHAT, row.slug)
    rows = await configs.versions(scene, slug)
    if name is None and len(rows) < 2:
        raise Refused(Kind.CONFLICT, f"'{row.slug}' has no version to go back to", param="version")
    wanted = rows[1] if name is None else await version(scene, slug, name)
    content = configs.checked(scene, wanted.config)
    again = {"config": content, "version_id": slugs.new_id(), "updated_at": scene.now}
    return await scene.store.edit_config(row.slug, lambda old: msgspec.structs.replace(old, **again))


def _listed(rows: tuple[ConfigRow, ...]) -> str:
    numbers = [str(row.version) for row in rows]
    return ", ".join(numbers[:10]) + (" …" if len(numbers) > 10 else "")


def _changes(old: Any, new: Any, old_shown: Any, new_shown: Any, path: str) -> Iterator[Change]:
    """Where two values differ. They are compared as they are, and told as they may be shown."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _change(old, new, old_shown, new_shown, name, f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _change(old, new, old_shown, new_shown, index, f"{path}[{index}]")
    elif old != new or type(old) is not type(new):
        yield Change(path, "replace", _told(old_shown), _told(new_shown))


def _change(old: Any, new: Any, old_shown: Any, new_shown: Any, step: Step, path: str) -> Iterator[Change]:
    before, after = _at(old, step), _at(new, step)
    if before is _ABSENT:
        yield Change(path, "add", new=_told(_at(new_shown, step)))
    elif after is _ABSENT:
        yield Change(path, "remove", old=_told(_at(old_shown, step)))
    else:
        yield from _changes(before, after, _at(old_shown, step), _at(new_shown, step), path)


def _at(value: Any, step: Step) -> Any:
    if isinstance(value, list):
        return value[step] if isinstance(step, int) and step < len(value) else _ABSENT
    return value.get(step, _ABSENT)


def _told(value: Any) -> Any:
    """A shown value; of a mask only that it is one, since its place is the change's own."""
    if isinstance(value, dict):
        return {name: _told(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_told(item) for item in value]
    return masks.MASK if isinstance(value, str) and value.startswith(f"{masks.MASK}:") else value


def shown_diff(old: ConfigRow, new: ConfigRow, changes: list[Change]) -> dict[str, Any]:
    """A difference as it is answered."""
    return {
        "object": "config-diff",
        "slug": new.slug,
        "from": {"version": old.version, "version_id": old.version_id or None},
        "to": {"version": new.version, "version_id": new.version_id or None},
        "changes": [msgspec.to_builtins(change) for change in changes],
    }


# Handlers


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    whole = configs.shown(await version(scene, request.params["slug"], request.params["version"]))
    return Answer({"success": True, "data": whole, **whole})


async def _diff(context: AdminContext, request: AdminRequest) -> Answer:
    scene = await enter(context, request)
    found = await diff(scene, request.params["slug"], request.query.get("from"), request.query.get("to"))
    return Answer({"success": True, **shown_diff(*found)})


async def _rollback(context: AdminContext, request: AdminRequest) -> Answer:
    body = parse(read(request.body) if request.body.strip() else {}, RollbackBody)
    if body.version is not None and body.version_id is not None:
        raise bad("version_id", "give 'version' or 'version_id', not both")
    name = body.version_id if body.version is None else str(body.version)
    row = await rollback(await enter(context, request), request.params["slug"], name)
    await leave(context, request, "configs.rollback", row.slug)
    named = {"version": row.version, "version_id": row.version_id, "slug": row.slug}
    return Answer({"success": True, "data": named, **named, "object": "config"})


_ONE = "/v1/configs/{slug}"

ROUTES = routes(
    "configs",
    ("GET", f"{_ONE}/versions/{{version}}", "configs.read", "Show one version of a config", _show),
    ("GET", f"{_ONE}/diff", "configs.read", "What changed between two versions: ?from=N&to=M", _diff),
    ("POST", f"{_ONE}/rollback", "configs.update", "Go back to an older version; a new version", _rollback),
)
