"""Rates and budgets of one identity, in its row of the shared memory. Everything here runs with the row's lock held.

Rates are what `rates` says. A budget counts what was spent in its window and, in each worker's column, what requests in
flight may still spend. A request is let in while the sum is below the limit: so the limit is passed by one reservation
at most, however many arrive together. Money is in billionths of a US dollar.

There are two ways to the same count. `admit` is for a request for which there is room beyond doubt, as nearly always:
one pass that looks, and one that counts. What it leaves undecided is looked at piece by piece (`exhausted`,
`refusing`), so that a refusal can say what was in the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.limits.memory import WIDTH, Memory, Mode, Row
from proxy.limits.need import Need
from proxy.limits.purses import Purses
from proxy.limits.rates import BUDGET, LOW, SLACK, Rate, Spending, State

_MODE = Memory.MODE // 8
_LIVE = Memory.LIVE // 8


class Meter:
    """Rates and a budget over one row.

    `spends`: each request that is admitted holds a part of the budget; else it is only looked at, and `reserve` is
    called for itself. Where several hosts share them (`shared`), they are counted in *pools*: what this host has leased
    of each. `lacks` says after a look that a pool has too little and that asking for more may help, `low` that one will
    have soon. It never changes: a request settles with the meter by which it came in, whatever the limits are by then.
    """

    __slots__ = (
        "_cells",
        "_denied",
        "_f64",
        "_i64",
        "_i64s",
        "_map",
        "_my_reserved",
        "_pool",
        "_purse",
        "_requests",
        "_reserved",
        "_spent",
        "_tokens",
        "_window",
        "lacks",
        "low",
        "memory",
        "rates",
        "row",
        "shared",
        "spending",
        "spends",
        "weighs",
    )

    def __init__(
        self,
        row: Row,
        rates: tuple[Rate, ...],
        spending: Spending | None,
        shared: bool = False,
        spends: bool = True,
    ) -> None:
        """Raises `memory.Full`."""
        self.shared = shared
        self.lacks = self.low = False
        self.memory = row.memory
        self._map = row.memory.map
        self._i64 = row.memory.i64
        self._i64s = row.memory.sums_of_i64
        self._f64 = row.memory.f64
        self.row = row
        self.rates = rates
        self._requests = tuple(rate for rate in rates if not rate.tokens)
        self._tokens = tuple(rate for rate in rates if rate.tokens)
        self.spending = spending
        self.spends = spends and spending is not None
        self.weighs = bool(self._tokens) or self.spends
        """Whether it matters how large a request is."""
        self._cells = row.memory.purses.cells
        self._purse = purse = 0 if spending is None else row.memory.purse(row.at)
        self._window, self._spent = purse + Purses.WINDOW, purse + Purses.SPENT
        self._reserved, self._my_reserved = row.reserved, row.my_reserved
        self._pool = (row.at + Memory.POOLS) // 8 + BUDGET
        self._denied = (row.at + Memory.DENIED) // 8 + BUDGET

    # -- the short way

    def admit(self, now: float, wall: float, need: Need, amount: int) -> bool:
        """Counts a request in every rate and holds `amount` of the budget, if there is room beyond doubt. False:
        nothing was counted, and it takes a closer look. `now` is the monotonic clock, `wall` Unix seconds."""
        if self.spending is not None and not self.affords(now, wall, (amount or 1) if self.spends else 0):
            return False
        if self.shared:
            if not self._admit_leased(now, need):
                return False
            if self.spends:
                self.reserve(amount)
            return True
        f64 = self._f64
        counted = []
        for rate in self._requests:
            arrival = f64[rate.cell]
            if arrival < now:
                arrival = now
            arrival += rate.interval
            if arrival - now > rate.room:
                return False
            counted.append((rate.cell, arrival))
        for rate in self._tokens:
            arrival = f64[rate.cell]
            if arrival < now:
                arrival = now
            arrival += rate.amount(need) * rate.interval
            if arrival - now > rate.room:
                return False
            counted.append((rate.cell, arrival))
        for cell, arrival in counted:
            f64[cell] = arrival
        if self.spends:
            self._i64[self._my_reserved] += amount
        return True

    def affords(self, now: float, wall: float, amount: int) -> bool:
        """Whether the budget has room for `amount` beyond doubt."""
        spending = self.spending
        assert spending is not None
        if not spending.begins <= wall < spending.ends or self._cells[self._window] != spending.number:
            return False
        if not self.shared:
            reserved = self._i64s[self._i64[WIDTH]](self._map, self._reserved)
            return bool(self._cells[self._spent] + sum(reserved) < spending.limit)
        if self._i64[_MODE] != Mode.GOOD:
            return False
        return bool(self._f64[self._pool] >= amount if amount else self._f64[self._denied] <= now)

    def _admit_leased(self, now: float, need: Need) -> bool:
        if self._i64[_MODE] != Mode.GOOD:
            return False
        f64 = self._f64
        for rate in self.rates:
            if f64[rate.pool] < rate.amount(need):
                return False
        self.count(now, need)
        return True

    def settle(self, wall: float, need: Need, used: int, reserved: int, amount: int) -> None:
        """Puts what was used in the place of what was reserved when it was admitted: tokens, and of the budget."""
        if self._tokens:
            self.correct(need, used)
        if self.spends:
            self.spend(reserved, amount, wall)

    # -- rates

    def refusing(self, now: float, need: Need) -> tuple[Rate, float] | None:
        """The rate that has no room for one more request, and for how long; of several, the one that lasts longest."""
        worst: tuple[Rate, float] | None = None
        pooled, live = self.pooled, self._live
        for rate in self.rates:
            amount = rate.amount(need)
            wait = (
                self._short(rate.index, now, amount)
                if pooled
                else rate.wait(self._f64[rate.cell], now, min(amount * live, rate.limit))
            )
            if wait > 0 and (worst is None or wait > worst[1]):
                worst = (rate, wait)
        return worst

    def count(self, now: float, need: Need) -> None:
        """Puts one request into every bucket."""
        pooled, live = self.pooled, self._live
        for rate in self.rates:
            amount = rate.amount(need)
            if pooled:
                self._f64[rate.pool] -= amount
                if self._f64[rate.pool] < rate.limit // (LOW * live):
                    wants = (self.row.at + Memory.WANTS) // 8 + rate.index
                    self._f64[wants] = max(self._f64[wants], 1.0)
                    self.low = True
            else:
                self._f64[rate.cell] = max(self._f64[rate.cell], now) + min(amount * live, rate.limit) * rate.interval

    def correct(self, need: Need, used: int) -> None:
        """Puts into the token buckets what was used in the place of what was reserved."""
        f64 = self._f64
        if not self.shared:
            for rate in self._tokens:
                f64[rate.cell] += (used - rate.amount(need)) * rate.interval
            return
        pooled, live = self.pooled, self._live
        for rate in self._tokens:
            if pooled:
                f64[rate.pool] += rate.amount(need) - used
            else:
                amount = min(rate.amount(need) * live, rate.limit)
                f64[rate.cell] += (used * live - amount) * rate.interval

    def look(self, now: float, tightest: list[State | None]) -> None:
        """Notes how the rates stand: of requests (0) and of tokens (1) the one with the least room, here or before."""
        f64, pooled = self._f64, self.pooled
        for rate in self.rates:
            if pooled:
                left = f64[rate.pool] + f64[(self.row.at + Memory.AVAILS) // 8 + rate.index]
                remaining = int(left)
                ahead = (rate.limit - max(0.0, min(left, rate.limit))) * rate.interval
            else:
                ahead = f64[rate.cell] - now
                remaining = int((rate.period - ahead) / rate.interval + SLACK) if ahead > 0.0 else rate.limit
            known = tightest[rate.tokens]
            if known is None or remaining < known.remaining:
                tightest[rate.tokens] = State(rate, remaining, ahead)

    def states(self, now: float) -> list[State]:
        """How the rates stand: of requests and of tokens the one with the least room."""
        tightest: list[State | None] = [None, None]
        self.look(now, tightest)
        return [state for state in tightest if state is not None]

    # -- the budget

    def roll(self, wall: float) -> None:
        """Begins a new window if it is time. A clock that was set back changes nothing."""
        spending, cells = self.spending, self._cells
        assert spending is not None
        known = cells[self._window]
        if spending.begins <= wall < spending.ends and known == spending.number:
            return
        window = spending.window_at(wall)
        if window > known or window >> 40 != known >> 40:
            self._f64[self._pool] = 0.0
            self._f64[self._denied] = 0.0
            cells[self._spent] = 0  # first, so that whoever dies here leaves a window that begins anew
            cells[self._window] = window

    @property
    def window(self) -> int:
        """The number of the window in which it counts."""
        window: int = self._cells[self._window]
        return window

    @property
    def reset_at(self) -> int:
        """When it was last reset (Unix seconds)."""
        reset_at: int = self._cells[self._purse + Purses.RESET]
        return reset_at

    @property
    def spent(self) -> int:
        """What was spent in this window."""
        spent: int = self._cells[self._spent]
        return spent

    @spent.setter
    def spent(self, amount: int) -> None:
        self._cells[self._spent] = amount

    @property
    def reserved(self) -> int:
        """What requests in flight may still spend."""
        return sum(self.memory.i64s(self.row.reserved))

    def exhausted(self, wall: float, now: float = 0.0, amount: int = 0) -> bool:
        """Whether nothing more may be spent. `amount` is what a request may spend, `now` the monotonic clock."""
        if self.spending is None:
            return False
        self.roll(wall)
        if self.pooled:
            return self._short(BUDGET, now, amount) > 0
        return self.spent + self.reserved >= self.spending.limit

    def reset(self, at: int) -> None:
        """Begins anew within the window, unless a reset as late as `at` (Unix seconds) was done already."""
        if at > self.reset_at:
            pool = self._pool
            self._f64[pool] = min(0.0, self._f64[pool])
            self._f64[self._denied] = 0.0
            self.spent = 0
            self._cells[self._purse + Purses.ALERTED] = -1
            self._cells[self._purse + Purses.RESET] = at

    def alerting(self, wall: float) -> bool:
        """Whether the threshold has been reached, and nobody was told in this window."""
        self.roll(wall)
        assert self.spending is not None
        told = self._purse + Purses.ALERTED
        if self.spending.alert is None or self.spent < self.spending.alert or self._cells[told] == self.window + 1:
            return False
        self._cells[told] = self.window + 1
        return True

    def reserve(self, amount: int) -> None:
        """Holds an amount for a request."""
        self._i64[self._my_reserved] += amount
        if self.shared:
            self._f64[self._pool] -= amount

    def forgive(self, reserved: int) -> None:
        """Gives back what was held of a budget that is not there any more."""
        self._i64[self._my_reserved] -= reserved

    def spend(self, reserved: int, used: int, wall: float) -> None:
        """Counts what was used in the place of what was reserved, in the window that is now."""
        self.roll(wall)
        self._i64[self._my_reserved] -= reserved
        self._cells[self._spent] += used
        if self.shared:
            self._f64[self._pool] += reserved - used

    # -- several hosts

    @property
    def pooled(self) -> bool:
        """Whether this host counts in what it has leased: not alone, and not while Redis does not answer."""
        return self.shared and bool(self._i64[_MODE] == Mode.GOOD)

    @property
    def _live(self) -> int:
        """How many parts a limit has while each host gives out its share of it."""
        return max(1, self._i64[_LIVE]) if self.shared else 1

    def _short(self, index: int, now: float, amount: int) -> float:
        """Seconds for which a pool has too little, as far as is known; 0: it has enough, or asking may help."""
        row = self.row.at
        if self._f64[(row + Memory.POOLS) // 8 + index] >= amount > 0:
            return 0.0
        denied: float = self._f64[(row + Memory.DENIED) // 8 + index]
        if denied > now:
            return denied - now
        if amount:
            wants = (row + Memory.WANTS) // 8 + index
            self._f64[wants] = max(self._f64[wants], amount)
            self.lacks = True
        return 0.0

    def shares(self, wall: float) -> Iterator[tuple[int, int, float]]:
        """What hosts share of this: index, limit and interval of each rate, and of the budget."""
        for rate in self.rates:
            yield rate.index, rate.limit, rate.interval
        if self.spending is not None:
            self.roll(wall)
            yield BUDGET, self.spending.limit, 0.0
