"""`loopway prices`: what tokens cost, and taking over another table."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from pathlib import Path
from time import time

import click
import msgspec

from proxy.admin.scene import Scene
from proxy.cli.rows import run
from proxy.config.file import load
from proxy.errors import PriceError
from proxy.prices import TIERS, Entry, Prices, Table, as_json, decode_table, read_table, table_of, vendored
from proxy.prices.litellm import convert, odd_prices, unknown_prices
from proxy.store import prices as jobs

_SHOWN = ("input", "output", "cache_read", "cache_write", "search", "second")
_data = click.option(
    "--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory of the store."
)


@click.group()
def prices() -> None:
    """Show what tokens cost, and take over another table.

    Example: loopway prices show 'gpt-4o*'
    """


@prices.command()
@click.argument("models", default="*")
@click.option("--provider", help="Only this provider's.")
@click.option("--config", type=click.Path(dir_okay=False), envvar="LOOPWAY_CONFIG", help="File whose prices win.")
@click.option("--stored", is_flag=True, help="With what the store of --data holds: prices set, and its table.")
@click.option("--format", "form", default="table", type=click.Choice(["table", "json"]), show_default=True)
@_data
def show(models: str, provider: str | None, config: str | None, stored: bool, form: str, data: str) -> None:
    """Show prices in US dollars per million tokens. MODELS is a pattern.

    Example: loopway prices show 'claude-*' --provider anthropic
    """
    found = Prices(_tables(config, data if stored else None))
    rows = []
    for name in sorted({name for table in found.tables for name in table.providers if provider in (None, name)}):
        known = {model for table in found.tables for model in table.providers.get(name, ())}
        for model in sorted(model for model in known if fnmatchcase(model, models)):
            price = found.find(name, model)
            if price is not None:
                rows.append({"provider": name, "model": model, "id": price.id, **msgspec.to_builtins(price.entry)})
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        rates = "  ".join(f"{rate} {row[rate]:g}" for rate in _SHOWN if rate in row)
        more = ", ".join(name for name in ("above", *TIERS, "regions") if name in row)
        click.echo(f"{row['provider']}/{row['model']}  {rates}{f'  (+ {more})' if more else ''}")
    table = found.tables[-1]
    unit = "US dollars per million tokens (search, second: each)"
    click.echo(f"{len(rows)} prices, {unit}; table {table.version} of {table.date or 'no date'}")


@prices.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--version", "name", help="The table's version, where the file has none (LiteLLM's).")
@_data
def update(file: str, name: str | None, data: str) -> None:
    """Take over a table from a file: one of Loopway's own form, or LiteLLM's list of model prices.

    It is checked as a whole first; one mistake, and everything stays as it was.

    Example: loopway prices update model_prices_and_context_window.json --version litellm-1.110.2
    """
    text = Path(file).read_bytes()
    own, strange, odd = b'"providers"' in text[:4096], list[str](), list[str]()
    try:
        table = decode_table(text if own else as_json(convert(text, name or _dated(file))))
        if not own:
            strange, odd = unknown_prices(text), odd_prices(text)
        if not table.providers:
            raise PriceError("there are no prices in it")
    except PriceError as error:
        raise click.ClickException(f"{file}: {error}; the prices stay as they were") from None

    async def put(scene: Scene) -> None:
        await scene.store.run("keys", jobs.put_table, table.version, as_json(table), int(time()))

    run(data, put, make=True)
    count = sum(len(models) for models in table.providers.values())
    click.echo(
        f"{count} prices of {len(table.providers)} providers, version {table.version}; in force within a second."
    )
    if odd:
        click.echo(f"Prices that are no amounts, and were not taken over, have: {', '.join(odd[:20])}", err=True)
    if strange:
        click.echo(f"Prices that this version does not know are in no cost: {', '.join(strange[:20])}", err=True)


@prices.command()
@_data
def reset(data: str) -> None:
    """Go back to the table that this version ships with.

    Example: loopway prices reset
    """

    async def drop(scene: Scene) -> bool:
        return await scene.store.run("keys", jobs.drop_table)

    gone = run(data, drop)
    click.echo(f"The shipped table {vendored().version} is in force{'' if gone else ' already'}.")


def _dated(file: str) -> str:
    return f"file-{int(os.stat(file).st_mtime)}"


def _tables(config: str | None, data: str | None) -> list[Table]:
    """The tables in order of authority, as a gateway with this file and store has them."""
    settings = None if config is None else load(Path(config), os.environ).prices
    single, general = None, vendored()
    if data is not None:
        single, general = run(data, _stored)
    if settings is not None and settings.file is not None:
        general = settings.file
    first = None if settings is None else settings.models
    return [table for table in (first, single, general) if table is not None]


async def _stored(scene: Scene) -> tuple[Table | None, Table]:
    content = await scene.store.run("keys", jobs.read_table)
    decode = msgspec.json.Decoder(Entry).decode
    rows = [(row.provider, row.model, decode(row.entry.encode())) for row in scene.rows.prices]
    return (table_of("api", rows) if rows else None), (vendored() if content is None else read_table(content))
