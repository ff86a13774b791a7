"""`loopway logs`: the requests of the ledger in a terminal, found, shown or followed.

It reads the store itself, whether or not a gateway runs. Requests that are under way are in it too, a moment after they
began: followed, they are the lines at the bottom that grow.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep, time
from typing import Any

import click
import msgspec

from proxy import bodies
from proxy.admin.logs import shown, wanted
from proxy.cli.rows import existing
from proxy.errors import Refused, StoreError
from proxy.ports import Rows
from proxy.store import logs as jobs
from proxy.store import migrate, open_store
from proxy.store.store import SqlStore
from proxy.usage_columns import PENDING, POST
from proxy.vault import Vault

_EVERY = 1.0
_OPEN_LINES = 12
_LONGEST = 900  # seconds after which a request under way is taken for lost by whoever looks
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.command()
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory for state.")
@click.option("--since", metavar="TIME", help="Such as 15m, 2h, 1d, or 2030-12-31T12:00:00Z.")
@click.option("--until", metavar="TIME", help="The same.")
@click.option("--key", metavar="NAME", help="Of this API key.")
@click.option("--virtual-key", metavar="SLUG", help="Through this virtual key.")
@click.option("--model", metavar="NAME", help="With this model, asked for or used; a * at its end takes any rest.")
@click.option("--status", metavar="CODES", help="Such as 429 or 5xx,499.")
@click.option("--trace", metavar="ID", help="Of this trace.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="With this metadata; repeatable.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, the newest.")
@click.option("--show", metavar="ID", help="All that is known of one request.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, and show what is open.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def logs(data: str, limit: int, show: str | None, follow: bool, as_json: bool, **asked: Any) -> None:
    """Search, show and follow the requests that the gateway has served.

    Example: loopway logs --since 1h --status 5xx
    """
    with _Log(Path(data)) as log:
        if show is not None:
            click.echo(json.dumps(log.one(show), indent=2, ensure_ascii=False))
            return
        try:
            sought = wanted(_query(**asked), log.rows)
        except Refused as refused:
            also = ", or so long ago: 15m, 2h, 1d" if refused.param in ("since", "until") else ""
            raise click.ClickException(f"{refused.message}{also}") from None
        found = log.find(sought, limit)
        if follow:  # what is open is shown below, and as a line when it has ended
            found = [row for row in found if row["outcome"] != PENDING]
        for row in reversed(found):
            if follow and row["outcome"] == PENDING:
                continue  # shown while it is open, and when it has ended
            click.echo(json.dumps(row, ensure_ascii=False) if as_json else line(row))
        if follow:
            _Follower(log, sought, found, as_json=as_json).run()


def _query(metadata: tuple[str, ...], trace: str | None, **asked: str | None) -> dict[str, str]:
    """The options as the query that the admin API takes."""
    given = {name: value for name, value in {**asked, "trace_id": trace}.items() if value}
    for name in ("since", "until"):
        if name in given:
            given[name] = _moment(given[name])
    if metadata:
        given["metadata"] = json.dumps(dict(_pair(each) for each in metadata))
    return given


def _moment(text: str) -> str:
    """A length of time before now as Unix seconds; anything else as it is."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isdigit():
        return str(int(time()) - int(number) * _UNITS[unit])
    return text


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.BadParameter(f"'{text}' is not NAME=VALUE", param_hint="--metadata")
    return name, value


class _Log:
    """The store, opened for reading, and one event loop to ask it."""

    def __init__(self, data: Path) -> None:
        url = existing(data)
        self._vault = Vault.open(data, os.environ)
        migrate(url)
        self._runner = asyncio.Runner()
        self._store: SqlStore = open_store(url, self._vault)
        self.rows: Rows = self._runner.run(self._store.rows())
        self._names = {row.id: row.name for row in self.rows.api_keys}

    def find(self, sought: jobs.Filter, limit: int) -> list[dict[str, Any]]:
        """The newest records, newest first."""
        found, _ = self._runner.run(self._store.run("reports", jobs.search, sought, limit, 0))
        return [shown(row, self._names) for row in found]

    def one(self, id: str) -> dict[str, Any]:
        """One record with its bodies, where they were kept. Raises click.ClickException."""
        found = self.find(jobs.Filter(request_id=id), 1)
        if not found:
            raise click.ClickException(f"there is no request '{id}' in the ledger")
        record = found[0]
        kept = self._runner.run(self._store.run("reports", jobs.body, id))
        if kept is not None:
            for column in ("request", "response"):
                try:
                    record[column] = bodies.opened(self._vault, id, kept, column)
                except StoreError as error:
                    record[column] = f"cannot be read: {error}"
        return record

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


# Lines


def line(row: dict[str, Any]) -> str:
    """A record as one coloured line."""
    status, outcome, took = row["response_status_code"] or 0, row["outcome"], row["response_time"]
    failed = outcome not in ("ok", PENDING)
    colour = "red" if status >= 500 or (failed and status < 400) else "yellow" if status >= 300 else "green"
    plain = row["request_method"] == POST
    parts = [
        click.style(row["created_at"][11:23], dim=True),
        click.style(f"{status or '…':>3}", fg=colour, bold=True),
        f"{'' if took is None else _took(took / 1000):>7}",
        click.style(_who(row), fg="cyan"),
        _what(row) if plain else f"{_what(row)} {row['request_method']} {row['request_url']}",
    ]
    if row["req_units"] is not None:
        parts.append(f"{row['req_units']}→{row['res_units']}")
    if row["cost"]:
        parts.append(f"${row['cost']:.4f}")
    if row["cache_status"]:
        parts.append(row["cache_status"].lower())
    if (row["attempt_count"] or 0) > 1:
        parts.append(click.style(f"{row['attempt_count']} attempts", fg="magenta"))
    if failed:
        parts.append(click.style(outcome, fg="red"))
    return " ".join([*parts, click.style(row["id"], dim=True)])


def open_lines(rows: list[dict[str, Any]], now: float) -> Iterator[str]:
    """What is under way, the oldest first, with a bar that grows a mark with each doubling of its time."""
    for row in rows[:_OPEN_LINES]:
        age = max(0.0, now - row["at"] / 1000)
        bar = "▪" * max(1, int(age).bit_length())
        kind = "stream" if row["stream_mode"] else "whole"
        text = f"{_took(age):>20} {_who(row)} {_what(row)} {kind} "
        yield click.style(text, fg="blue") + click.style(bar, fg="blue", bold=True)
    if len(rows) > _OPEN_LINES:
        yield click.style(f"{'…':>20} and {len(rows) - _OPEN_LINES} more", fg="blue")


def _who(row: dict[str, Any]) -> str:
    return f"{row['api_key_name'] or row['api_key_id'] or '-':<12.12}"


def _what(row: dict[str, Any]) -> str:
    return f"{row['virtual_key'] or row['ai_org'] or '-'}/{row['ai_model'] or row['requested_model'] or '-'}"


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"


class _Follower:
    """Prints what comes, and keeps what is open below it."""

    def __init__(self, log: _Log, sought: jobs.Filter, found: list[dict[str, Any]], *, as_json: bool) -> None:
        self._log = log
        self._sought = sought
        self._json = as_json
        self._seen = {row["id"] for row in found if row["outcome"] != PENDING}
        self._began = time()
        self._drawn = 0
        self._live = sys.stdout.isatty() and not as_json

    def run(self) -> None:
        """Until interrupted."""
        try:
            while True:
                self.look(time())
                sleep(_EVERY)
        except KeyboardInterrupt:
            self._wipe()

    def look(self, now: float) -> None:
        """One look: what has ended since the last one, and what is open. A request's time is its beginning, so a long
        one ends far behind the newest: the look goes back as far as requests may take."""
        since = max(self._sought.since or 0, int((now - _LONGEST) * 1000))
        rows = self._log.find(msgspec.structs.replace(self._sought, since=since), 1000)
        begun = [row for row in rows if row["outcome"] == PENDING]
        self._wipe()
        for row in reversed(rows):
            if row["outcome"] == PENDING or row["id"] in self._seen:
                continue
            self._seen.add(row["id"])
            if (row["at"] + (row["response_time"] or 0)) / 1000 >= self._began - 2 * _EVERY:
                click.echo(json.dumps(row, ensure_ascii=False) if self._json else line(row))
        if self._live:
            for text in open_lines(begun[::-1], now):
                click.echo(text)
                self._drawn += 1
        sys.stdout.flush()

    def _wipe(self) -> None:
        if self._drawn:
            click.echo(f"\x1b[{self._drawn}A\x1b[J", nl=False)
        self._drawn = 0
