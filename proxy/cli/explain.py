"""`loopway explain`: where a request would go, told by the code that would send it there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from adapters.errors import InvalidRequest
from adapters.peek import peek
from proxy.cli.rows import pairs
from proxy.config import hosts
from proxy.config.file import FileConfig, load
from proxy.config.snapshot import Key, Snapshot
from proxy.config.verdict import State
from proxy.errors import LoopwayError
from proxy.explain import DIALECTS, Explanation, Prospect, imagined
from proxy.explain import explain as told
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, Rows
from proxy.prices import Prices, vendored

_HEADERS = {
    "provider": "x-portkey-provider",
    "virtual_key": "x-portkey-virtual-key",
    "config_slug": "x-portkey-config",
    "metadata": "x-portkey-metadata",
}
"""Options that stand for a header of the request."""


@click.command()
@click.option(
    "--config",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    envvar="LOOPWAY_CONFIG",
    help="The configuration file.",
)
@click.option(
    "--path",
    default="/v1/chat/completions",
    show_default=True,
    type=click.Choice(tuple(DIALECTS)),
    metavar="PATH",
    help="The route.",
)
@click.option("--model", help="The request's model.")
@click.option("--provider", help="The header x-portkey-provider: a provider's id or @slug.")
@click.option("--virtual-key", help="The header x-portkey-virtual-key.")
@click.option("--config-slug", help="The header x-portkey-config: a saved config's slug, or a config object as JSON.")
@click.option("--api-key", help="The name of the API key that asks; default: one that may do everything.")
@click.option(
    "--body", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file with the request's body."
)
@click.option("--metadata", help="The header x-portkey-metadata: a JSON object.")
@click.option("--header", "fields", multiple=True, metavar="NAME=VALUE", help="Any other header field; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    file: Path,
    path: str,
    model: str | None,
    api_key: str | None,
    body: Path | None,
    fields: tuple[str, ...],
    as_json: bool,
    **named: str | None,
) -> None:
    """Say which target a request would reach, and why, without calling it. Looks at the file only, not at the store.

    Example: loopway explain --config loopway.yaml --model @openai-prod/gpt-5 --api-key team-a
    """
    config = load(file, os.environ)
    rows = Rows(api_keys=config.api_keys, virtual_keys=config.virtual_keys, configs=config.configs)
    prices = Prices((*config.prices.tables, vendored()))
    snapshot = Snapshot(rows, Limiters(), hosts.trusted(config.server.trusted_custom_hosts), prices)
    key = _key(config, api_key)
    given = {_HEADERS[option]: value for option, value in named.items() if value is not None}
    headers = given | pairs("--header", fields)
    text = _read(body) if body else b""
    x = imagined(snapshot, key, path, headers, text, model)
    if model is not None:
        x.model = model
    found = told(x, None, addresses=True)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in _report(found):
        click.echo(line)


def _key(config: FileConfig, name: str | None) -> Key:
    if name is None:
        return Key(ApiKeyRow(id="", name="any key", digest=""), None, None)
    for row in config.api_keys:
        if row.name == name:
            return Key(row, None, row.expires_at)
    from proxy.config.near import hint

    raise LoopwayError(f"the file has no API key '{name}'{hint(name, [row.name for row in config.api_keys])}")


def _read(body: Path) -> bytes:
    try:
        text = body.read_bytes()
        peek(text)
    except InvalidRequest as error:
        raise LoopwayError(f"{body}: {error}") from error
    return text


def _report(found: Explanation) -> Iterator[str]:
    leaves = found.leaves()
    yield f"request   POST {found.path}, model {found.model or '(none)'}, by {found.api_key}"
    yield f"because   {found.because}"
    yield f"strategy  {'none' if found.plan.mode == 'target' else found.plan.mode}, {len(leaves)} target(s)"
    yield from _tree(found.plan, "", found.reaches)
    if found.reaches is None:
        yield f"answer    {found.refused}" if found.refused else "answer    chance decides which"


_MARKS = {State.CHOSEN.value: "→", State.POSSIBLE.value: "?", State.NEXT.value: "↓", State.NOT.value: "×"}


def _tree(node: Prospect, indent: str, reaches: str | None) -> Iterator[str]:
    mark = "→" if node.where == reaches else "×" if node.refused else _MARKS[node.state]
    if node.mode == "target":
        yield f"  {indent}{mark} {node.where}: {_leaf(node)}"
        return
    if indent or node.children:
        yield f"  {indent}{_MARKS[node.state]} {node.where}: {node.mode}{f' ({node.reason})' if indent else ''}"
    for child in node.children:
        yield from _tree(child, indent + "  ", reaches)


def _leaf(node: Prospect) -> str:
    words = [f"{node.target} ({node.provider} at {node.address})"]
    words += [f"model {node.model}"] if node.model is not None else []
    words += [f"as {node.speaks}"] if node.speaks is not None else []
    words += [f"REFUSED: {node.refused}"] if node.refused is not None else []
    words += [f"without {', '.join(node.dropped)}"] if node.dropped else []
    words += [f"up to {node.retries} retries"] if node.retries else []
    words += [node.reason] if node.reason and node.state != State.CHOSEN.value else []
    return ", ".join(words)
