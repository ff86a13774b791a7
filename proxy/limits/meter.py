"""Rates and budgets of one identity, in its row of the shared memory. Everything here runs with the row's lock held.

A rate is a GCRA: one number, the *theoretical arrival time*, says how full its bucket is. A bucket holds what one
period may bring and drains evenly over the period; so at once there may come what the period allows, and afterwards as
much as drains. Times are the monotonic clock's, which no change of the wall clock moves and all workers share.

A budget counts what was spent in its window and, in each worker's column, what requests in flight may still spend. A
request is let in while the sum is below the limit: so the limit is passed by one reservation at most, however many
arrive together. Money is in billionths of a US dollar.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import msgspec

from proxy.limits import windows
from proxy.limits.memory import Memory, Mode, Row
from proxy.limits.need import Need
from proxy.limits.purses import Purses
from proxy.ports import Budget, Rates

NANO = 1_000_000_000
_PERIODS: dict[str, float] = {"per_second": 1.0, "per_minute": 60.0, "per_hour": 3600.0, "per_day": 86_400.0}
_LOW = 80  # of a rate, for each host: less in its pool, and more is asked for before it is needed
BUDGET = 8  # the pool after those of the rates
_PART = 4  # an answer without a limit of its own reserves this part of a rate at most
_SLACK = 1e-6  # seconds: what rounding may take from a full bucket


class Rate:
    """One rate: `limit` in `period` seconds. `cell` is where its arrival time is kept, `pool` its lease."""

    __slots__ = ("cell", "index", "interval", "limit", "per", "period", "pool", "tokens")

    def __init__(self, row: Row, tokens: bool, per: str, limit: int) -> None:
        self.tokens = tokens
        self.per = per
        self.limit = limit
        self.period = _PERIODS[per]
        self.interval = self.period / limit
        self.index = 4 * tokens + list(_PERIODS).index(per)
        self.cell = (row.at + Memory.TATS) // 8 + self.index
        self.pool = (row.at + Memory.POOLS) // 8 + self.index

    def amount(self, need: Need) -> int:
        """What a request takes from this rate: never more than the whole bucket, so that a large one can come too."""
        if not self.tokens:
            return 1
        output = need.output if need.capped else min(need.output, self.limit // _PART)
        return min(need.input + output, self.limit)

    def wait(self, arrival: float, now: float, amount: int) -> float:
        """Seconds until there is room for `amount`; 0 or less: now."""
        return max(arrival, now) + amount * self.interval - now - self.period - _SLACK

    def remaining(self, arrival: float, now: float) -> int:
        """How much could come now."""
        return max(0, int((self.period - max(0.0, arrival - now)) / self.interval + _SLACK))


class Spending:
    """One budget. `limit` and all amounts are billionths of a dollar, or tokens. `since` (Unix seconds) is when whoever
    has it was made, 0 if that is not known: windows of N days are counted from there."""

    __slots__ = ("_from", "_number", "_until", "alert", "budget", "in_money", "limit", "since", "window")

    def __init__(self, budget: Budget, since: int = 0) -> None:
        self.budget = budget
        self.since = since
        self.in_money = budget.usd is not None
        scale = NANO if self.in_money else 1
        self.limit = round((budget.usd if budget.usd is not None else budget.tokens or 0) * scale)
        self.alert = None if budget.alert_threshold is None else round(budget.alert_threshold * scale)
        self.window = budget.window
        self._number = 0
        self._from = self._until = 0.0  # between these it is this number

    def window_at(self, wall: float) -> int:
        """The number of the window that a moment (Unix seconds) is in."""
        if not self._from <= wall < self._until:
            ends = windows.ends(self.window, wall, self.since)
            self._number = windows.window_id(self.window, wall, self.since)
            self._from, self._until = wall, inf if ends is None else ends
        return self._number


class State(msgspec.Struct, frozen=True):
    """How a rate stands, as headers tell it: `reset` is in seconds until its bucket is empty."""

    tokens: bool
    limit: int
    remaining: int
    reset: float


def rates_of(row: Row, requests: Rates | None, tokens: Rates | None) -> tuple[Rate, ...]:
    """The rates that are set."""

    def found() -> Iterator[Rate]:
        for kind, rates in ((False, requests), (True, tokens)):
            for per in _PERIODS:
                limit = getattr(rates, per, None)
                if limit is not None:
                    yield Rate(row, kind, per, limit)

    return tuple(found())


class Meter:
    """Rates and a budget over one row.

    Where several hosts share them (`shared`), they are counted in *pools*: what this host has leased of each. `lacks`
    says after a look that a pool has too little and that asking for more may help, `low` that one will have soon.
    """

    __slots__ = (
        "_cells",
        "_f64",
        "_i64",
        "_purse",
        "lacks",
        "low",
        "memory",
        "rates",
        "row",
        "shared",
        "spending",
        "token_rates",
    )

    def __init__(self, row: Row, rates: tuple[Rate, ...], spending: Spending | None, shared: bool = False) -> None:
        self.shared = shared
        self.lacks = self.low = False
        self.memory = row.memory
        self._i64 = row.memory.i64
        self._f64 = row.memory.f64
        self.row = row
        self.rates = rates
        self.token_rates = any(rate.tokens for rate in rates)
        self.spending = spending
        self._cells = row.memory.purses.cells
        self._purse = 0 if spending is None else row.memory.purse(row.at)

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
                if self._f64[rate.pool] < rate.limit // (_LOW * live):
                    wants = (self.row.at + Memory.WANTS) // 8 + rate.index
                    self._f64[wants] = max(self._f64[wants], 1.0)
                    self.low = True
            else:
                self._f64[rate.cell] = max(self._f64[rate.cell], now) + min(amount * live, rate.limit) * rate.interval

    def correct(self, need: Need, used: int) -> None:
        """Puts into the token buckets what was used in the place of what was reserved."""
        pooled, live = self.pooled, self._live
        for rate in self.rates:
            if not rate.tokens:
                continue
            if pooled:
                self._f64[rate.pool] += rate.amount(need) - used
            else:
                amount = min(rate.amount(need) * live, rate.limit)
                self._f64[rate.cell] += (used * live - amount) * rate.interval

    def states(self, now: float) -> list[State]:
        """How the rates stand: of requests and of tokens the one with the least room."""
        tightest: dict[bool, State] = {}
        pooled = self.pooled
        for rate in self.rates:
            if pooled:
                left = self._f64[rate.pool] + self._f64[(self.row.at + Memory.AVAILS) // 8 + rate.index]
                left = max(0.0, min(left, rate.limit))
                state = State(rate.tokens, rate.limit, int(left), (rate.limit - left) * rate.interval)
            else:
                arrival = self._f64[rate.cell]
                state = State(rate.tokens, rate.limit, rate.remaining(arrival, now), max(0.0, arrival - now))
            known = tightest.get(rate.tokens)
            if known is None or state.remaining < known.remaining:
                tightest[rate.tokens] = state
        return list(tightest.values())

    # -- the budget

    def roll(self, wall: float) -> None:
        """Begins a new window if it is time. A clock that was set back changes nothing."""
        assert self.spending is not None
        cells, purse = self._cells, self._purse
        window = self.spending.window_at(wall)
        known = cells[purse + Purses.WINDOW]
        if window == known:
            return
        if window > known or window >> 40 != known >> 40:
            self._f64[(self.row.at + Memory.POOLS) // 8 + BUDGET] = 0.0
            self._f64[(self.row.at + Memory.DENIED) // 8 + BUDGET] = 0.0
            cells[purse + Purses.SPENT] = 0  # first, so that whoever dies here leaves a window that begins anew
            cells[purse + Purses.WINDOW] = window

    @property
    def window(self) -> int:
        """The number of the window in which it counts."""
        window: int = self._cells[self._purse + Purses.WINDOW]
        return window

    @property
    def reset_at(self) -> int:
        """When it was last reset (Unix seconds)."""
        reset_at: int = self._cells[self._purse + Purses.RESET]
        return reset_at

    @property
    def spent(self) -> int:
        """What was spent in this window."""
        spent: int = self._cells[self._purse + Purses.SPENT]
        return spent

    @spent.setter
    def spent(self, amount: int) -> None:
        self._cells[self._purse + Purses.SPENT] = amount

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
            pool = (self.row.at + Memory.POOLS) // 8 + BUDGET
            self._f64[pool] = min(0.0, self._f64[pool])
            self._f64[(self.row.at + Memory.DENIED) // 8 + BUDGET] = 0.0
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
        self._i64[self.row.my_reserved] += amount
        if self.shared:
            self._f64[(self.row.at + Memory.POOLS) // 8 + BUDGET] -= amount

    def spend(self, reserved: int, used: int, wall: float) -> None:
        """Counts what was used in the place of what was reserved, in the window that is now."""
        self.roll(wall)
        self._i64[self.row.my_reserved] -= reserved
        self._cells[self._purse + Purses.SPENT] += used
        if self.shared:
            self._f64[(self.row.at + Memory.POOLS) // 8 + BUDGET] += reserved - used

    # -- several hosts

    @property
    def pooled(self) -> bool:
        """Whether this host counts in what it has leased: not alone, and not while Redis does not answer."""
        return self.shared and bool(self._i64[Memory.MODE // 8] == Mode.GOOD)

    @property
    def _live(self) -> int:
        """How many parts a limit has while each host gives out its share of it."""
        return max(1, self._i64[Memory.LIVE // 8]) if self.shared else 1

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
