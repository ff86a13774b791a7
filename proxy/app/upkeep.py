"""What a worker does for the ledger and the log in the background: it adds up what sums by day leave for later, deletes
what is too old, and keeps SQLite's log of changes short.

Every worker looks; who finds work to do, does it. A transaction that deletes takes some hundredths of a second, and is
followed by a pause as long: in SQLite nobody else writes meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic, time

from proxy.errors import StoreError
from proxy.live import Live
from proxy.ports import Store
from proxy.store import closing, facets, logs, wal
from proxy.store import ledger as ledger_jobs
from proxy.store.engine import Connection

_ADD_UP_EVERY = 30.0
_CLOSE_FIRST, _CLOSE_EVERY = 10.0, 120.0
_FORGET_EVERY = 600.0
_PURGE_FIRST, _PURGE_EVERY = 60.0, 3600.0
_SHORTEN_EVERY = 10.0
_FEWEST, _MOST = 50, 5_000  # rows deleted at once
_QUICK, _LONG = 0.025, 0.1  # seconds of a transaction after which the next one has twice or half as many
_AT_A_TIME = 0.5  # seconds of deleting in one turn

Delete = Callable[[Connection, int, int], int]
"""Deletes what is older than a time (Unix milliseconds), so many rows at most; returns how many."""


class Upkeep:
    """One per worker, called every second. Methods do what is due, and never fail for the store's sake: whoever watches
    the configuration says that it is away."""

    def __init__(self, live: Live, store: Store) -> None:
        self._live = live
        self._store = store
        self._rows = 500
        self._forget_at = self._add_up_at = 0.0
        self._purge_at = monotonic() + _PURGE_FIRST
        # Not all workers at once.
        self._close_at = monotonic() + random.uniform(_CLOSE_FIRST, _CLOSE_EVERY)
        self._shorten_at = monotonic() + random.uniform(0, _SHORTEN_EVERY)

    async def turn(self) -> None:
        """Everything that is due."""
        await self.add_up()
        await self.close_days()
        await self.forget_old()
        await self.purge()
        await self.shorten()

    async def add_up(self) -> None:
        """Adds up rows that sums by day do not have yet: a thousand in a turn, until none is left."""
        if monotonic() < self._add_up_at:
            return
        try:
            more = await self._store.run("reports", facets.catch_up)
        except StoreError:
            more = 0
        self._add_up_at = monotonic() + (0.0 if more else _ADD_UP_EVERY)

    async def close_days(self) -> None:
        """Adds up what sums by day leave for when the day is over: one thing in a turn, until all is done."""
        if monotonic() < self._close_at:
            return
        try:
            more = await self._store.run("reports", closing.close_next, time())
        except StoreError:
            more = False
        self._close_at = monotonic() + (0.0 if more else _CLOSE_EVERY)

    async def forget_old(self) -> None:
        """Deletes rows of the ledger that are older than they need be, and then their sums, a day in a turn."""
        settings, now = self._live.file.store, time()
        rows, sums = settings.retention, settings.sums_retention
        kept = min((each for each in (rows, sums) if each is not None), default=None)
        if kept is None or monotonic() < self._forget_at:
            return
        try:
            more = await self._delete(ledger_jobs.forget, now - kept)
            if not more and sums is not None:
                more = bool(await self._store.run("reports", ledger_jobs.forget_sums, int((now - sums) * 1000)))
        except StoreError:
            more = False
        self._forget_at = monotonic() + (0.0 if more else _FORGET_EVERY)

    async def purge(self) -> None:
        """Deletes bodies, entries and exports of the log that are older than they need be."""
        if monotonic() < self._purge_at:
            return
        try:
            more = await self._delete(logs.purge, time() - self._live.file.logs.retention)
        except StoreError:
            more = False
        self._purge_at = monotonic() + (0.0 if more else _PURGE_EVERY)

    async def shorten(self) -> None:
        """Keeps the log of changes from growing while somebody always reads."""
        if monotonic() < self._shorten_at:
            return
        self._shorten_at = monotonic() + _SHORTEN_EVERY
        try:
            await self._store.run("reports", wal.shorten)
        except StoreError:
            pass

    async def _delete(self, job: Delete, before: float) -> bool:
        """Deletes for a while what is older than `before` (Unix seconds); whether there may be more."""
        ends = monotonic() + _AT_A_TIME
        while True:
            gone, took = await self._store.run("reports", _timed, job, int(before * 1000), self._rows)
            if took > _LONG:
                self._rows = max(_FEWEST, self._rows // 2)
            elif took < _QUICK and gone >= self._rows:
                self._rows = min(_MOST, self._rows * 2)
            if not gone or monotonic() >= ends:
                return gone > 0
            await asyncio.sleep(took)


def _timed(connection: Connection, job: Delete, before: int, most: int) -> tuple[int, float]:
    """What a job deleted, and the seconds that it took, without those in which it waited for its turn."""
    began = monotonic()
    return job(connection, before, most), monotonic() - began
