"""What a request holds of limits, and how it gives that back: once, whatever has happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from adapters.types import Usage
from proxy.limits.meter import Meter
from proxy.limits.need import Need
from proxy.limits.rates import UNRATED, Tightest, tightest
from proxy.prices import Price

if TYPE_CHECKING:
    from proxy.limits.limiter import Limiter

NO_NEED = Need(0, 0, True)
_NOTHING = Usage()


class Permit(msgspec.Struct, eq=False, gc=False):
    """What one request holds of one limiter, and of others beside it (`more`).

    `limiter` is None once it was left. `meter` is what it was counted by, where there are rates or a budget, `price`
    what its part of a budget in dollars was `reserved` by. `place`: it counts as a request in flight and in the rates;
    else it holds a part of a budget and no more. `standing` is how the rates stood then, the tightest of all.
    """

    limiter: Limiter | None
    need: Need = NO_NEED
    reserved: int = 0
    price: Price | None = None
    meter: Meter | None = None
    more: Permit | None = None
    standing: Tightest = UNRATED
    place: bool = True

    def add(self, more: Permit) -> None:
        """Holds another permit as well."""
        self.more = more
        if more.standing is not UNRATED:
            self.standing = tightest(self.standing, more.standing)

    def leave(self, usage: Usage | None, answered: bool, cost: int | None = None) -> None:
        """Gives everything back and settles what was used; idempotent. `answered`: the provider gave an answer that
        counts; if it told no usage, the prompt counts as it was guessed. `cost` is what that comes to by `price`, if
        somebody knows."""
        limiter = self.limiter
        if limiter is None:
            return
        self.limiter = None
        meter, more = self.meter, self.more
        if meter is None and more is None:
            gate = limiter.gate  # `give`, without a call: this is the usual case
            gate.u32[gate.used] -= 1
            if gate.waits:
                gate.pass_on()
            return
        try:
            if meter is not None and (meter.weighs or not self.place):
                used = usage
                if used is None:
                    used = Usage(input=self.need.input, estimated=True) if answered else _NOTHING
                if cost is None and self.price is not None:
                    cost = self.price.nanos(used)
                tokens = used.input + used.output
                amount = (cost or 0) if meter.in_money else tokens
                if meter.late:
                    limiter.settle_late(self, meter, tokens, amount)
                else:
                    meter.settle(self.place, self.need, tokens, self.reserved, amount)
            else:
                limiter.gate.give()
        finally:
            if more is not None:
                more.leave(usage, answered, cost if more.price is self.price else None)
