"""`loopway explain`: where a request would go, told by the code that would send it there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click

from adapters.errors import InvalidRequest
from adapters.peek import peek
from adapters.types import Dialect
from proxy.config.facts import Facts
from proxy.config.file import FileConfig, load
from proxy.config.nodes import model_slug
from proxy.config.plan import Balance, Leaf, Plan
from proxy.config.snapshot import Key, Snapshot
from proxy.errors import LoopwayError
from proxy.exchange import Exchange
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, Rows
from proxy.routing import resolve

_PATHS: dict[str, Dialect] = {
    "/v1/chat/completions": Dialect.OPENAI_CHAT,
    "/v1/completions": Dialect.OPENAI_COMPLETIONS,
    "/v1/embeddings": Dialect.OPENAI_EMBEDDINGS,
    "/v1/messages": Dialect.ANTHROPIC_MESSAGES,
    "/v1/messages/count_tokens": Dialect.ANTHROPIC_COUNT_TOKENS,
}


@click.command()
@click.option("--config", "file", required=True, type=click.Path(path_type=Path), help="The configuration file.")
@click.option(
    "--path", default="/v1/chat/completions", show_default=True, type=click.Choice(tuple(_PATHS)), help="The route."
)
@click.option("--model", help="The request's model.")
@click.option("--provider", help="The header x-portkey-provider: a provider's id or @slug.")
@click.option("--virtual-key", help="The header x-portkey-virtual-key.")
@click.option("--config-slug", help="The header x-portkey-config: a saved config's slug, or a config object as JSON.")
@click.option("--api-key", help="The name of the API key that asks; default: one that may do everything.")
@click.option(
    "--body", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file with the request's body."
)
def explain(
    file: Path,
    path: str,
    model: str | None,
    provider: str | None,
    virtual_key: str | None,
    config_slug: str | None,
    api_key: str | None,
    body: Path | None,
) -> None:
    """Say which target a request would reach, and why, without calling it. Looks at the file only, not at the store.

    Example: loopway explain --config loopway.yaml --model @openai-prod/gpt-5 --api-key team-a
    """
    config = load(file, os.environ)
    rows = Rows(api_keys=config.api_keys, virtual_keys=config.virtual_keys, configs=config.configs)
    snapshot = Snapshot(rows, Limiters(), frozenset(config.server.trusted_custom_hosts))
    key = _key(config, api_key)
    given = {"x-portkey-provider": provider, "x-portkey-virtual-key": virtual_key, "x-portkey-config": config_slug}
    headers = {name.encode(): value.encode() for name, value in given.items() if value is not None}
    x = Exchange(cast(Any, None), snapshot, "POST", path, "", headers, (), "explain", "explain", 0.0)
    x.dialect = _PATHS[path]
    x.model = model or (_model(body) if body else None)
    reason = _reason(x, key)
    plan = resolve(x, key)
    for line in _report(x, key, plan, reason):
        click.echo(line)


def _key(config: FileConfig, name: str | None) -> Key:
    if name is None:
        return Key(ApiKeyRow(id="", name="any key", digest=""), None, None)
    for row in config.api_keys:
        if row.name == name:
            return Key(row, None, row.expires_at)
    from proxy.config.near import hint

    raise LoopwayError(f"the file has no API key '{name}'{hint(name, [row.name for row in config.api_keys])}")


def _model(body: Path) -> str | None:
    try:
        return peek(body.read_bytes()).model
    except InvalidRequest as error:
        raise LoopwayError(f"{body}: {error}") from error


def _reason(x: Exchange, key: Key) -> str:
    """Which of the ways to address a target is the first that the request uses; asked before it is resolved."""
    if b"x-portkey-config" in x.headers:
        return "the request's own config decides"
    if key.config is not None:
        return f"the API key's default config {key.config} decides"
    if x.headers.get(b"x-portkey-provider", b"").startswith(b"@"):
        return "the provider header names a slug"
    if b"x-portkey-virtual-key" in x.headers:
        return "the virtual-key header names it"
    if x.model is not None and model_slug(x.model):
        return "the model names a slug"
    if b"x-portkey-provider" in x.headers:
        return "the provider header names a provider, with the request's own credential"
    return "nothing names a target; a virtual key claims the model, or there is only one"


def _report(x: Exchange, key: Key, plan: Plan, reason: str) -> Iterator[str]:
    yield f"request   POST {x.path}, model {x.model or '(none)'}, by {key.name}"
    yield f"because   {reason}"
    leaves = plan.root.leaves()
    first = next(plan.steps(Facts(x)))
    certain = not isinstance(plan.root, Balance)
    strategy = "none" if plan.single is not None else type(plan.root).__name__.lower()
    yield f"strategy  {strategy}, {len(leaves)} target(s)"
    for leaf in leaves:
        mark = "→" if leaf is first and certain else " "
        yield f"  {mark} {leaf.where}: {_leaf(x, key, leaf)}"
    if not certain:
        yield "  (one of them by chance, by weight)"


def _leaf(x: Exchange, key: Key, leaf: Leaf) -> str:
    target = leaf.target
    override = leaf.override_params.get("model")
    asked = override if isinstance(override, str) else x.model
    model = target.model_for(asked)
    words = [
        f"{target.name} ({target.provider.name} at {target.origin.scheme}://{target.origin.authority}{target.base_path})"
    ]
    if model is not None:
        words.append(f"model {model}")
        dialect = target.dialect_for(x.dialect, model)
        words.append(f"as {dialect}" if dialect else f"REFUSED: {target.provider.name} does not serve {x.dialect}")
    if not key.may_use(target.slug):
        words.append("REFUSED: not among the API key's virtual keys")
    if model is not None and asked is not None and not (target.allows(asked, model) and key.may_ask_for(asked, model)):
        words.append("REFUSED: the model is not on the allow-list")
    if leaf.attempts:
        words.append(f"up to {leaf.attempts} retries")
    return ", ".join(words)
