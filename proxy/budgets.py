"""Budgets that outlive the process, and those who are told when one is nearly spent.

What was spent is in a file that every worker counts in (`proxy.limits.purses`), so nothing is lost when everything is
killed at once. The worker that leads writes it to the store as well, once a second and as whole numbers, for a gateway
that starts elsewhere, or after a power cut.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec

from proxy.errors import LoopwayError, StoreError
from proxy.limits import Limiters
from proxy.limits.limiter import Limiter
from proxy.limits.rates import NANO, Spending
from proxy.ports import BudgetRow, Store

_EVERY = 1.0
_TRIES = (1.0, 4.0, 16.0)  # seconds before each further try of a webhook
_TELLING = 64  # webhooks on their way at once
_log = logging.getLogger("loopway")

Post = Callable[[str, bytes], Awaitable[int]]
"""Sends JSON to an address that the operator named; gives the status. Raises LoopwayError."""


class Budgets:
    """Keeps the budgets of a host. One per worker; only the leader's works."""

    def __init__(
        self,
        limiters: Limiters,
        store: Store,
        post: Post,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limiters = limiters
        self._store = store
        self._post = post
        self._sleep = sleep
        self._written: dict[str, BudgetRow] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def start(self) -> None:
        """Reads what was spent before, and begins. Raises StoreError."""
        for row in await self._store.load_budgets():
            self._limiters.host.memory.recall(row.name, row.window, row.spent, row.reset_at)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Writes what was spent, and ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, *self._telling, return_exceptions=True)
            await self._look()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await self._look()

    async def _look(self) -> None:
        if not self._limiters.host.memory.leads:
            return
        try:
            await self.write()
            self._failing = False
        except StoreError as error:
            if not self._failing:
                _log.warning("what budgets have spent cannot be written just now: %s", error)
            self._failing = True
        self.tell()

    async def write(self) -> None:
        """Writes what has changed. Raises StoreError."""
        now = time()
        rows = [BudgetRow(name, *limiter.spending_now(now)) for name, limiter in self._budgeted().items()]
        changed = [row for row in rows if self._written.get(row.name) != row]
        if changed:
            await self._store.save_budgets(changed)
            self._written.update({row.name: row for row in changed})

    def _budgeted(self) -> dict[str, Limiter]:
        return {
            limiter.row_name: limiter
            for limiter in self._limiters.all.values()
            if limiter.meter is not None and limiter.meter.spending is not None
        }

    # -- telling

    def tell(self) -> None:
        """Tells of every budget that has come to its threshold, once in each window."""
        for limiter in self._budgeted().values():
            meter = limiter.meter
            if limiter.alerting() and meter is not None and meter.spending is not None:
                message = _message(limiter, meter.spending, meter.spent)
                _log.warning("the budget of the %s %r has come to its threshold", limiter.what, limiter.name)
                if meter.spending.budget.webhook is not None and len(self._telling) < _TELLING:
                    task = asyncio.ensure_future(self._deliver(meter.spending.budget.webhook, message))
                    self._telling.add(task)
                    task.add_done_callback(self._telling.discard)

    async def _deliver(self, url: str, message: bytes) -> None:
        for wait in (*_TRIES, None):
            try:
                status = await self._post(url, message)
                if status < 500 and status != 429:
                    return
            except LoopwayError as error:
                _log.warning("a budget's webhook was not reached: %s", error)
            if wait is not None:
                await self._sleep(wait)
        _log.error("a budget's webhook could not be told")


def _message(limiter: Limiter, spending: Spending, spent: int) -> bytes:
    unit = "usd" if spending.in_money else "tokens"
    scale = NANO if spending.in_money else 1
    message: dict[str, Any] = {
        "event": "budget.threshold",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kind": limiter.what,
        "name": limiter.name,
        "unit": unit,
        "window": spending.window,
        "threshold": spending.budget.alert_threshold,
        "spent": spent / scale,
        "limit": spending.limit / scale,
    }
    return msgspec.json.encode(message)
