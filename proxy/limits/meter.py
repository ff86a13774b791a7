"""Rates and budgets of one identity, in its row of the shared memory. What counts runs with the row's lock held.

Rates are what `rates` says. A budget counts what was spent in its window and, in each worker's column, what requests in
flight may still spend. A request is let in while the sum is below the limit: so the limit is passed by one reservation
at most, however many arrive together. Money is in billionths of a US dollar.

There are two ways to the same count. `admit`, `hold` and `settle` take the lock themselves and are for a request for
which there is room beyond doubt, as nearly always (`short`). What they leave undecided is looked at piece by piece
(`exhausted`, `refusing`), so that a refusal can say what was in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, time

from proxy.limits import short
from proxy.limits.gate import Gate
from proxy.limits.memory import Memory, Mode
from proxy.limits.need import Need
from proxy.limits.purses import Purses
from proxy.limits.rates import BUDGET, LOW, NO_RATE, UNRATED, Rate, Spending, Tightest
from proxy.limits.short import Admit, Hold, Settle

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
        "_gate",
        "_i64",
        "_locks",
        "_my_reserved",
        "_my_used",
        "_pool",
        "_purse",
        "_spent",
        "_tokens",
        "_u32",
        "_window",
        "admit",
        "hold",
        "in_money",
        "lacks",
        "late",
        "low",
        "memory",
        "priced",
        "rated",
        "rates",
        "row",
        "settle",
        "shared",
        "spending",
        "spends",
        "weighs",
    )

    def __init__(
        self,
        gate: Gate,
        rates: tuple[Rate, ...],
        spending: Spending | None,
        shared: bool = False,
        spends: bool = True,
    ) -> None:
        """`gate` is where whoever is admitted takes a place, and says of which row. Raises `memory.Full`."""
        self._gate = gate
        self.row = row = gate.row
        self.shared = shared
        self.lacks = self.low = False
        self.memory = row.memory
        self._i64 = row.memory.i64
        self._u32 = row.memory.u32
        self._locks = row.memory.locks
        self._my_used = row.my_used
        self._f64 = row.memory.f64
        self.rates = rates
        self._tokens = tuple(rate for rate in rates if rate.tokens)
        self.spending = spending
        self.spends = spends and spending is not None
        self.rated = bool(rates)
        self.weighs = bool(self._tokens) or self.spends
        """Whether it matters how large a request is."""
        self.priced = self.spends and spending is not None and spending.in_money
        """Whether it matters what it costs."""
        self._cells = row.memory.purses.cells
        self._purse = purse = 0 if spending is None else row.memory.purse(row.at)
        self._window, self._spent = purse + Purses.WINDOW, purse + Purses.SPENT
        self._my_reserved = row.my_reserved
        self._pool = (row.at + Memory.POOLS) // 8 + BUDGET
        self._denied = (row.at + Memory.DENIED) // 8 + BUDGET

        self.late = False
        """Whether another meter has come in the place of this one."""
        self.in_money = spending is not None and spending.in_money
        self.admit: Admit = self._admit
        self.hold: Hold = self._hold
        self.settle: Settle = self._settle
        if not shared and not gate.waits:
            self.admit = short.admission(gate, rates, spending, purse, self.spends)
            self.settle = short.settlement(gate, rates, spending, purse, self.spends, self.roll)
            if spending is not None:
                self.hold = short.holding(gate, spending, purse)

    # -- the way of all others: see `short` for what these do

    def _admit(self, need: Need, amount: int) -> Tightest | None:
        if not self._locks.acquire(self.row.at):
            return None
        try:
            now = monotonic()
            return self.standing(now) if self._admitted(now, time(), need, amount) else None
        finally:
            self._locks.release(self.row.at)

    def _admitted(self, now: float, wall: float, need: Need, amount: int) -> bool:
        if not self._gate.room():
            return False
        if self.spending is not None and not self._affords(now, wall, (amount or 1) if self.spends else 0):
            return False
        if self.pooled:
            f64 = self._f64
            for rate in self.rates:
                if f64[rate.pool] < rate.amount(need):
                    return False
        elif self.refusing(now, need) is not None:
            return False
        self.count(now, need)
        if self.spends:
            self.reserve(amount)
        self._u32[self._my_used] += 1
        return True

    def _hold(self, amount: int) -> bool:
        if not self._locks.acquire(self.row.at):
            return False
        try:
            if not self._affords(monotonic(), time(), amount or 1):
                return False
            self.reserve(amount)
            return True
        finally:
            self._locks.release(self.row.at)

    def _settle(self, admitted: bool, need: Need, used: int, held: int, amount: int) -> None:
        with self.memory.locked(self.row.at, always=True):
            if admitted and self._tokens:
                self.correct(need, used)
            if self.spending is not None and self.spends is admitted:
                self.spend(held, amount, time())
        if admitted:
            self._gate.give()

    def _affords(self, now: float, wall: float, amount: int) -> bool:
        if self.shared and not self.pooled:
            return False
        self.roll(wall)
        if not self.shared:
            return not self.exhausted(wall)
        return bool(self._f64[self._pool] >= amount if amount else self._f64[self._denied] <= now)

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
        pooled, live = self.pooled, self._live
        for rate in self._tokens:
            if pooled:
                f64[rate.pool] += rate.amount(need) - used
            else:
                amount = min(rate.amount(need) * live, rate.limit)
                f64[rate.cell] += (used * live - amount) * rate.interval

    def standing(self, now: float) -> Tightest:
        """How the rates stand."""
        f64, pooled = self._f64, self.pooled
        requests = tokens = NO_RATE
        for rate in self.rates:
            if pooled:
                left = f64[rate.pool] + f64[rate.avail]
                ahead = (rate.limit - max(0.0, min(left, rate.limit))) * rate.interval
            else:
                ahead = f64[rate.cell] - now
                left = (rate.room - ahead) / rate.interval if ahead > 0.0 else float(rate.limit)
            found = (left, ahead, rate.line)
            if rate.tokens:
                tokens = min(tokens, found)
            else:
                requests = min(requests, found)
        return (requests, tokens) if self.rates else UNRATED

    # -- the budget

    def roll(self, wall: float) -> None:
        """Begins a new window if it is time. A clock that was set back changes nothing."""
        spending, cells = self.spending, self._cells
        assert spending is not None
        known = cells[self._window]
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
            self.begin_anew(at)

    def begin_anew(self, at: int) -> None:
        """Notes a reset (Unix seconds), unless one as late was done already: whoever was told is told again."""
        if at > self.reset_at:
            self._cells[self._purse + Purses.ALERTED] = -1
            self._cells[self._purse + Purses.RESET] = at

    def alerting(self, wall: float) -> bool:
        """Whether the threshold has been reached, and nobody was told in this window (`told`)."""
        self.roll(wall)
        assert self.spending is not None
        alert, told = self.spending.alert, self._cells[self._purse + Purses.ALERTED]
        return alert is not None and self.spent >= alert and told != self.window + 1

    def told(self, window: int, reset_at: int) -> None:
        """Somebody was told of the threshold in this window, unless it was reset since."""
        if self.reset_at == reset_at:
            self._cells[self._purse + Purses.ALERTED] = window + 1

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
        spending, cells = self.spending, self._cells
        assert spending is not None
        if not spending.begins <= wall < spending.ends or cells[self._window] != spending.number:
            self.roll(wall)
        self._i64[self._my_reserved] -= reserved
        cells[self._spent] += used
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
