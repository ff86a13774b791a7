"""Several targets at once: who answers well first wins, the others are given up.

The only place where a request has tasks of its own, because two answers are waited for at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from adapters import estimate
from adapters.errors import InvalidRequest, Kind
from adapters.types import Usage
from proxy.config.leaf import Leaf, Race, Steps
from proxy.exchange import Attempt, Exchange
from proxy.outcome import Outcome

Walk = Callable[[Exchange, Steps, str], Coroutine[Any, Any, Outcome]]


async def run(x: Exchange, race: Race, walk: Walk, reason: str) -> Outcome:
    """The outcome of the first run that ends well, else of the last that ends. `walk` follows one run's steps.

    Whoever still runs then is cancelled, which closes its connection; whoever ended too late is closed.
    """
    contest = _Contest()
    try:
        best = await contest.hold(x, race, walk, reason)
        if contest.running:
            await contest.give_up()
            x.attempts = [_costed(x, attempt, race.leaves) for attempt in x.attempts]
    except BaseException:
        contest.abandon()
        raise
    return best


class _Contest:
    """Who runs, in the order in which they began, and the best outcome so far."""

    def __init__(self) -> None:
        self.running: list[asyncio.Task[Outcome]] = []
        self.best: Outcome | None = None

    async def hold(self, x: Exchange, race: Race, walk: Walk, reason: str) -> Outcome:
        waiting = list(zip(race.runs, race.delays, strict=True))
        while True:
            patience = None
            # A body that streamed to one target is not here any more for another.
            if waiting and not x.consumed:
                steps, delay = waiting.pop(0)
                self.running.append(asyncio.create_task(walk(x, steps, reason)))
                patience = delay if waiting else None
                reason = "hedge"
            if not self.running:
                assert self.best is not None
                return self.best
            await asyncio.wait(self.running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self.running if task.done()]:
                self.running.remove(task)
                outcome = task.result()
                if self.best is not None:
                    self.best.close()
                self.best = outcome
                if race.good(outcome.status):
                    return outcome
            if self.best is not None and (self.running or (waiting and not x.consumed)):
                # Another one's answer will be told instead, and may wait for the very permit that this one holds.
                self.best.close()
                self.best = None

    async def give_up(self) -> None:
        """Ends those who still run, and waits until they have."""
        for task in self.running:
            task.cancel()
        await asyncio.wait(self.running)
        for task in self.running:
            _close(task)

    def abandon(self) -> None:
        """Ends everything without waiting."""
        for task in self.running:
            task.cancel()
            task.add_done_callback(_close)
        if self.best is not None:
            self.best.close()


def _close(task: asyncio.Task[Outcome]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _costed(x: Exchange, attempt: Attempt, leaves: list[Leaf]) -> Attempt:
    """A try that was given up, with what it may have cost: nobody tells, so its prompt's tokens are estimated."""
    if attempt.kind is not Kind.CANCELLED or attempt.cost is not None:
        return attempt
    leaf = next((leaf for leaf in leaves if leaf.where == attempt.where), None)
    model = None if leaf is None else leaf.override_params.get("model", x.model)
    if leaf is None or not isinstance(model, str):
        return attempt
    price = leaf.target.prices.find(leaf.target.model_for(model) or model)
    try:
        usage = Usage(input=estimate.input_tokens(x.body), estimated=True)
    except InvalidRequest:
        return attempt
    return attempt if price is None else msgspec.structs.replace(attempt, cost=price.cost(usage))
