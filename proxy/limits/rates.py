"""What is set of rates and budgets, compiled: numbers that a meter counts by.

A rate is a GCRA: one number, the *theoretical arrival time*, says how full its bucket is. A bucket holds what one
period may bring and drains evenly over the period; so at once there may come what the period allows, and afterwards as
much as drains. Times are the monotonic clock's, which no change of the wall clock moves and all workers share.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from proxy.limits import windows
from proxy.limits.memory import Memory, Row
from proxy.limits.need import Need
from proxy.ports import Budget, Rates

NANO = 1_000_000_000
"""Of these are a US dollar: money is counted in whole ones."""
_PERIODS: dict[str, float] = {"per_second": 1.0, "per_minute": 60.0, "per_hour": 3600.0, "per_day": 86_400.0}
LOW = 80
"""Of a rate, for each host: less in its pool, and more is asked for before it is needed."""
BUDGET = 8
"""The pool after those of the rates."""
_TOKENS = 1 << 60  # in a window's number: dollars and tokens are never taken for one another
_PART = 4  # an answer without a limit of its own reserves this part of a rate at most
SLACK = 1e-6
"""Seconds: what rounding may take from a full bucket."""


class Rate:
    """One rate: `limit` in `period` seconds. `cell` is where its arrival time is kept, `pool` its lease, `avail` what
    Redis had beside it. `line` are the header lines that tell how it stands: filled in are what remains, and in what
    time it will be full again."""

    __slots__ = (
        "avail",
        "cell",
        "index",
        "interval",
        "limit",
        "line",
        "part",
        "per",
        "period",
        "pool",
        "room",
        "tokens",
    )

    def __init__(self, row: Row, tokens: bool, per: str, limit: int) -> None:
        self.tokens = tokens
        self.per = per
        self.limit = limit
        self.period = _PERIODS[per]
        self.interval = self.period / limit
        self.room = self.period + SLACK  # how far the arrival time may lie ahead
        self.part = limit // _PART
        self.index = 4 * tokens + list(_PERIODS).index(per)
        self.cell = (row.at + Memory.TATS) // 8 + self.index
        self.pool = (row.at + Memory.POOLS) // 8 + self.index
        self.avail = (row.at + Memory.AVAILS) // 8 + self.index
        kind = "tokens" if tokens else "requests"
        self.line = (
            f"x-ratelimit-limit-{kind}: {limit}\r\nx-ratelimit-remaining-{kind}: %d\r\nx-ratelimit-reset-{kind}: %s\r\n"
        )

    def amount(self, need: Need) -> int:
        """What a request takes from this rate: never more than the whole bucket, so that a large one can come too."""
        if not self.tokens:
            return 1
        output = need.output
        if not need.capped and output > self.part:
            output = self.part
        tokens = need.input + output
        return tokens if tokens < self.limit else self.limit

    def found(self, ahead: float) -> Tightest:
        """How it stands while its arrival time lies so far (seconds) ahead."""
        left = (self.room - ahead) / self.interval if ahead > 0.0 else float(self.limit)
        found = (left, ahead, self.line)
        return (NO_RATE, found) if self.tokens else (found, NO_RATE)

    def wait(self, arrival: float, now: float, amount: int) -> float:
        """Seconds until there is room for `amount`; 0 or less: now."""
        return max(arrival, now) + amount * self.interval - now - self.room


class Spending:
    """One budget. `limit` and all amounts are billionths of a dollar, or tokens. `since` (Unix seconds) is when whoever
    has it was made, 0 if that is not known: windows of N days are counted from there."""

    __slots__ = ("alert", "begins", "budget", "ends", "in_money", "limit", "number", "since", "window")

    def __init__(self, budget: Budget, since: int = 0) -> None:
        self.budget = budget
        self.since = since
        self.in_money = budget.usd is not None
        scale = NANO if self.in_money else 1
        self.limit = round((budget.usd if budget.usd is not None else budget.tokens or 0) * scale)
        self.alert = None if budget.alert_threshold is None else round(budget.alert_threshold * scale)
        self.window = budget.window
        self.number = 0
        self.begins = self.ends = 0.0
        """Between these (Unix seconds) the window is the one of `number`, as far as was asked."""

    def window_at(self, wall: float) -> int:
        """The number of the window that a moment (Unix seconds) is in."""
        if not self.begins <= wall < self.ends:
            ends = windows.ends(self.window, wall, self.since)
            self.number = windows.window_id(self.window, wall, self.since) + (0 if self.in_money else _TOKENS)
            self.begins, self.ends = wall, inf if ends is None else ends
        return self.number


class Standing(NamedTuple):
    """How a budget stands, in its `unit` (`usd`, `tokens`): `reserved` is what requests in flight may spend,
    `resets_at` (Unix seconds) when its window ends, None: never."""

    unit: str
    spent: float
    reserved: float
    limit: float
    window: str
    resets_at: float | None


def standing_of(spending: Spending, spent: int, reserved: int) -> Standing:
    """The same of what is counted."""
    scale = NANO if spending.in_money else 1
    ends = None if spending.ends == inf else spending.ends
    unit = "usd" if spending.in_money else "tokens"
    return Standing(
        unit, max(0, spent) / scale, max(0, reserved) / scale, spending.limit / scale, spending.window, ends
    )


Found = tuple[float, float, str]
"""How a rate was found: how much could still come (below 0: what is owed), in how many seconds its bucket will be
empty, and its `line`. Of two the lesser one is the tighter."""
Tightest = tuple[Found, Found]
"""The tightest rate of requests, and that of tokens."""
NO_RATE: Found = (inf, 0.0, "")
UNRATED: Tightest = (NO_RATE, NO_RATE)


def tightest(one: Tightest, other: Tightest) -> Tightest:
    """Of each kind the tighter one."""
    return min(one[0], other[0]), min(one[1], other[1])


def rates_of(row: Row, requests: Rates | None, tokens: Rates | None) -> tuple[Rate, ...]:
    """The rates that are set."""

    def found() -> Iterator[Rate]:
        for kind, rates in ((False, requests), (True, tokens)):
            for per in _PERIODS:
                limit = getattr(rates, per, None)
                if limit is not None:
                    yield Rate(row, kind, per, limit)

    return tuple(found())
