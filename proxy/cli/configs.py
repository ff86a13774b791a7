"""`loopway configs`: saved config objects and their versions from a shell. See `proxy.cli.entities`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from proxy.admin import config_versions
from proxy.admin import configs as config_rows
from proxy.admin.scene import Scene
from proxy.cli.rows import common, make_body, noted, print_row, print_table, run
from proxy.ports import ConfigRow


@click.group()
def configs() -> None:
    """Create, list, show, update and delete saved config objects; compare their versions and go back to one.

    Example: loopway configs create production --file config.json
    """


def _config(file: str) -> dict[str, Any]:
    """A config object from a JSON or YAML file, or from standard input."""
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.ClickException(f"cannot read {file}: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise click.ClickException(f"{file}{place}: not valid JSON or YAML: {problem}") from None
    if not isinstance(config, dict):
        raise click.ClickException(f"{file}: a config is an object")
    return config


def _saved(row: ConfigRow) -> dict[str, Any]:
    """A row that was written; what is odd about it goes to stderr."""
    for warning in config_rows.warnings(row):
        click.echo(f"warning: {warning}", err=True)
    return config_rows.shown(row)


@configs.command("create")
@click.argument("name")
@click.option("--file", required=True, metavar="PATH", help="The config object, JSON or YAML; - for standard input.")
@click.option("--slug", help="Its name in requests; without it: pc-, the name and six random digits.")
@click.option("--default", "is_default", is_flag=True, default=None, help="Make it the default.")
@common
def create_config(name: str, file: str, slug: str | None, is_default: bool | None, data: str, as_json: bool) -> None:
    """Save a config object.

    Example: loopway configs create production --file config.json --slug pc-production
    """
    body = make_body((), name=name, config=_config(file), slug=slug, is_default=is_default)

    async def operation(scene: Scene) -> dict[str, Any]:
        return _saved(await config_rows.create(scene, body))

    view = run(data, operation, make=True)
    noted("configs.create", view["slug"])
    print_row(view if as_json else {name: view[name] for name in ("slug", "name", "version_id")}, as_json=as_json)


@configs.command("list")
@common
def list_configs(data: str, as_json: bool) -> None:
    """List saved configs.

    Example: loopway configs list
    """

    async def operation(scene: Scene) -> list[dict[str, Any]]:
        return [config_rows.shown(row) for row in scene.rows.configs]

    print_table(
        run(data, operation),
        ("slug", "name", "version", "is_default", "created_at", "last_updated_at"),
        as_json=as_json,
    )


@configs.command("show")
@click.argument("slug")
@click.option("--versions", is_flag=True, help="All versions, newest first.")
@common
def show_config(slug: str, versions: bool, data: str, as_json: bool) -> None:
    """Show a saved config, with masks for the keys in it.

    Example: loopway configs show pc-production --versions
    """

    async def operation(scene: Scene) -> list[dict[str, Any]]:
        if versions:
            return [config_rows.shown(row) for row in await config_rows.versions(scene, slug)]
        return [config_rows.shown(config_rows.find(scene, slug))]

    found = run(data, operation)
    if versions:
        print_table(found, ("version", "version_id", "last_updated_at", "config"), as_json=as_json)
    else:
        print_row(found[0], as_json=as_json)


@configs.command("update")
@click.argument("slug")
@click.option("--name", help="New name; the slug stays.")
@click.option("--file", metavar="PATH", help="The new config object, JSON or YAML; - for standard input.")
@click.option("--default/--no-default", "is_default", default=None, help="Whether it is the default.")
@common
def update_config(
    slug: str, name: str | None, file: str | None, is_default: bool | None, data: str, as_json: bool
) -> None:
    """Change a saved config; a changed object is a new version.

    Example: loopway configs update pc-production --file config.json
    """
    body = make_body((), name=name, config=_config(file) if file else None, is_default=is_default)

    async def operation(scene: Scene) -> dict[str, Any]:
        return _saved(await config_rows.update(scene, slug, body))

    view = run(data, operation)
    noted("configs.update", view["slug"])
    print_row(view, as_json=as_json)


@configs.command("delete")
@click.argument("slug")
@common
def delete_config(slug: str, data: str, as_json: bool) -> None:
    """Delete a saved config and its versions.

    Example: loopway configs delete pc-production
    """

    async def operation(scene: Scene) -> str:
        return (await config_rows.delete(scene, slug)).slug

    deleted = run(data, operation)
    noted("configs.delete", deleted)
    print_row({"deleted": deleted}, as_json=as_json)


@configs.command("rotate", hidden=True)
@click.argument("slug")
@common
def rotate_config(slug: str, data: str, as_json: bool) -> None:
    """Refuse, and say what to rotate instead: a config has no credential of its own.

    Example: loopway configs rotate pc-production
    """
    raise click.ClickException(
        f"the config '{slug}' has no credential of its own; loopway virtual-keys rotate replaces that of a virtual key "
        f"it names, and loopway configs update {slug} the config itself"
    )


@configs.command("versions")
@click.argument("slug")
@common
def list_versions(slug: str, data: str, as_json: bool) -> None:
    """List the versions of a saved config, newest first.

    Example: loopway configs versions pc-production
    """

    async def operation(scene: Scene) -> list[dict[str, Any]]:
        return [config_rows.shown(row) for row in await config_rows.versions(scene, slug)]

    print_table(run(data, operation), ("version", "version_id", "last_updated_at"), as_json=as_json)


@configs.command("diff")
@click.argument("slug")
@click.argument("old", required=False)
@click.argument("new", required=False)
@common
def diff_versions(slug: str, old: str | None, new: str | None, data: str, as_json: bool) -> None:
    """Say what changed between two versions (numbers or ids); without them, in the newest.

    Example: loopway configs diff pc-production 3 5
    """

    async def operation(scene: Scene) -> dict[str, Any]:
        return config_versions.shown_diff(*await config_versions.diff(scene, slug, old, new))

    found = run(data, operation)
    if as_json:
        print_row(found, as_json=True)
        return
    click.echo(f"{slug}: version {found['from']['version']} -> {found['to']['version']}")
    for change in found["changes"]:
        for mark, side, silent in (("-", "old", "add"), ("+", "new", "remove")):
            if change["op"] != silent:
                click.echo(f"{mark} {change['path']}: {json.dumps(change.get(side), ensure_ascii=False)}")
    if not found["changes"]:
        click.echo("nothing changed")


@configs.command("rollback")
@click.argument("slug")
@click.argument("version", required=False)
@common
def roll_back(slug: str, version: str | None, data: str, as_json: bool) -> None:
    """Make an older version (its number or id; without it, the one before) the current one: a new version.

    Example: loopway configs rollback pc-production 3
    """

    async def operation(scene: Scene) -> dict[str, Any]:
        return _saved(await config_versions.rollback(scene, slug, version))

    view = run(data, operation)
    noted("configs.rollback", view["slug"])
    print_row(view if as_json else {name: view[name] for name in ("slug", "version", "version_id")}, as_json=as_json)
