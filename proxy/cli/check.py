"""`loopway check`: what a configuration file says, or everything wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from adapters.providers import PROVIDERS
from proxy.config import hosts
from proxy.config.file import FileConfig, load
from proxy.config.nodes import Node, inherit
from proxy.config.objects import parse
from proxy.config.snapshot import Snapshot
from proxy.config.target import Target
from proxy.errors import ConfigError, Refused
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, Budget, Limits, Rates, Rows, VirtualKeyRow


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Validate the configuration FILE and print what it would do.

    Every finding is one line, FILE:LINE:COLUMN, on stderr; then the exit code is 1. Variables are taken from the
    environment, as when serving.

    Example: loopway check loopway.yaml
    """
    config = load(file, os.environ)
    problems = uncompilable(config)
    if problems:
        raise ConfigError([f"{file}:{_place(config, entry)}: {entry[1]}: {problem}" for entry, problem in problems])
    for line in report(config):
        click.echo(line)
    for warning in config.warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"{file}: valid" + (f", {len(config.warnings)} warning(s)" if config.warnings else ""))


def uncompilable(config: FileConfig) -> list[tuple[tuple[str, str], str]]:
    """What is well formed but cannot be served, such as a strategy that this version does not have: entry and why."""
    rows = Rows(api_keys=config.api_keys, virtual_keys=config.virtual_keys, configs=config.configs)
    snapshot = Snapshot(rows, Limiters(), hosts.trusted(config.server.trusted_custom_hosts))
    problems = [
        (("virtual_keys", credential.slug), problem.partition(": ")[2])
        for credential in config.virtual_keys
        for problem in snapshot.problems
        if problem.startswith(f"virtual key {credential.slug}: ")
    ]
    for row in config.configs:
        try:
            snapshot.saved(row.slug)
        except Refused as refused:
            # A virtual key that is not in the file may be in the store; the file's warnings say so already.
            if refused.code != "unknown_virtual_key":
                problems.append((("configs", row.slug), refused.message))
    return problems


def _place(config: FileConfig, entry: tuple[str, str]) -> str:
    line, column = config.places[entry]
    return f"{line}:{column}"


def report(config: FileConfig) -> Iterator[str]:
    """The lines that say what a configuration does. None shows a credential."""
    server = config.server
    workers = "one worker a core" if server.workers is None else f"{server.workers} worker(s)"
    yield f"server  {hosts.in_url(server.host)}:{server.port}, {workers}, bodies up to {_size(server.max_body_size)}"
    yield ""
    yield f"virtual keys ({len(config.virtual_keys)})"
    targets = Snapshot(Rows(virtual_keys=config.virtual_keys), Limiters()).targets
    for credential in config.virtual_keys:
        yield from _virtual_key(credential, targets.get(credential.slug))
    yield ""
    yield f"api keys ({len(config.api_keys)})"
    for key in config.api_keys:
        yield from _api_key(key)
    yield ""
    yield f"configs ({len(config.configs)})"
    for row in config.configs:
        yield f"  {row.slug}"
        yield from tree(parse(row.config), "    ", "")
    yield ""


def _virtual_key(row: VirtualKeyRow, target: Target | None) -> Iterator[str]:
    if target is None:
        where = row.custom_host or PROVIDERS[row.provider].base_url
    else:
        where = f"{target.origin.scheme}://{target.origin.authority}{target.base_path}"
    yield f"  {row.slug}: {row.provider} at {where}"
    details = {
        "models": None if row.models is None else ", ".join(row.models),
        "default model": row.default_model,
        "aliases": ", ".join(f"{name} → {model}" for name, model in row.aliases.items()),
        "limits": _limits(row.limits),
    }
    yield from (f"    {name}: {text}" for name, text in details.items() if text)


def _api_key(row: ApiKeyRow) -> Iterator[str]:
    yield f"  {row.name}: {', '.join(row.scopes) or 'no scope'}"
    details = {
        "virtual keys": "all" if row.virtual_keys is None else ", ".join(row.virtual_keys) or "none",
        "models": None if row.models is None else ", ".join(row.models),
        "config": row.config and row.config + ("" if row.allow_config_override else " (requests cannot change it)"),
        "limits": _limits(row.limits),
    }
    yield from (f"    {name}: {text}" for name, text in details.items() if text)


def tree(node: Node, first: str, rest: str) -> Iterator[str]:
    """One node and those below it, drawn. `first` leads its own line, `rest` those below."""
    rest = rest or first
    yield first + _describe(node)
    for index, target in enumerate(node.targets):
        last = index == len(node.targets) - 1
        yield from tree(inherit(node, target), rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _describe(node: Node) -> str:
    words = [f"{node.name}:"] if node.name else []
    if node.targets:
        words.append(node.strategy.mode if node.strategy else "single")
        if node.strategy and node.strategy.on_status_codes:
            words.append(f"on {', '.join(map(str, node.strategy.on_status_codes))}")
        return " ".join(words)
    words.append(f"@{node.slug}" if node.slug else node.provider or "whatever the request names")
    model = node.override_params.get("model")
    if isinstance(model, str):
        words.append(f"model {model}")
    if node.weight != 1:
        words.append(f"weight {node.weight:g}")
    if node.retry:
        words.append(f"up to {node.retry.attempts} retries")
    if node.request_timeout:
        words.append(f"within {node.request_timeout} ms")
    if node.cache:
        words.append(f"cache {node.cache.mode}")
    return " ".join(words)


def _limits(limits: Limits) -> str:
    words: list[str] = []
    if limits.concurrency is not None:
        queue = limits.queue
        waiting = f" ({queue.size} may wait {queue.timeout:g} s)" if queue.size else ""
        words.append(f"{limits.concurrency} at once{waiting}")
    words.extend(_rates("requests", limits.requests))
    words.extend(_rates("tokens", limits.tokens))
    if limits.budget is not None:
        words.extend(_budget(limits.budget))
    for pattern, own in limits.models.items():
        at_once = () if own.concurrency is None else (f"{own.concurrency} at once",)
        rates = (*_rates("requests", own.requests), *_rates("tokens", own.tokens))
        words.append(f"{pattern}: {' and '.join((*at_once, *rates))}")
    if limits.priority != "normal":
        words.append(f"{limits.priority} priority")
    return ", ".join(words)


def _rates(what: str, rates: Rates | None) -> Iterator[str]:
    for period in ("second", "minute", "hour", "day"):
        count = getattr(rates, f"per_{period}", None)
        if count is not None:
            yield f"{count} {what} a {period}"


def _budget(budget: Budget) -> Iterator[str]:
    if budget.usd is not None:
        yield f"{budget.usd:g} USD {budget.window}"
    if budget.tokens is not None:
        yield f"{budget.tokens} tokens {budget.window}"
    if budget.alert_threshold is not None:
        yield f"alert at {budget.alert_threshold:g}"


def _size(count: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count % scale == 0:
            return f"{count // scale} {unit}"
    return f"{count} bytes"
