"""`loopway providers`: what each provider can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from proxy.capabilities import label, report


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON.")
def providers(name: str | None, as_json: bool) -> None:
    """List the providers and what they can be asked for; with NAME, what becomes of each parameter.

    The report is made by translating small requests, so it says what the gateway does.

    Example: loopway providers anthropic
    """
    entries = report(name)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(entries), indent=2))
    elif name is None:
        for line in _table(entries):
            click.echo(line)
    else:
        for line in _one(entries[0]):
            click.echo(line)


def _table(entries: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(entry["provider"]) for entry in entries)
    for entry in entries:
        yield f"{entry['provider']:<{width}}  {_served(entry)}"
    yield ""
    yield "* translated; the others pass as they are. loopway providers NAME tells what becomes of each parameter."


def _served(entry: dict[str, Any]) -> str:
    if entry["status"] == "retired":
        return f"no more: {entry['advice']}"
    if entry["status"] == "passthrough":
        return "passed through"
    seen: dict[str, str] = {}
    for operation in entry["operations"]:
        name = label(operation["dialect"])
        seen.setdefault(name, name if operation["support"] == "native" else f"{name}*")
    return ", ".join(seen.values())


def _one(entry: dict[str, Any]) -> Iterator[str]:
    yield f"{entry['provider']}  {entry['base_url'] or 'at the address that custom_host gives'}"
    if "advice" in entry:
        yield entry["advice"]
    yield entry["docs"]
    if not entry["operations"]:
        yield ""
        yield "Nothing is translated: what comes below /v1 passes through in the provider's own words, with its key."
    for operation in entry["operations"]:
        native = operation["support"] == "native"
        yield ""
        models = f" (models {', '.join(operation['models'])})" if operation.get("models") else ""
        way = "passes as it is" if native else f"as {operation['upstream']}"
        yield f"{label(operation['dialect'])}: {way}{models}"
        for name in operation.get("dropped", ()):
            yield f"  {name}: dropped"
        for name, theirs in operation.get("renamed", {}).items():
            yield f"  {name}: renamed to {theirs}"
        if operation.get("betas"):
            yield f"  anthropic-beta: {', '.join(operation['betas'])}; the others stay behind"
        for name, fate in operation.get("parameters", {}).items():
            yield f"  {name}: {_told(fate)}"


def _told(fate: dict[str, Any]) -> str:
    if fate["fate"] == "mapped":
        return f"becomes {', '.join(fate['to'])}"
    if fate["fate"] == "refused":
        return f"refused ({fate['why']})"
    return "acted on here" if fate["fate"] == "here" else str(fate["fate"])
