"""What a worker does beside requests: it writes what they left, shows its counters, and forgets what is too old."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time

from proxy import loglevel
from proxy.board import Board
from proxy.bodies import Bodies
from proxy.errors import StoreError
from proxy.live import Live
from proxy.metrics import publish, retire
from proxy.ports import Store
from proxy.store import closing, facets, logs
from proxy.store import ledger as ledger_jobs
from proxy.usage import Ledger

_FLUSH_EVERY = 0.25  # with what writing takes, a killed worker loses well less than a second's rows
_FORGET_EVERY = 600.0
_ADD_UP_EVERY = 30.0
_CLOSE_FIRST, _CLOSE_EVERY = 10.0, 120.0
_PURGE_EVERY = 3600.0
_PURGE_FIRST = 60.0
_TELL_EVERY = 30.0
_log = logging.getLogger("loopway")


class Chores:
    """One per worker. `counters` is the file by which the other workers of this host see its counters."""

    def __init__(
        self,
        ledger: Ledger,
        bodies: Bodies | None,
        live: Live,
        store: Store,
        run_dir: Path,
        samples: Callable[[], dict[str, float]],
    ) -> None:
        self.counters = run_dir / f"metrics-{os.getpid()}.json"
        self._ledger = ledger
        self._bodies = bodies
        self._live = live
        self._store = store
        self._run_dir = run_dir
        self._samples = samples
        self._board = Board(live.healths, run_dir)
        self._retention = live.file.logs.retention
        self._purge_at = monotonic() + _PURGE_FIRST
        self._forget_at = self._add_up_at = 0.0
        # Not all workers at once: who finds work to do, does it.
        self._close_at = monotonic() + random.uniform(_CLOSE_FIRST, _CLOSE_EVERY)
        self._told: dict[str, float] = {}
        self._turning: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins. What counts from the first moment on is shown at once: a worker may be killed in the next."""
        self._publish(self._samples())
        self._turning = asyncio.create_task(self._turn())

    async def stop(self) -> None:
        """Ends, and writes what is still here."""
        for task in (self._turning, self._forgetting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for job in (self._keeping, self._publishing):  # one holds bodies that it has taken, the other writes a file
            if job is not None:
                await asyncio.gather(job, return_exceptions=True)
        await self._ledger.flush(last=True)
        await self._keep_log()
        self._publish(self._samples())

    def retire(self) -> None:
        """Leaves the counters of this worker to those who stay, once nothing counts any more."""
        try:
            self._board.close()
            retire(self.counters, self._samples())
        except OSError as error:
            _log.warning("the counters of this worker are lost: %s", error)

    async def _turn(self) -> None:
        turn, due = 0, monotonic()
        while True:
            try:
                # By the clock, not so long after the last turn: a slow store must not make a row wait for two turns.
                due = max(due + _FLUSH_EVERY, monotonic())
                await asyncio.sleep(due - monotonic())
                await self._ledger.flush()
                turn += 1
                # Each of these is some tenths of a millisecond in which no request goes on: never two in one turn.
                if turn % 2:
                    self._exchange_circuits()
                    continue
                if turn % 4:
                    self._publishing = asyncio.create_task(asyncio.to_thread(self._publish, self._samples()))
                    continue
                loglevel.follow(self._run_dir, self._live.file.logs.level)
                if self._keeping is None or self._keeping.done():
                    self._keeping = asyncio.create_task(self._keep_log())
                if self._forgetting is None or self._forgetting.done():
                    self._forgetting = asyncio.create_task(self._look_after_ledger())
            except Exception as error:  # noqa: BLE001 - a timer that ends would keep every later record from the store
                if self._worth_telling("counted"):
                    _log.error("what was counted could not be passed on", exc_info=error)

    async def _look_after_ledger(self) -> None:
        await self.add_up()
        await self.close_days()
        await self.forget_old()

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
        """Deletes what is older than it need be: a few thousand rows of the ledger in a turn, until none is left, and
        then its sums, a day in a turn."""
        settings, now = self._live.file.store, time()
        rows, sums = settings.retention, settings.sums_retention
        kept = min((each for each in (rows, sums) if each is not None), default=None)
        if kept is None or monotonic() < self._forget_at:
            return
        try:
            gone = await self._store.run("reports", ledger_jobs.forget, int((now - kept) * 1000))
            if not gone and sums is not None:
                gone = await self._store.run("reports", ledger_jobs.forget_sums, int((now - sums) * 1000))
        except StoreError:
            gone = 0  # the watch of the configuration says so already
        self._forget_at = monotonic() + (0.0 if gone else _FORGET_EVERY)

    async def _keep_log(self) -> None:
        """Bodies go to the store, and what is too old goes out of it: every hour, and at once while there is more."""
        try:
            while self._bodies is not None and self._bodies.waiting:
                rows = await asyncio.to_thread(self._bodies.take)
                await self._store.run("reports", logs.add_bodies, rows)
            if monotonic() >= self._purge_at:
                self._purge_at = monotonic() + _PURGE_EVERY
                if await self._store.run("reports", logs.purge, int((time() - self._retention) * 1000)):
                    self._purge_at = 0.0
        except StoreError as error:
            _log.warning("the log's bodies could not be kept: %s", error)

    def _publish(self, samples: dict[str, float]) -> None:
        try:
            publish(self.counters, samples)
        except OSError as error:
            if self._worth_telling("metrics"):
                _log.warning("metrics cannot be shared between workers: %s", error)

    def _exchange_circuits(self) -> None:
        try:
            self._board.exchange(monotonic())
        except OSError as error:
            if self._worth_telling("circuits"):
                _log.warning("circuits cannot be shared between workers: %s", error)

    def _worth_telling(self, what: str) -> bool:
        """Whether it is long enough since this was told: what fails here fails again in the next turn."""
        now = monotonic()
        if now < self._told.get(what, 0.0):
            return False
        self._told[what] = now + _TELL_EVERY
        return True
