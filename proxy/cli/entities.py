"""`loopway keys` and `virtual-keys`: the store's rows from a shell; `configs` are beside them.

They work on the store itself, through the same operations as the admin API, whether or not a gateway runs; one that
does sees the change within a second. What the configuration file defines is not seen here.
"""

from __future__ import annotations

from typing import Any

import click

from adapters.providers import PROVIDERS
from proxy.admin import api_keys as key_rows
from proxy.admin import virtual_keys as virtual_key_rows
from proxy.admin.body import iso
from proxy.admin.scene import Scene
from proxy.cli.rows import (
    SET,
    asked_key,
    common,
    credential,
    make_body,
    note_unknown,
    noted,
    pairs,
    print_row,
    print_table,
    run,
)

# API keys


@click.group()
def keys() -> None:
    """Create, list, show, update, rotate and delete API keys, the credentials of this gateway.

    Example: loopway keys create team-a --scope inference
    """


@keys.command("create")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="inference (default), admin, logs, analytics …; repeatable.")
@click.option("--virtual-key", "virtual_keys", multiple=True, metavar="SLUG", help="Allow only these; repeatable.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Allow only these models; repeatable.")
@click.option("--config", metavar="SLUG", help="Default config.")
@click.option("--expires", "expires_at", metavar="DATE", help="Such as 2030-12-31T12:00:00Z.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Metadata of every request; repeatable.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=SET)
@credential("the text of the key, instead of a random one")
@common
def create_key(
    name: str,
    metadata: tuple[str, ...],
    settings: tuple[str, ...],
    secret: str | None,
    data: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Create an API key and print its text, once.

    Example: loopway keys create team-a --virtual-key openai-prod --set 'limits={"concurrency": 8}'
    """
    body = make_body(settings, name=name, key=secret, metadata=pairs("--metadata", metadata), **options)

    async def operation(scene: Scene) -> tuple[str, str | None]:
        note_unknown(body.get("virtual_keys", ()), [row.slug for row in scene.rows.virtual_keys], "virtual key")
        row, token = await key_rows.create(scene, body)
        return row.id, token

    id, token = run(data, operation, make=True)
    noted("api_keys.create", id)
    print_row({"id": id, "name": name, "key": token}, as_json=as_json)
    if token is not None and not as_json:
        click.echo("Keep the key now: it is not shown again.", err=True)


@keys.command("list")
@common
def list_keys(data: str, as_json: bool) -> None:
    """List API keys.

    Example: loopway keys list --json
    """

    async def operation(scene: Scene) -> list[dict[str, Any]]:
        return [key_rows.shown(row, scene.now) for row in scene.rows.api_keys]

    columns = ("id", "name", "scopes", "virtual_keys", "status", "expires_at", "created_at")
    print_table(run(data, operation), columns, as_json=as_json)


@keys.command("show")
@click.argument("key", metavar="ID|NAME")
@common
def show_key(key: str, data: str, as_json: bool) -> None:
    """Show an API key; its text is known to nobody.

    Example: loopway keys show team-a
    """

    async def operation(scene: Scene) -> dict[str, Any]:
        return key_rows.shown(key_rows.find(scene, key), scene.now)

    print_row(run(data, operation), as_json=as_json)


@keys.command("update")
@click.argument("key", metavar="ID|NAME")
@click.option("--name", help="New name.")
@click.option("--scope", "scopes", multiple=True, help="All scopes it shall have; repeatable.")
@click.option("--virtual-key", "virtual_keys", multiple=True, metavar="SLUG", help="Allow only these; repeatable.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Allow only these models; repeatable.")
@click.option("--config", metavar="SLUG", help="Default config.")
@click.option("--expires", "expires_at", metavar="DATE", help="Such as 2030-12-31T12:00:00Z.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=SET)
@common
def update_key(key: str, settings: tuple[str, ...], data: str, as_json: bool, **options: Any) -> None:
    """Change an API key. Fields that are not named stay; null clears one.

    Example: loopway keys update team-a --scope inference --set virtual_keys=null
    """
    body = make_body(settings, **options)

    async def operation(scene: Scene) -> dict[str, Any]:
        return key_rows.shown(await key_rows.update(scene, key, body), scene.now)

    view = run(data, operation)
    noted("api_keys.update", view["id"])
    print_row(view, as_json=as_json)


@keys.command("rotate")
@click.argument("key", metavar="ID|NAME")
@click.option("--overlap", type=click.IntRange(0), metavar="SECONDS", help="How long the old text stays valid [1800].")
@common
def rotate_key(key: str, overlap: int | None, data: str, as_json: bool) -> None:
    """Give an API key a new text and print it, once.

    Example: loopway keys rotate team-a --overlap 3600
    """
    body = {} if overlap is None else {"key_transition_period_ms": overlap * 1000}

    async def operation(scene: Scene) -> dict[str, Any]:
        row, token = await key_rows.rotate(scene, key, body)
        return {"id": row.id, "key": token, "key_transition_expires_at": iso(row.previous_expires_at)}

    view = run(data, operation)
    noted("api_keys.rotate", view["id"])
    print_row(view, as_json=as_json)
    if not as_json:
        click.echo("Keep the key now: it is not shown again.", err=True)


@keys.command("delete")
@click.argument("key", metavar="ID|NAME")
@common
def delete_key(key: str, data: str, as_json: bool) -> None:
    """Delete an API key; running workers refuse it within a second.

    Example: loopway keys delete team-a
    """

    async def operation(scene: Scene) -> str:
        return (await key_rows.delete(scene, key)).id

    id = run(data, operation)
    noted("api_keys.delete", id)
    print_row({"deleted": id}, as_json=as_json)


# Virtual keys


@click.group("virtual-keys")
def virtual_keys() -> None:
    """Create, list, show, update, rotate and delete virtual keys: stored provider credentials, addressed by slug.

    Example: loopway virtual-keys create openai-prod --provider openai --key-env OPENAI_API_KEY
    """


@virtual_keys.command("create")
@click.argument("name")
@click.option("--provider", required=True, metavar="NAME", help="Such as openai or anthropic.")
@click.option("--slug", help="Its name in requests; without it: the name and six random digits.")
@click.option("--custom-host", metavar="URL", help="Where the provider is, if not at its usual address.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Allow only these models; repeatable.")
@click.option("--alias", "aliases", multiple=True, metavar="NAME=MODEL", help="Another name of a model; repeatable.")
@click.option("--note", help="A note.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=SET)
@credential("the provider's credential")
@common
def create_virtual_key(
    name: str,
    provider: str,
    aliases: tuple[str, ...],
    settings: tuple[str, ...],
    secret: str | None,
    data: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Store a provider's credential, encrypted. Without --key…, it is asked for, or read from standard input.

    Example: loopway virtual-keys create openai-prod --provider openai --slug openai-prod --key-env OPENAI_API_KEY
    """
    row = PROVIDERS.get(provider)
    if secret is None and row is not None and row.key_required:
        secret = asked_key(provider)
    body = make_body(settings, name=name, provider=provider, key=secret, aliases=pairs("--alias", aliases), **options)

    async def operation(scene: Scene) -> dict[str, Any]:
        return virtual_key_rows.shown(await virtual_key_rows.create(scene, body), scene.now)

    view = run(data, operation, make=True)
    noted("virtual_keys.create", view["slug"])
    print_row(view if as_json else {name: view[name] for name in ("slug", "name", "provider")}, as_json=as_json)


@virtual_keys.command("list")
@common
def list_virtual_keys(data: str, as_json: bool) -> None:
    """List virtual keys.

    Example: loopway virtual-keys list
    """

    async def operation(scene: Scene) -> list[dict[str, Any]]:
        return [virtual_key_rows.shown(row, scene.now) for row in scene.rows.virtual_keys]

    columns = ("slug", "name", "provider", "models", "status", "created_at")
    print_table(run(data, operation), columns, as_json=as_json)


@virtual_keys.command("show")
@click.argument("slug")
@common
def show_virtual_key(slug: str, data: str, as_json: bool) -> None:
    """Show a virtual key; its credential never.

    Example: loopway virtual-keys show openai-prod
    """

    async def operation(scene: Scene) -> dict[str, Any]:
        return virtual_key_rows.shown(virtual_key_rows.find(scene, slug), scene.now)

    print_row(run(data, operation), as_json=as_json)


def _update_virtual_key(slug: str, body: dict[str, Any], action: str, data: str, *, as_json: bool) -> None:
    async def operation(scene: Scene) -> dict[str, Any]:
        return virtual_key_rows.shown(await virtual_key_rows.update(scene, slug, body), scene.now)

    view = run(data, operation)
    noted(action, view["slug"])
    print_row(view, as_json=as_json)


@virtual_keys.command("update")
@click.argument("slug")
@click.option("--name", help="New name; the slug stays.")
@click.option("--custom-host", metavar="URL", help="Where the provider is.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="Allow only these models; repeatable.")
@click.option("--alias", "aliases", multiple=True, metavar="NAME=MODEL", help="All aliases it shall have; repeatable.")
@click.option("--note", help="A note.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=SET)
@credential("the provider's new credential")
@common
def update_virtual_key(
    slug: str,
    aliases: tuple[str, ...],
    settings: tuple[str, ...],
    secret: str | None,
    data: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Change a virtual key. Fields that are not named stay; null clears one.

    Example: loopway virtual-keys update openai-prod --model 'gpt-5*' --set default_model=null
    """
    body = make_body(settings, key=secret, aliases=pairs("--alias", aliases), **options)
    _update_virtual_key(slug, body, "virtual_keys.update", data, as_json=as_json)


@virtual_keys.command("rotate")
@click.argument("slug")
@credential("the provider's new credential")
@common
def rotate_virtual_key(slug: str, secret: str | None, data: str, as_json: bool) -> None:
    """Replace the stored credential. Without --key…, it is asked for, or read from standard input.

    Example: loopway virtual-keys rotate openai-prod --key-env NEW_OPENAI_API_KEY
    """
    secret = secret or asked_key(slug)
    if not secret:
        raise click.ClickException("the new credential is empty")
    _update_virtual_key(slug, {"key": secret}, "virtual_keys.rotate", data, as_json=as_json)


@virtual_keys.command("delete")
@click.argument("slug")
@common
def delete_virtual_key(slug: str, data: str, as_json: bool) -> None:
    """Delete a virtual key.

    Example: loopway virtual-keys delete openai-prod
    """

    async def operation(scene: Scene) -> str:
        return (await virtual_key_rows.delete(scene, slug)).slug

    deleted = run(data, operation)
    noted("virtual_keys.delete", deleted)
    print_row({"deleted": deleted}, as_json=as_json)
