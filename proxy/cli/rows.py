"""What the commands on the store's rows share: reaching the store, reading options, printing rows."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import time
from typing import Any, TypeVar

import click

from adapters.errors import Kind
from proxy.admin.scene import Scene, audit
from proxy.cli.environment import where
from proxy.errors import Refused, StoreError
from proxy.store import migrate, open_store
from proxy.store.location import is_postgres, sqlite_path
from proxy.vault import Vault

T = TypeVar("T")
Command = Callable[..., None]

SET = "Any other field of the admin API, its value as JSON or text; repeatable."


# The store


_HERE = "rows of the configuration file are not in the store: loopway check shows those"


def existing(data: str | Path) -> str:
    """The URL of a store that is there. Raises StoreError: a mistyped directory must not become a new, empty store."""
    url = where(data, os.environ)
    if not is_postgres(url) and not sqlite_path(url).exists():
        raise StoreError(f"there is no store at {sqlite_path(url)}; --data or LOOPWAY_DATA says where it is")
    return url


def run(data: str, operation: Callable[[Scene], Awaitable[T]], *, make: bool = False) -> T:
    """Runs an operation on the store of a data directory. `make`: the store is created where there is none."""
    url = where(data, os.environ) if make else existing(data)
    vault = Vault.open(data, os.environ)
    migrate(url)

    async def session() -> T:
        store = open_store(url, vault)
        try:
            return await operation(Scene(store=store, rows=await store.rows(), now=int(time()), complete=False))
        finally:
            await store.close()

    try:
        return asyncio.run(session())
    except Refused as error:
        here = (_HERE,) if error.kind is Kind.NOT_FOUND else ()
        raise click.ClickException("; ".join((error.message, *error.errors, *here))) from None


def noted(action: str, entity: str) -> None:
    """The audit line of a change."""
    audit.info("%s %s by command line", action, entity, extra={"action": action, "entity": entity, "actor": "cli"})


# Options


def common(command: Command) -> Command:
    """What every command here takes."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--data", envvar="LOOPWAY_DATA", default="./data", show_default=True, help="Data directory of the gateway."
        ),
    )
    return functools.reduce(lambda wrapped, option: option(wrapped), options, command)


def credential(what: str) -> Callable[[Command], Command]:
    """The three ways to give a secret. The command gets it as its `secret`; None if it was not given."""

    def wrap(command: Command) -> Command:
        @functools.wraps(command)
        def called(key: str | None, key_env: str | None, key_file: str | None, **given: Any) -> None:
            command(secret=_secret(key, key_env, key_file), **given)

        options = (
            click.option("--key-file", metavar="PATH", type=click.Path(dir_okay=False), help=f"File with {what}."),
            click.option("--key-env", metavar="NAME", help=f"Environment variable with {what}."),
            click.option("--key", help=f"{what[:1].upper()}{what[1:]}; other users may see a command line."),
        )
        return functools.reduce(lambda wrapped, option: option(wrapped), options, called)

    return wrap


def _secret(key: str | None, key_env: str | None, key_file: str | None) -> str | None:
    if sum(source is not None for source in (key, key_env, key_file)) > 1:
        raise click.UsageError("give one of --key, --key-env and --key-file")
    if key_env is not None:
        found = os.environ.get(key_env)
        if not found:
            raise click.ClickException(f"the environment variable {key_env} is not set or empty")
        return found
    if key_file is not None:
        try:
            return Path(key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise click.ClickException(f"cannot read {key_file}: {reason}") from None
    return key


def asked_key(provider: str) -> str:
    """The credential from the terminal, unseen, or the first line of what is piped in."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Credential for {provider}", hide_input=True, err=True)
        return answer.strip()
    return sys.stdin.readline().strip()


def fields(settings: Sequence[str]) -> dict[str, Any]:
    """`--set NAME=VALUE` as a body."""
    body: dict[str, Any] = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--set {name or setting}: write NAME=VALUE")
        try:
            body[name] = json.loads(value)
        except ValueError:
            body[name] = value
    return body


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping."""
    split = [pair.partition("=") for pair in given]
    if any(not separator for _, separator, _ in split):
        raise click.UsageError(f"{option}: write NAME=VALUE")
    return {name: value for name, _, value in split}


def make_body(settings: Sequence[str], **given: Any) -> dict[str, Any]:
    """A body of the admin API from the options that were given."""
    named = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return {**fields(settings), **{name: value for name, value in named.items() if value not in (None, [], {})}}


# Output


def print_row(value: Any, *, as_json: bool) -> None:
    """One row: a line for each field that has a value."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    filled = {name: item for name, item in value.items() if item not in (None, "", [], {})}
    width = max(map(len, filled), default=0)
    for name, item in filled.items():
        click.echo(f"{name:<{width}}  {item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)}")


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Many rows: a table of some fields, or JSON of all."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, ensure_ascii=False))
        return
    lines = [tuple(column.upper().replace("_", " ") for column in columns)]
    lines += [tuple(_cell(row.get(column)) for column in columns) for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def note_unknown(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Says on stderr which names only the configuration file could know."""
    for name in names:
        if name not in known:
            click.echo(f"note: no {what} '{name}' in the store; it counts if the configuration file has it", err=True)
