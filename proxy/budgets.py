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
from enum import Enum
from functools import partial
from time import time
from typing import Any, Protocol

import msgspec

from proxy.errors import LoopwayError, Refused, StoreError
from proxy.limits import Limiters
from proxy.limits.limiter import Limiter
from proxy.limits.rates import NANO, Spending
from proxy.ports import BudgetRow, Store

_EVERY = 1.0
_TRIES = (1.0, 4.0, 16.0)  # seconds before each further try of a webhook
_TELLING = 64  # webhooks on their way at once; others wait for the next look
_ENDING = 2.0  # seconds that webhooks on their way get at the end
_log = logging.getLogger("loopway")

Post = Callable[[str, bytes], Awaitable[int]]
"""Sends JSON to an address that the operator named; gives the status. Raises LoopwayError."""


class Claim(Enum):
    """Whose it is to tell of a threshold, where several hosts have noticed it."""

    MINE = 0
    ANOTHERS = 1
    """Another host is telling just now; if it is gone, the claim is free again after a while."""
    TOLD = 2


class Claims(Protocol):
    """What hosts agree on, so that one of them tells. A `mark` names a budget, a window, and its last reset."""

    async def take(self, mark: str) -> Claim:
        """Claims it for this host, unless another one has or somebody was told."""

    async def told(self, mark: str) -> None:
        """It was told."""


class Budgets:
    """Keeps the budgets of a host. One per worker; only the leader's works. `claims`: it is one host of several."""

    def __init__(
        self,
        limiters: Limiters,
        store: Store,
        post: Post,
        claims: Claims | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limiters = limiters
        self._store = store
        self._post = post
        self._claims = claims
        self._sleep = sleep
        self._written: dict[str, BudgetRow] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    async def start(self) -> None:
        """Reads what was spent before, and begins. Raises StoreError."""
        for row in await self._store.load_budgets():
            self._limiters.host.memory.recall(row.name, row.window, row.spent, row.reset_at)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Writes what was spent, and ends. What could not be told by then is told by the next leader."""
        if self._task is not None:
            self._task.cancel()
            if self._telling:
                await asyncio.wait(self._telling.values(), timeout=_ENDING)
            rest = list(self._telling.values())
            for task in rest:
                task.cancel()
            await asyncio.gather(self._task, *rest, return_exceptions=True)
            await self._save()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self._save()
                if self._limiters.host.memory.leads:
                    self.tell()
            except Refused as error:
                _log.warning("a budget cannot be looked at just now: %s", error)

    async def _save(self) -> None:
        if not self._limiters.host.memory.leads:
            return
        try:
            await self.write()
            self._failing = False
        except StoreError as error:
            if not self._failing:
                _log.warning("what budgets have spent cannot be written just now: %s", error)
            self._failing = True

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
        for name, limiter in self._budgeted().items():
            if name in self._telling or len(self._telling) >= _TELLING:
                continue
            due = limiter.alerting()
            meter = limiter.meter
            if due is not None and meter is not None and meter.spending is not None:
                message = _message(limiter, meter.spending, meter.spent)
                telling = self._tell(limiter, due, meter.spending.budget.webhook, message)
                self._telling[name] = task = asyncio.ensure_future(telling)
                task.add_done_callback(partial(self._ended, name))

    def _ended(self, name: str, _: asyncio.Task[None]) -> None:
        del self._telling[name]

    async def _tell(self, limiter: Limiter, due: tuple[int, int], url: str | None, message: bytes) -> None:
        # Noted when it was done, not before: whoever dies meanwhile leaves it to the next leader.
        mark = f"{limiter.row_name}:{due[0]}:{due[1]}"
        claim = Claim.MINE if self._claims is None else await self._claims.take(mark)
        if claim is Claim.ANOTHERS:
            return
        if claim is Claim.MINE:
            _log.warning("the budget of the %s %r has come to its threshold", limiter.what, limiter.name)
            if url is not None:
                await self._deliver(limiter, url, message)
            if self._claims is not None:
                await self._claims.told(mark)
        limiter.told(*due)

    async def _deliver(self, limiter: Limiter, url: str, message: bytes) -> None:
        whose = f"the webhook of the budget of the {limiter.what} {limiter.name!r}"
        for wait in (*_TRIES, None):
            try:
                status = await self._post(url, message)
                if status < 300:
                    return
                if status < 500 and status != 429:
                    _log.error("%s answered %d, so it is not told again; look at its address", whose, status)
                    return
                _log.warning("%s answered %d", whose, status)
            except LoopwayError as error:
                _log.warning("%s was not reached: %s", whose, error)
            if wait is not None:
                await self._sleep(wait)
        _log.error("%s could not be told", whose)


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
