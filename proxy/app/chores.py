"""What a worker does beside requests: it writes what they left, shows its counters, and looks after the store."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from proxy import loglevel
from proxy.app.upkeep import Upkeep
from proxy.board import Board
from proxy.bodies import Bodies
from proxy.errors import StoreError
from proxy.live import Live
from proxy.metrics import publish, retire
from proxy.ports import Store
from proxy.store import logs
from proxy.usage import Ledger

_FLUSH_EVERY = 0.25  # with what writing takes, a killed worker loses well less than a second's rows
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
        self.upkeep = Upkeep(live, store)
        self._told: dict[str, float] = {}
        self._turning: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins. What counts from the first moment on is shown at once: a worker may be killed in the next."""
        self._publish(self._samples())
        self._turning = asyncio.create_task(self._turn())

    async def stop(self) -> None:
        """Ends, and writes what is still here."""
        for task in (self._turning, self._tidying):
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
                if self._tidying is None or self._tidying.done():
                    self._tidying = asyncio.create_task(self.upkeep.turn())
            except Exception as error:  # noqa: BLE001 - a timer that ends would keep every later record from the store
                if self._worth_telling("counted"):
                    _log.error("what was counted could not be passed on", exc_info=error)

    async def _keep_log(self) -> None:
        """Bodies go to the store."""
        try:
            while self._bodies is not None and self._bodies.waiting:
                rows = await asyncio.to_thread(self._bodies.take)
                await self._store.run("reports", logs.add_bodies, rows)
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
