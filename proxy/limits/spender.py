"""An API key's budget in dollars, which only an attempt can count: the price is that of the model at its target."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from adapters.types import Usage
from proxy.limits import refusals
from proxy.limits.limiter import Limiter, Permit, used_of
from proxy.limits.meter import Meter, State

if TYPE_CHECKING:
    from proxy.exchange import Exchange


class Reservation(Permit, eq=False, gc=False):
    """What an attempt may cost, held of an API key's budget."""

    def states(self) -> list[State]:
        """Those of the target's permit beside it: the key's own permit tells of the key's rates."""
        return [] if self.more is None else self.more.states()

    def _settle(self, limiter: Limiter, usage: Usage | None, answered: bool) -> None:
        if limiter.meter is not None and limiter.meter.spending is not None:
            amount = limiter.amount(limiter.meter, self.price, used_of(self.need, usage, answered))
            with limiter.locked(always=True):
                limiter.meter.spend(self.reserved, amount, time())

    def _give(self, limiter: Limiter) -> None:
        """A reservation is no place."""


class Spender:
    """An API key's budget in dollars: what an attempt may cost at its target is reserved of it, and settled after."""

    __slots__ = ("_limiter", "_meter")

    def __init__(self, limiter: Limiter, meter: Meter) -> None:
        self._limiter = limiter
        self._meter = meter

    async def enter(self, target: Limiter | None, x: Exchange, model: str) -> Permit:
        """Reserves, and enters the target's limiter as well. Raises Refused (412, 429)."""
        limiter, meter = self._limiter, self._meter
        held, price = limiter.need(x), limiter.price_of(x, model)
        amount = limiter.amount(meter, price, held.usage)
        if meter.shared:
            await limiter.lease(meter, held, amount, attempt=True)
        with limiter.locked():
            if not limiter.check(meter, held, amount, attempt=True):
                raise refusals.not_now(limiter.what, limiter.name)
            meter.reserve(amount)
            permit = Reservation(limiter, held, amount, price)
        if target is not None:
            try:
                permit.add(target.enter(x, model) or await target.wait(x, model))
            except BaseException:
                permit.leave(None, answered=False)
                raise
        return permit


def spender_of(limiter: Limiter | None) -> Spender | None:
    """Who counts an API key's budget with each attempt; None where that is not needed."""
    if limiter is None or limiter.meter is None or limiter.meter.spending is None or limiter.spends:
        return None
    return Spender(limiter, limiter.meter)
