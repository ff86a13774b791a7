"""`loopway usage`: what was used and spent, as a table, CSV or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from time import time
from typing import Any

import click
import msgspec

from proxy.admin.analytics import FILE, csv_of, dimensions, table_of
from proxy.admin.scene import Scene
from proxy.admin.usage_query import iso, moment
from proxy.cli.rows import run
from proxy.errors import Refused
from proxy.store import reports
from proxy.store.reports import Filter

_AGO = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_COLUMNS = ("requests", "errors", "input_tokens", "output_tokens", "cost", "unpriced")
_DOLLARS = ("cost", "wasted", "saved")


@click.command()
@click.option("--by", default="day", show_default=True, help="key, virtual_key, provider, model, config, status, …")
@click.option("--since", default="30d", show_default=True, help="A date (UTC), or so long ago: 90m, 24h, 7d, 4w.")
@click.option("--until", default="now", show_default=True, help="The same; what began then or later does not count.")
@click.option("--key", "keys", multiple=True, help="Only of this API key (its id or name); repeatable.")
@click.option("--virtual-key", "virtual_keys", multiple=True, help="Only of this virtual key; repeatable.")
@click.option("--model", "models", multiple=True, help="Only of this model; repeatable.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Only with this metadata; repeatable.")
@click.option("--format", "form", default="table", type=click.Choice(["table", "csv", "json"]), show_default=True)
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory of the store.")
def usage(by: str, since: str, until: str, form: str, data: str, **only: tuple[str, ...]) -> None:
    """Show requests, tokens and cost from the ledger.

    What is counted by is one or several of key, virtual_key, provider, model, config, status, outcome, cache, day, hour
    and metadata:NAME. Days and hours are those of UTC, costs US dollars.

    Example: loopway usage --by key,model,day --since 7d
    """
    wanted = _filter(since, until, **only)
    try:
        groups = dimensions(by)
    except Refused as refused:
        raise click.BadParameter(refused.message.removeprefix("by: "), param_hint="--by") from None

    async def read(scene: Scene) -> list[dict[str, Any]]:
        ids = {row.name: (row.id,) for row in scene.rows.api_keys}
        named = (ids.get(key, (key, FILE + key)) for key in wanted.keys)  # those of the file are not in the store
        mine = msgspec.structs.replace(wanted, keys=tuple(id for each in named for id in each))
        found = await scene.store.run("reports", reports.sums, groups, mine)
        return table_of(groups, found, scene.rows)

    rows = run(data, read)
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    elif form == "csv":
        click.echo(csv_of(rows, groups), nl=False)
    else:
        click.echo(_table(groups, rows))
        if rows:
            click.echo(_remark(wanted, rows))


def _filter(
    since: str,
    until: str,
    keys: tuple[str, ...],
    virtual_keys: tuple[str, ...],
    models: tuple[str, ...],
    metadata: tuple[str, ...],
) -> Filter:
    """What the options ask for; keys as they were named."""
    now = int(time() * 1000)
    return Filter(
        since=_moment(since, now, "--since"),
        until=_moment(until, now, "--until"),
        keys=keys,
        virtual_keys=virtual_keys,
        models=tuple((None, model) for model in models),
        metadata=tuple(_pair(text) for text in metadata),
    )


def _moment(text: str, now: int, option: str) -> int:
    if text == "now":
        return now + 1
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return max(0, now - int(ago[1]) * _UNITS[ago[2]])
    try:
        return moment(text, option)
    except Refused as refused:
        what = refused.message.removeprefix(f"{option}: ")
        raise click.BadParameter(f"{what}; or 24h, 7d …", param_hint=option) from None


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.BadParameter("write NAME=VALUE", param_hint="--metadata")
    return name, value


def _table(groups: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Rows in columns, with their sums below."""
    if not rows:
        return "Nothing was used in that time."
    head = (*groups, *_COLUMNS)
    total = {name: sum(row[name] or 0 for row in rows) for name in _COLUMNS}
    lines = [head, *(tuple(_shown(row, name) for name in head) for row in rows)]
    lines.append(tuple("total" if name == groups[0] else _shown(total, name) for name in head))
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < len(groups) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _remark(wanted: Filter, rows: Sequence[dict[str, Any]]) -> str:
    """What stands below: the time, and what a mark means."""
    since, until = (iso(moment // 60_000 * 60_000)[:16].replace("T", " ") for moment in (wanted.since, wanted.until))
    remark = f"{since} to {until} UTC, in US dollars"
    marked = any(row["cost"] for row in rows) and any(row["unpriced"] for row in rows)  # the total at least
    return f"{remark}; +: and what requests cost whose price is not known" if marked else remark


def _shown(row: dict[str, Any], name: str) -> str:
    """A cell. What nobody knows the price of is no cost of nothing."""
    value = row.get(name, "")
    if name != "cost" or not row["unpriced"]:
        return _cell(name, value)
    return f"{_cell(name, value)}+" if value else "unknown"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _DOLLARS:
        return "<$0.0001" if 0 < value < 0.0001 else f"${value:,.4f}"
    return f"{value:,}" if isinstance(value, int | float) and name in _COLUMNS else _plain(str(value))


def _plain(text: str) -> str:
    """Text from requests, without what a terminal would take for a command."""
    return "".join(character if character.isprintable() else "?" for character in text)
