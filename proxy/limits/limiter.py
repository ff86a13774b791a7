"""Limiters: everything that limits one identity, and the permits that they give.

    permit = limiter.enter(x, model) or await limiter.wait(x, model)
    try:
        ...
    finally:
        permit.leave(usage, answered=True)

One lock is taken to enter: under it the budget, the rates and the concurrency are looked at, and only when all agree
is anything counted. A limiter belongs to an identity, not to a configuration: a reload changes limits and keeps counts.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from time import monotonic, time
from typing import TYPE_CHECKING

from adapters.provider import matches
from adapters.types import Dialect
from proxy.errors import Refused
from proxy.limits import need, refusals
from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.memory import WIDTH, Row
from proxy.limits.meter import Meter
from proxy.limits.need import Need
from proxy.limits.permit import NO_NEED, Permit
from proxy.limits.rates import UNRATED, Spending, Standing, rates_of, standing_of
from proxy.ports import Limits, Queue
from proxy.prices import Price

if TYPE_CHECKING:
    from proxy.exchange import Exchange

_NOTHING_NEEDED: tuple[Need, Price | None, int] = (NO_NEED, None, 0)
_LOOKS, _LOOK_EVERY = 25, 0.004  # for how long, and how often, more of a shared rate is looked for (seconds)
_PATTERNS_KEPT = 1024


class Limiter:
    """The limits of one API key or virtual key. Whoever enters leaves, whatever happens in between.

    `model` is the pattern where it is for some models only. `plain`: there is nothing but a limit of concurrency. The
    budget is counted with its permits (`meter.spends`), but for an API key's budget in dollars: only an attempt knows a
    price (`hold`).
    """

    __slots__ = (
        "_address",
        "_by_model",
        "_column",
        "_drop",
        "_former",
        "_free",
        "_host",
        "_i64",
        "_identity",
        "_limit",
        "_locks",
        "_memory",
        "_row_at",
        "_take",
        "_u32",
        "_used",
        "_used_at",
        "_width",
        "gate",
        "limits",
        "meter",
        "model",
        "models",
        "name",
        "plain",
        "what",
    )

    def __init__(self, host: Host, what: str, identity: str, name: str, model: str | None = None) -> None:
        self._host = host
        self._identity = identity
        self._locks = host.memory.locks
        self._take, self._drop = self._locks.take, self._locks.drop
        self._memory = host.memory
        self._i64 = host.memory.i64
        self._u32 = host.memory.u32
        self._sit(host.memory.row(what, identity, *(() if model is None else (model,))))
        self.what = what
        self.name = name
        self.model = model
        self.limits = Limits()
        self.meter: Meter | None = None
        self.plain = False
        self._limit = 0
        self.models: tuple[Limiter, ...] = ()
        self._former: dict[str | None, Limiter] = {}
        """Patterns that were taken away, while somebody is in."""
        self._by_model: dict[str | None, Limiter | None] = {}

    def __repr__(self) -> str:
        return f"Limiter({self.name}: {self.held} of {self.limits.concurrency or '∞'})"

    def _sit(self, row: Row) -> None:
        self._address = self._locks.address(row.at)
        self._used_at = row.used
        self._row_at = row.at
        self._used = row.my_used
        self._width = 0
        self.gate = Gate(self._host, row)

    def set(self, name: str, limits: Limits, since: int = 0) -> None:
        """Changes the limits; counts stay. `since` (Unix seconds) is when whoever has them was made."""
        if limits == self.limits and name == self.name:
            return
        row = self.gate.row
        self.name, self.limits = name, limits
        self.gate.set(limits.concurrency, limits.queue.size, limits.queue.timeout)
        rates = rates_of(row, limits.requests, limits.tokens)
        spending = None if limits.budget is None else Spending(limits.budget, since)
        if self.meter is not None:
            self.meter.late = True
        spends = spending is not None and not (spending.in_money and self.what == refusals.API_KEY)
        self.meter = Meter(self.gate, rates, spending, self._host.shared, spends) if rates or spending else None
        if self.meter is not None:
            self._host.meters[row.at] = self.meter
        else:
            self._host.meters.pop(row.at, None)
        known = self._former | {child.model: child for child in self.models}
        self.models = tuple(
            known.get(pattern) or Limiter(self._host, self.what, self._identity, name, pattern)
            for pattern in limits.models
        )
        self._former = {pattern: child for pattern, child in known.items() if pattern not in limits.models}
        for child in self._former.values():
            child.set(name, Limits())  # those who wait there come in
        for child in self.models:
            assert child.model is not None
            own = limits.models[child.model]
            queue = limits.queue if own.concurrency is not None else Queue()
            child.set(name, Limits(concurrency=own.concurrency, queue=queue, requests=own.requests, tokens=own.tokens))
        self._by_model = {}
        self.plain = self.meter is None and not self.models and not self.gate.waits and limits.concurrency is not None
        self._limit = limits.concurrency or 0
        self._width = 0

    @property
    def held(self) -> int:
        """Requests in flight, over all workers of this host."""
        return self.gate.row.held

    @property
    def queued(self) -> int:
        """Requests that wait here, over all workers of this host."""
        return self.gate.row.queued

    @property
    def idle(self) -> bool:
        """Whether nothing is counted here: nobody is in, waits, or may spend."""
        reserved = 0 if self.meter is None else self.meter.reserved
        own = self.held == 0 and self.queued == 0 and not reserved
        return own and all(child.idle for child in (*self.models, *self._former.values()))

    def tidy(self) -> None:
        """Lets go of patterns that were taken away, once nobody is in."""
        for pattern, child in tuple(self._former.items()):
            if child.idle:
                del self._former[pattern]
                child.detach()

    def detach(self) -> None:
        """Nobody will come any more: the row may be another's. Who has come late all the same is not limited."""
        for each in (self, *self.models, *self._former.values()):
            row = each.gate.row
            self._host.gates.pop(row.at, None)
            self._host.meters.pop(row.at, None)
            if each.meter is not None:
                each.meter.late, each.meter = True, None
            each.limits, each.models, each.plain = Limits(), (), False
            each._sit(self._memory.scratch())
            self._host.gates.pop(each._row_at, None)
            self._memory.let_go(row)

    def _widen(self, width: int) -> None:
        """There are more workers than when this was last looked at, or another limit, or another row."""
        first = self._used_at // 4
        self._column = self._u32[first : first + width]
        self._free = self._limit - 2 * width
        self._width = width

    # -- coming and going

    def enter(self, x: Exchange, model: str | None, beside: Permit | None = None) -> Permit | None:
        """Takes a permit, or says by None that it takes waiting. `beside` is one of the same attempt, whose price need
        not be found again. Raises Refused (412, 429)."""
        # A limit of concurrency alone, and no queue: the usual case, without a call that can be spared.
        if self.plain:
            width = self._i64[WIDTH]
            if width != self._width:
                self._widen(width)
            # Far from the limit no lock is needed. One's own is counted first, so that whoever looks later sees it,
            # however long this process is stopped in between. What a processor may still hide of the others' columns
            # is what each has counted in the last fraction of a microsecond, one at most; two are left for each.
            free = self._free
            if free > 0:
                self._u32[self._used] += 1
                if sum(self._column) <= free:
                    return Permit(self)
                self._u32[self._used] -= 1
            code = self._take(self._address)
            if not code or self._locks.insist(self._address, code):
                if sum(self._memory.u32s(self._used_at)) < self._limit:
                    self._u32[self._used] += 1
                    self._drop(self._address)
                    return Permit(self)
                self._drop(self._address)
                raise self.full()
            return None
        permit = self._enter(x, model, beside)
        if permit is not None and self.models:
            child = self._for(model)
            if child is not None:
                try:
                    more = child.enter(x, None)
                except Refused:
                    permit.leave(None, answered=False)
                    raise
                if more is None:
                    permit.leave(None, answered=False)
                    return None
                permit.add(more)
        return permit

    async def wait(self, x: Exchange, model: str | None) -> Permit:
        """Takes a permit as soon as there is one. Raises Refused (412, 429)."""
        child = self._for(model) if self.models else None
        if self.meter is not None and self.meter.shared:
            held, _, amount = self._reserves(self.meter, x, model)
            await self.lease(self.meter, held, amount)
        if not await self._in_turn(x):
            raise refusals.unreachable() if self.gate.closed else self.full()
        try:
            permit = self._admitted(x, model)
        except BaseException:
            self.gate.give()
            raise
        if child is not None:
            try:
                permit.add(child.enter(x, None) or await child.wait(x, None))
            except BaseException:
                permit.leave(None, answered=False)
                raise
        return permit

    async def _in_turn(self, x: Exchange) -> bool:
        with self.locked():
            if self.gate.room():
                self._u32[self._used] += 1
                return True
        key = x.key
        return await self.gate.wait("" if key is None else key.id, 1 if key is None else key.weight)

    def _no_place(self) -> None:
        if self.gate.closed:
            raise refusals.unreachable()
        if not self.gate.waits:
            raise self.full()

    def shut(self, flow: str) -> bool:
        """Whether a request of this flow, whatever it asks for, would be refused at once because all places are taken:
        those in flight, and those in the queue. Looks, and changes nothing."""
        if self.plain:
            memory = self._memory
            held: int = sum(memory.sums[self._i64[WIDTH]](memory.map, self._used_at))
            return held >= self._limit
        return self.gate.shut(flow)

    def closed(self) -> Refused | None:
        """What any request, however little it asks for, would be told because rates or the budget are used up. Looks,
        and changes nothing. None also where other hosts may have something to spare."""
        meter = self.meter
        if meter is None or meter.shared:
            return None
        try:
            with self.locked():
                self.check(meter, NO_NEED, 0)
        except Refused as refused:
            return refused
        return None

    def full(self) -> Refused:
        """What such a request is told."""
        limit = self.limits.concurrency or 0
        return refusals.full(self.what, self.name, limit, self.model, self.gate.waits)

    def _enter(self, x: Exchange, model: str | None, beside: Permit | None) -> Permit | None:
        meter = self.meter
        if meter is None:
            held, price, amount = _NOTHING_NEEDED
        elif beside is not None and beside.price is not None and meter.priced:
            held, price, amount = beside.need, beside.price, beside.reserved
        else:
            held, price, amount = self._reserves(meter, x, model)
        if meter is not None:
            standing = meter.admit(held, amount)
            if standing is not None:
                if meter.low:
                    self._ask(meter)
                return Permit(self, held, amount, price, meter, None, standing)
        with self.locked():
            if meter is not None and not self.check(meter, held, amount):
                return None
            room = self.gate.room()
            if room:
                self._count(meter, held, amount)
        if not room:
            self._no_place()
            return None
        if meter is None:
            return Permit(self)
        self._ask(meter)
        return Permit(self, held, amount, price, meter, None, meter.standing(monotonic()))

    def _ask(self, meter: Meter) -> None:
        """Asks for more of what will soon be used up."""
        if meter.low:
            meter.low = False
            self._host.ask(self._row_at)

    def _count(self, meter: Meter | None, held: Need, amount: int) -> None:
        """Takes the place that there is, with the lock held."""
        self._u32[self._used] += 1
        if meter is not None:
            meter.count(monotonic(), held)
            if meter.spends:
                meter.reserve(amount)

    def _admitted(self, x: Exchange, model: str | None) -> Permit:
        """The permit of a request that has its place already."""
        meter = self.meter
        if meter is None:
            return Permit(self)
        held, price, amount = self._reserves(meter, x, model)
        with self.locked():
            if not self.check(meter, held, amount):
                raise refusals.not_now(self.what, self.name)
            self._count(meter, held, amount)
            self._u32[self._used] -= 1
        return Permit(self, held, amount, price, meter, None, meter.standing(monotonic()))

    def hold(self, x: Exchange, model: str) -> Permit | None:
        """Holds what an attempt may cost of an API key's budget in dollars; None: other hosts are to be asked first. A
        permit without a limiter holds nothing. Raises Refused (412, 429)."""
        meter = self.meter
        if meter is None or meter.spending is None or meter.spends:
            return Permit(None)  # there was one when the request came
        held = x.need
        if held is None:
            held = x.need = need.of(x.body, x.dialect, x.path)
        price = None if x.leaf is None else x.leaf.target.prices.find(model)
        if price is None:
            price = self.price_of(x, model)
        if price is None:
            amount = 0
        else:
            amount = price.at_most(held.input, held.output) if held.asked is None else self._worst(held, price)
        if not meter.hold(amount):
            with self.locked():
                if not self.check(meter, held, amount, attempt=True):
                    return None
                meter.reserve(amount)
        return Permit(self, held, amount, price, meter, None, UNRATED, False)

    def settle_late(self, permit: Permit, meter: Meter, tokens: int, amount: int) -> None:
        """Settles a permit when the limits have changed since: tokens go back to the buckets that they came from, and
        what was spent counts in the budget that there is now, if it is of the same kind."""
        with self.locked(always=True):
            self._settle_late(permit, meter, tokens, amount)
        if permit.place:
            self.gate.give()

    def _settle_late(self, permit: Permit, meter: Meter, tokens: int, amount: int) -> None:
        if permit.place:
            meter.correct(permit.need, tokens)
        before, now = meter.spending, None if self.meter is None else self.meter.spending
        if before is None or (permit.place and not meter.spends):
            return
        if self.meter is None or now is None or now.in_money != before.in_money:
            meter.forgive(permit.reserved)
        elif now.window != before.window:
            meter.forgive(permit.reserved)
            self.meter.spend(0, amount, time())
        else:
            self.meter.spend(permit.reserved, amount, time())

    # -- rates and budget

    def _reserves(self, meter: Meter, x: Exchange, model: str | None) -> tuple[Need, Price | None, int]:
        """What a request may use, and what that takes from the budget, by what price. Raises Refused (412)."""
        if not meter.weighs:
            return _NOTHING_NEEDED
        held = x.need
        if held is None:
            held = x.need = need.of(x.body, x.dialect, x.path)
        if meter.priced:
            return self.costs(x, model)
        return held, None, held.input + held.output if meter.spends else 0

    def costs(self, x: Exchange, model: str | None) -> tuple[Need, Price | None, int]:
        """The same for a budget in dollars. Raises Refused (412) where a price must be known."""
        held = x.need
        if held is None:
            held = x.need = need.of(x.body, x.dialect, x.path)
        price = self.price_of(x, model)
        if price is None:
            return held, None, 0
        amount = price.at_most(held.input, held.output) if held.asked is None else self._worst(held, price)
        return held, price, amount

    def _worst(self, held: Need, price: Price) -> int:
        """What a request may cost at most, in billionths of a US dollar. Raises Refused (412) where it asks for
        something whose price must be known."""
        asked, budget = held.asked, self.limits.budget
        lacking = None if asked is None else price.lacking(asked)
        if lacking is not None and budget is not None and budget.unknown_price == "refuse":
            raise refusals.no_price(self.what, self.name, price.id.partition(":")[2], lacking)
        return price.at_most(held.input, held.output, asked, held.tier, held.lasting)

    def price_of(self, x: Exchange, model: str | None) -> Price | None:
        """The price of a model at the target that is being tried. Raises Refused (412) where there must be one."""
        price = None if x.leaf is None or not model else x.leaf.target.prices.find(model)
        if price is not None:
            return price
        budget = self.limits.budget
        if x.dialect is Dialect.ANTHROPIC_COUNT_TOKENS or (not model and x.method in _FREE):
            return None  # nothing is generated, so nothing is charged
        if budget is not None and budget.unknown_price == "refuse":
            raise refusals.no_price(self.what, self.name, model)
        return None

    def locked(self, *, always: bool = False) -> AbstractContextManager[None]:
        """Holds this limiter's lock. Raises Refused (503) when who has it does not give it back, unless `always`: what
        has been used must be counted, even at the risk that another's count at this moment is lost."""
        return self._host.memory.locked(self._row_at, always=always)

    async def lease(self, meter: Meter, held: Need, amount: int, *, attempt: bool = False) -> None:
        """Waits a moment for what other hosts may have to spare. Raises Refused (412, 429)."""
        for _ in range(_LOOKS):
            with self.locked():
                if self.check(meter, held, amount, attempt=attempt):
                    return
            self._host.ask(self._row_at)
            await asyncio.sleep(_LOOK_EVERY)

    def check(self, meter: Meter, held: Need, amount: int, *, attempt: bool = False) -> bool:
        """Looks whether budget and rates have room, with the lock held; False: other hosts are to be asked first.
        `amount` is what the request may take from the budget. `attempt`: only that counts, for one attempt. Raises
        Refused (412, 429)."""
        if self.gate.closed:
            raise refusals.unreachable()
        meter.lacks = False
        now = monotonic()
        least = max(1, amount) if meter.spends or attempt else 0
        if meter.spending is not None and meter.exhausted(time(), now, least):
            raise refusals.exhausted(self.what, self.name, _spelled(meter.spending))
        if meter.rates and not attempt:
            refusing = meter.refusing(now, held)
            if refusing is not None:
                raise refusals.too_fast(self.what, self.name, *refusing, meter.standing(now))
        return not meter.lacks

    # -- what administration and the leader look at

    @property
    def row_name(self) -> str:
        """The name of this identity's row."""
        return self._memory.name_of(self._row_at)

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent."""
        meter = self.meter
        if meter is None or meter.spending is None:
            return False
        with self.locked():
            meter.roll(time())
            return meter.spent >= meter.spending.limit

    def reset(self, at: int | None = None) -> None:
        """Sets what was spent to nothing; with a time (Unix seconds), if no reset as late as that was done."""
        meter = self.meter
        if meter is not None and meter.spending is not None:
            with self.locked():
                meter.reset(max(int(time()) - 1, meter.reset_at + 1) if at is None else at)

    def standing(self) -> Standing | None:
        """How the budget stands; None: there is none."""
        meter = self.meter
        if meter is None or meter.spending is None:
            return None
        with self.locked():
            meter.roll(time())
            return standing_of(meter.spending, meter.spent, meter.reserved)

    def spending_now(self, wall: float) -> tuple[int, int, int]:
        """The budget's window, what was spent in it, and when it was last reset."""
        assert self.meter is not None
        with self.locked():
            self.meter.roll(wall)
            return self.meter.window, self.meter.spent, self.meter.reset_at

    def alerting(self) -> tuple[int, int] | None:
        """The window, and when it was last reset, if somebody is to be told that its threshold has been reached."""
        meter = self.meter
        if meter is None or meter.spending is None or meter.spending.alert is None:
            return None
        with self.locked():
            return (meter.window, meter.reset_at) if meter.alerting(time()) else None

    def told(self, window: int, reset_at: int) -> None:
        """Somebody was told of that window's threshold."""
        if self.meter is not None and self.meter.spending is not None:
            with self.locked(always=True):
                self.meter.told(window, reset_at)

    # -- models

    def _for(self, model: str | None) -> Limiter | None:
        """The limiter of the first pattern that fits a model."""
        if model is None:
            return None
        try:
            return self._by_model[model]
        except KeyError:
            found = next((child for child in self.models if matches(model, (child.model or "",))), None)
            if len(self._by_model) >= _PATTERNS_KEPT:
                self._by_model.clear()
            self._by_model[model] = found
            return found


_FREE = frozenset(("GET", "HEAD", "DELETE"))
"""Methods of the routes that only pass through: lists and files cost nothing."""


def _spelled(spending: Spending) -> str:
    budget = spending.budget
    # Not `:g`, which says $1e-06.
    amount = f"{budget.tokens} tokens" if budget.usd is None else f"${budget.usd:.9f}".rstrip("0").rstrip(".")
    return f"{amount} {'in total' if budget.window == 'total' else budget.window}"
