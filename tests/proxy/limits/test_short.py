"""The short way decides as the long one does, and what changes while requests are in flight leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.types import Dialect, Usage
from proxy.limits import Limiter, short
from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.meter import Meter
from proxy.limits.need import Need
from proxy.limits.rates import Spending, rates_of
from proxy.limits.refusals import API_KEY, VIRTUAL_KEY
from proxy.limits.spender import spender_of
from proxy.ports import Budget, Limits, ModelLimits, Rates
from proxy.prices import Entry, Price

PRICE = Price("p", Entry(input=10.0, output=20.0))


def request() -> Any:
    """One that needs 6 tokens of input and 5 of output: 160,000 billionths of a dollar."""
    prices = SimpleNamespace(find=lambda model: PRICE)
    return SimpleNamespace(
        path="/v1/chat/completions",
        body=b'{"max_tokens":5,"a":1}',
        dialect=Dialect.OPENAI_CHAT,
        key=None,
        leaf=SimpleNamespace(target=SimpleNamespace(prices=prices)),
        need=None,
        method="POST",
    )


HELD = 160_000


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


steps = st.lists(
    st.tuples(st.floats(0, 5), st.integers(0, 40), st.integers(0, 40), st.booleans(), st.integers(0, 60)), max_size=30
)


@given(
    steps,
    st.sampled_from([Rates(per_second=3), Rates(per_second=4, per_minute=9), None]),
    st.sampled_from([Rates(per_second=60), Rates(per_second=50, per_minute=300), None]),
    st.sampled_from([120, None]),
    st.sampled_from([4, None]),
)
def test_the_short_way_admits_what_the_long_one_does_and_counts_the_same(
    steps: list[tuple[float, int, int, bool, int]],
    requests: Rates | None,
    tokens: Rates | None,
    budget: int | None,
    places: int | None,
) -> None:
    host, meters = Host(), list[Meter]()
    for name in "ab":
        gate = Gate(host, host.memory.row("test", name))
        gate.set(places, 0, 1.0)
        spending = None if budget is None else Spending(Budget(tokens=budget, window="total"))
        meters.append(Meter(gate, rates_of(gate.row, requests, tokens), spending))
    quick, slow = meters
    now, flying = 100.0, list[tuple[Need, int, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(short, "monotonic", lambda: now)
        for gap, given, taken, capped, used in steps:
            now += gap
            need = Need(given, taken, capped, given + taken if capped else -1)
            admitted = slow._admitted(now, 0.0, need, given + taken)
            if budget is not None:
                quick.exhausted(time.time())  # the window begins: that is left to the long way
            standing = quick.admit(need, given + taken)
            assert (standing is not None) == admitted
            if standing is not None:
                for found, other in zip(standing, slow.standing(now), strict=True):
                    assert found[0] == pytest.approx(other[0])
                    assert found[2] == other[2]
                flying.append((need, given + taken, used))
            if len(flying) > 2:
                need, held, used = flying.pop(0)
                quick.settle(True, need, used, held, used)
                slow._settle(True, need, used, held, used)
            for one, other in zip(quick.rates, slow.rates, strict=True):
                assert host.memory.f64[one.cell] == pytest.approx(host.memory.f64[other.cell])
            assert quick.row.held == slow.row.held
            if budget is not None:
                assert (quick.spent, quick.reserved) == (slow.spent, slow.reserved)
    host.stop()


BUDGETS = [None, Budget(usd=5, window="daily"), Budget(usd=5), Budget(tokens=9999, window="daily")]


@pytest.mark.parametrize("after", BUDGETS)
@pytest.mark.parametrize("before", BUDGETS[1:])
@pytest.mark.parametrize("what", [API_KEY, VIRTUAL_KEY])
def test_a_budget_that_changes_under_a_request_keeps_nothing_reserved(
    host: Host, what: str, before: Budget, after: Budget | None
) -> None:
    limiter = Limiter(host, what, "k", "k")
    limiter.set("k", Limits(budget=before))
    x = request()
    own = limiter.enter(x, "m")
    spender = spender_of(limiter)
    attempt = None if spender is None else spender.enter(None, x, "m")
    assert limiter.meter is not None
    assert limiter.meter.reserved == (HELD if before.usd else 11)

    limiter.set("k", Limits(budget=after, concurrency=9))
    for permit in (attempt, own):
        if permit is not None:
            permit.leave(Usage(input=6, output=5), answered=True)

    assert limiter.held == 0
    assert sum(host.memory.i64s(limiter.gate.row.reserved)) == 0
    if after is not None:
        assert limiter.meter.spent == (0 if (after.usd is None) != (before.usd is None) else HELD if after.usd else 11)


def test_a_budget_that_goes_before_the_attempt_leaves_no_place_taken(host: Host) -> None:
    own, target = Limiter(host, API_KEY, "k", "k"), Limiter(host, VIRTUAL_KEY, "v", "v")
    own.set("k", Limits(budget=Budget(usd=5)))
    target.set("v", Limits(concurrency=1))
    spender = spender_of(own)
    assert spender is not None
    own.set("k", Limits(concurrency=9))
    permit = spender.enter(target, request(), "m")
    assert permit is not None
    assert target.held == 1
    permit.leave(None, answered=True)
    assert target.held == 0


def test_tokens_go_back_to_the_bucket_as_they_were_taken(host: Host) -> None:
    limiter = Limiter(host, API_KEY, "k", "k")
    limiter.set("k", Limits(tokens=Rates(per_minute=60)))
    permit = limiter.enter(request(), None)
    assert permit is not None
    limiter.set("k", Limits(tokens=Rates(per_minute=6000)))
    permit.leave(Usage(), answered=True)
    assert limiter.meter is not None
    left, ahead, _ = limiter.meter.standing(time.monotonic())[1]
    assert (int(left), ahead <= 0.001) == (6000, True), "it took 11 seconds of the bucket, and gives 11 back"


def test_patterns_that_are_gone_let_in_who_waits_there(host: Host) -> None:
    limiter = Limiter(host, API_KEY, "k", "k")
    limiter.set("k", Limits(models={"gpt*": ModelLimits(concurrency=1)}))
    child = limiter.models[0]
    permit = limiter.enter(request(), "gpt-5")
    assert permit is not None
    assert child.held == 1
    limiter.set("k", Limits(concurrency=5))
    assert child.limits == Limits()
    permit.leave(None, answered=True)
    assert (limiter.held, child.held) == (0, 0)


@pytest.mark.parametrize("limits", [Limits(concurrency=1), Limits(concurrency=1, requests=Rates(per_second=50))])
def test_whoever_dies_with_the_lock_stops_nobody(host: Host, limits: Limits) -> None:
    limiter = Limiter(host, API_KEY, "k", "k")
    limiter.set("k", limits)
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        host.memory.locks.acquire(limiter.gate.row.at)
        os.write(done, b"x")
        signal.pause()
        os._exit(0)
    assert os.read(ready, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for descriptor in (ready, done):
        os.close(descriptor)
    for _ in range(3):
        permit = limiter.enter(request(), None)
        assert permit is not None
        permit.leave(None, answered=True)
    assert limiter.held == 0
