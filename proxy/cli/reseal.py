"""`loopway reseal`: takes everything that the store has encrypted over to a new master key, before an old one goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from proxy.cli.environment import where
from proxy.errors import LoopwayError
from proxy.store import migrate, sealing
from proxy.store.engine import Lane
from proxy.store.store import engine_of, open_store
from proxy.vault import VARIABLE, Vault


@click.command()
@click.option("--data", default="./data", envvar="LOOPWAY_DATA", show_default=True, help="Directory for state.")
def reseal(data: str) -> None:
    """Seal everything in the store under the first of several master keys, so that the others may go.

    Credentials, configs and the bodies that the log keeps. It works beside a running gateway, a hundred bodies at a
    time; if it is broken off, run it again.

    Example: loopway reseal --data ./data
    """
    vault = Vault.open(Path(data), os.environ)
    url = where(data, os.environ)
    migrate(url)
    store = open_store(url, vault)  # which takes credentials and configs over, where several keys are given
    store.lane("keys").close_now()
    lane = Lane(engine_of(url), "reseal", patience=30.0)
    done = lost = 0
    after: str | None = ""
    try:
        while after is not None:
            batch = lane.now(sealing.reseal_bodies, vault, after)
            done, lost, after = done + batch.done, lost + batch.lost, batch.after
            if sys.stderr.isatty():
                click.echo(f"\r{done} bodies sealed anew", err=True, nl=False)
    finally:
        lane.close_now()
        if sys.stderr.isatty():
            click.echo("", err=True)
    click.echo(f"sealed anew under key {vault.key_id}: {done} bodies of the log, and all credentials and configs")
    if lost:
        raise LoopwayError(
            f"{lost} bodies open with none of the keys in {vault.origin}; give all keys in {VARIABLE}, the new one "
            "first, and run this again, or let logs.retention delete them"
        )
    click.echo("nothing needs an older master key any more")
