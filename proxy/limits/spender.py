"""An API key's budget in dollars, which only an attempt can count: the price is that of the model at its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limits import refusals
from proxy.limits.limiter import Limiter
from proxy.limits.permit import Permit

if TYPE_CHECKING:
    from proxy.exchange import Exchange


class Spender:
    """An API key's budget in dollars: what an attempt may cost at its target is reserved of it, and settled after."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def enter(self, target: Limiter | None, x: Exchange, model: str) -> Permit | None:
        """Reserves, and enters the target's limiter as well; None: that takes waiting. Raises Refused (412, 429)."""
        permit = self._limiter.hold(x, model)
        if permit is None or target is None:
            return permit
        if permit.limiter is None:
            return target.enter(x, model)
        try:
            more = target.enter(x, model, permit)
        except BaseException:
            permit.leave(None, answered=False)
            raise
        if more is None:
            permit.leave(None, answered=False)
            return None
        permit.more = more
        permit.standing = more.standing
        return permit

    async def wait(self, target: Limiter | None, x: Exchange, model: str) -> Permit:
        """The same as soon as there is room. Raises Refused (412, 429)."""
        limiter = self._limiter
        meter = limiter.meter
        if meter is not None and meter.shared:
            held, _, amount = limiter.costs(x, model)
            await limiter.lease(meter, held, amount, attempt=True)
        permit = limiter.hold(x, model)
        if permit is None:
            raise refusals.not_now(limiter.what, limiter.name)
        if target is not None:
            if permit.limiter is None:
                return target.enter(x, model) or await target.wait(x, model)
            try:
                permit.add(target.enter(x, model) or await target.wait(x, model))
            except BaseException:
                permit.leave(None, answered=False)
                raise
        return permit


def spender_of(limiter: Limiter | None) -> Spender | None:
    """Who counts an API key's budget with each attempt; None where that is not needed."""
    meter = None if limiter is None else limiter.meter
    if limiter is None or meter is None or meter.spending is None or meter.spends:
        return None
    return Spender(limiter)
