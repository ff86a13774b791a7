"""The short way in and out, for limits as most keys have them: counted on one host, and without a queue. It decides
only what is beyond doubt and leaves the rest to the `meter`.

These are functions over the numbers that they need, not methods: half of what a method does here is to look up its own
attributes, and a request with rates and budgets comes here six times. Each takes the row's lock, once.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from proxy.limits.gate import Gate
from proxy.limits.memory import WIDTH
from proxy.limits.need import Need
from proxy.limits.purses import Purses
from proxy.limits.rates import NO_RATE, UNRATED, Rate, Spending, Tightest, tightest

Admit = Callable[[Need, int], Tightest | None]
"""Takes a place, counts a request in every rate and holds a part of the budget, if there is room for all of it beyond
doubt; gives how the rates stand then. None: nothing was counted, and it takes a closer look."""
Hold = Callable[[int], bool]
"""Holds a part of the budget alone."""
Settle = Callable[[bool, Need, int, int, int], None]
"""Puts what was used in the place of what was reserved, and gives the place back. Given are whether it was `admit` that
reserved (else `hold`), what the request was taken to need and the tokens that it used, what was held of the budget and
what it cost."""
_ENDLESS = 1 << 62


def admission(gate: Gate, rates: tuple[Rate, ...], spending: Spending | None, purse: int, spends: bool) -> Admit:
    """What admits requests. `purse` is where the budget is, `spends` says whether a part of it is held with each."""
    row, memory = gate.row, gate.row.memory
    take, drop, insist, address = _lock(gate)
    u32, i64, f64, cells, whole = memory.u32, memory.i64, memory.f64, memory.purses.cells, memory.map
    sums, sums_of_i64 = memory.sums, memory.sums_of_i64
    used, my_used, reserved, my_reserved = row.used, row.my_used, row.reserved, row.my_reserved
    window, spent = purse + Purses.WINDOW, purse + Purses.SPENT
    places = _ENDLESS if gate.limit is None else gate.limit
    budget = _ENDLESS if spending is None else spending.limit
    requests, tokens, others = _sorted(rates)
    unrated = not rates
    cell, interval, room, line = _numbers(requests)
    token_cell, token_interval, token_room, token_line = _numbers(tokens)
    token_limit = 0 if tokens is None else tokens.limit

    def admit(need: Need, amount: int) -> Tightest | None:
        code = take(address)
        if code and not insist(address, code):
            return None
        try:
            width = i64[WIDTH]
            if sum(sums[width](whole, used)) >= places:
                return None
            if spends:
                if not spending.begins <= time() < spending.ends or cells[window] != spending.number:  # type: ignore[union-attr]
                    return None
                if cells[spent] + sum(sums_of_i64[width](whole, reserved)) >= budget:
                    return None
            elif cells[spent] >= budget:  # each attempt will look closely
                return None
            if unrated:
                u32[my_used] += 1
                if spends:
                    i64[my_reserved] += amount
                return UNRATED
            now = monotonic()
            of_requests = of_tokens = NO_RATE
            for rate in others:
                if f64[rate.cell] - now + rate.amount(need) * rate.interval > rate.room:
                    return None
            if requests is not None:
                arrival = f64[cell]
                if arrival < now:
                    arrival = now
                arrival += interval
                ahead = arrival - now
                if ahead > room:
                    return None
                of_requests = ((room - ahead) / interval, ahead, line)
            if tokens is not None:
                later = f64[token_cell]
                if later < now:
                    later = now
                sure = need.sure
                if not 0 <= sure <= token_limit:
                    sure = tokens.amount(need)
                later += sure * token_interval
                ahead = later - now
                if ahead > token_room:
                    return None
                f64[token_cell] = later
                of_tokens = ((token_room - ahead) / token_interval, ahead, token_line)
            if requests is not None:
                f64[cell] = arrival
            if spends:
                i64[my_reserved] += amount
            u32[my_used] += 1
            if not others:
                return of_requests, of_tokens
            told = of_requests, of_tokens
            for rate in others:
                arrival = f64[rate.cell]
                f64[rate.cell] = arrival = (arrival if arrival > now else now) + rate.amount(need) * rate.interval
                told = tightest(told, rate.found(arrival - now))
            return told
        finally:
            drop(address)

    return admit


def holding(gate: Gate, spending: Spending, purse: int) -> Hold:
    """What holds parts of a budget."""
    row, memory = gate.row, gate.row.memory
    take, drop, insist, address = _lock(gate)
    i64, cells, whole, sums_of_i64 = memory.i64, memory.purses.cells, memory.map, memory.sums_of_i64
    reserved, my_reserved = row.reserved, row.my_reserved
    window, spent, budget = purse + Purses.WINDOW, purse + Purses.SPENT, spending.limit

    def hold(amount: int) -> bool:
        code = take(address)
        if code and not insist(address, code):
            return False
        try:
            if not spending.begins <= time() < spending.ends or cells[window] != spending.number:
                return False
            if cells[spent] + sum(sums_of_i64[i64[WIDTH]](whole, reserved)) >= budget:
                return False
            i64[my_reserved] += amount
            return True
        finally:
            drop(address)

    return hold


def settlement(
    gate: Gate,
    rates: tuple[Rate, ...],
    spending: Spending | None,
    purse: int,
    spends: bool,
    roll: Callable[[float], None],
) -> Settle:
    """What settles requests. `roll` begins a new window of the budget."""
    row, memory = gate.row, gate.row.memory
    take, drop, insist, address = _lock(gate)
    u32, i64, f64, cells = memory.u32, memory.i64, memory.f64, memory.purses.cells
    my_used, my_reserved = row.my_used, row.my_reserved
    window, spent = purse + Purses.WINDOW, purse + Purses.SPENT
    _, tokens, others = _sorted(tuple(rate for rate in rates if rate.tokens))
    cell, interval, _, _ = _numbers(tokens)
    limit = 0 if tokens is None else tokens.limit

    def settle(admitted: bool, need: Need, used: int, held: int, amount: int) -> None:
        code = take(address)
        # What has been used must be counted, even at the risk that another's count at this moment is lost.
        locked = not code or insist(address, code)
        try:
            if admitted:
                u32[my_used] -= 1
                if tokens is not None:
                    sure = need.sure
                    if not 0 <= sure <= limit:
                        sure = tokens.amount(need)
                    f64[cell] += (used - sure) * interval
                    for rate in others:
                        f64[rate.cell] += (used - rate.amount(need)) * rate.interval
            if spending is not None and spends is admitted:
                wall = time()
                if not spending.begins <= wall < spending.ends or cells[window] != spending.number:
                    roll(wall)
                i64[my_reserved] -= held
                cells[spent] += amount
        finally:
            if locked:
                drop(address)

    return settle


def _lock(
    gate: Gate,
) -> tuple[Callable[[int], int], Callable[[int], object], Callable[[int, int], bool], int]:
    locks = gate.row.memory.locks
    return locks.take, locks.drop, locks.insist, locks.address(gate.row.at)


def _sorted(rates: tuple[Rate, ...]) -> tuple[Rate | None, Rate | None, tuple[Rate, ...]]:
    """The first rate of requests, the first of tokens, and all others."""
    requests = next((rate for rate in rates if not rate.tokens), None)
    tokens = next((rate for rate in rates if rate.tokens), None)
    return requests, tokens, tuple(rate for rate in rates if rate is not requests and rate is not tokens)


def _numbers(rate: Rate | None) -> tuple[int, float, float, str]:
    return (0, 0.0, 0.0, "") if rate is None else (rate.cell, rate.interval, rate.room, rate.line)
