"""Changes of what snapshots are made of, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proxy.store import records
from proxy.store.engine import Connection


@contextmanager
def changing(connection: Connection) -> Iterator[None]:
    """One transaction that raises the change number first, and with that locks it: what it reads is what the change
    before it left."""
    with connection.writing():
        connection.execute(records.RAISE_SEQ)
        yield
