"""Rates and budgets by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.types import Dialect
from proxy.limits import need
from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.memory import Memory
from proxy.limits.meter import Meter
from proxy.limits.need import Need
from proxy.limits.rates import Spending, rates_of
from proxy.limits.refusals import line
from proxy.limits.windows import ends, window_id
from proxy.ports import Budget, Rates

ONE = Need(0, 0, True)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


def meter(
    host: Host, requests: Rates | None = None, tokens: Rates | None = None, budget: Budget | None = None
) -> Meter:
    gate = Gate(host, host.memory.row("test", str(host.memory.i64[Memory.COUNT // 8])))
    return Meter(gate, rates_of(gate.row, requests, tokens), None if budget is None else Spending(budget))


def admit(tested: Meter, now: float, need: Need = ONE) -> bool:
    if tested.refusing(now, need) is not None:
        return False
    tested.count(now, need)
    return True


def test_a_period_may_come_at_once_and_then_as_much_as_drains(host: Host) -> None:
    tested = meter(host, Rates(per_minute=6))
    assert [admit(tested, 1000.0) for _ in range(7)] == [True] * 6 + [False]
    refusing = tested.refusing(1000.0, ONE)
    assert refusing is not None
    assert refusing[1] == pytest.approx(10, abs=0.001)
    assert not admit(tested, 1009.9)
    assert admit(tested, 1010.0)
    assert int(tested.standing(1030.0)[0][0]) == 2
    assert [admit(tested, 2000.0) for _ in range(7)] == [True] * 6 + [False]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 40)), max_size=60),
    st.integers(1, 20),
    st.sampled_from(["per_second", "per_minute"]),
)
def test_never_more_than_the_limit_and_what_has_drained(steps: list[tuple[float, int]], limit: int, per: str) -> None:
    host = Host()
    tested = meter(host, Rates(**{per: limit}))
    period = {"per_second": 1.0, "per_minute": 60.0}[per]
    now, admitted = 50.0, list[float]()
    for gap, count in steps:
        now += gap
        admitted += [now for _ in range(count) if admit(tested, now)]
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= limit + (admitted[last] - begin) * limit / period + 1e-3
    host.stop()


def test_tokens_are_reserved_before_and_settled_after(host: Host) -> None:
    tested = meter(host, tokens=Rates(per_minute=1000))
    large = Need(400, 400, True)
    assert admit(tested, 0.0, large)
    assert not admit(tested, 0.0, large)
    tested.correct(large, 100)
    assert int(tested.standing(0.0)[1][0]) == 900
    assert admit(tested, 0.0, large)
    tested.correct(large, 3000)
    assert tested.standing(0.0)[1][0] < 0
    refusing = tested.refusing(0.0, ONE)
    assert refusing is not None
    assert refusing[1] == pytest.approx(126, abs=0.1), "what was used beyond the reservation is a debt"


@pytest.mark.parametrize(
    ("body", "dialect", "tier", "lasting"),
    [
        (b'{"service_tier":"priority"}', Dialect.OPENAI_CHAT, "priority", False),
        (b'{"service_tier":"flex","max_tokens":5}', Dialect.OPENAI_CHAT, None, False),
        (b'{"speed":"fast","service_tier":"auto","max_tokens":5}', Dialect.ANTHROPIC_MESSAGES, "fast", False),
        (b'{"system":[{"cache_control":{"ttl":"1h"}}],"max_tokens":5}', Dialect.ANTHROPIC_MESSAGES, None, True),
    ],
)
def test_what_makes_tokens_dearer_is_seen_before_the_call(
    body: bytes, dialect: Dialect, tier: str | None, lasting: bool
) -> None:
    found = need.of(body, dialect)
    assert (found.tier, found.lasting, found.asked is None) == (tier, lasting, tier is None and not lasting)


def test_a_request_larger_than_the_rate_comes_when_the_bucket_is_empty(host: Host) -> None:
    tested = meter(host, tokens=Rates(per_minute=100))
    assert admit(tested, 0.0, Need(5000, 5000, True))
    assert not admit(tested, 0.0, Need(1, 0, True))
    assert admit(tested, 60.0, Need(1, 0, True))


def test_of_several_rates_all_must_have_room_and_the_tightest_is_told(host: Host) -> None:
    tested = meter(host, Rates(per_second=2, per_minute=3))
    assert [admit(tested, 0.0) for _ in range(3)] == [True, True, False]
    assert admit(tested, 1.0)
    refusing = tested.refusing(1.0, ONE)
    assert refusing is not None
    assert refusing[0].per == "per_minute"
    assert line(*tested.standing(1.0)[0]).startswith(
        "x-ratelimit-limit-requests: 3\r\nx-ratelimit-remaining-requests: 0\r\n"
    )


# Budgets

DAY = 86_400.0


def test_windows_are_of_utc_and_begin_where_they_should() -> None:
    saturday, sunday = datetime(2026, 11, 28, 23, 59, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC)
    assert window_id("weekly", saturday.timestamp()) + 1 == window_id("weekly", sunday.timestamp())
    assert ends("weekly", saturday.timestamp()) == sunday.timestamp()
    last, first = datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert window_id("monthly", last.timestamp()) + 1 == window_id("monthly", first.timestamp())
    assert ends("monthly", last.timestamp()) == first.timestamp()
    assert window_id("daily", last.timestamp()) + 1 == window_id("daily", first.timestamp())
    assert window_id("total", 0) == window_id("total", 1e10)
    assert ends("total", 0) is None
    assert window_id("14d", 14 * DAY - 1) + 14 == window_id("14d", 14 * DAY)
    assert ends("14d", 15 * DAY) == 28 * DAY


def test_windows_of_days_are_counted_from_when_their_owner_was_made() -> None:
    made = int(100.9 * DAY)
    assert window_id("30d", 100 * DAY, made) == window_id("30d", 129.9 * DAY, made)
    assert window_id("30d", 129.9 * DAY, made) < window_id("30d", 130 * DAY, made) == window_id("30d", 159 * DAY, made)
    assert ends("30d", 101 * DAY, made) == 130 * DAY
    assert window_id("30d", 5 * DAY, made) < window_id("30d", made, made)  # a clock that was wrong


@given(st.sampled_from(["daily", "weekly", "monthly", "30d"]), st.floats(0, 4e9))
def test_a_window_ends_where_the_next_one_begins(window: str, now: float) -> None:
    end = ends(window, now)
    assert end is not None
    assert now < end
    assert window_id(window, end - 1) == window_id(window, now)
    assert window_id(window, end) == window_id(window, now) + (30 if window == "30d" else 1)


def test_a_new_window_begins_with_nothing_and_a_clock_set_back_changes_nothing(host: Host) -> None:
    tested = meter(host, budget=Budget(tokens=100, window="daily"))
    assert not tested.exhausted(10 * DAY)
    tested.reserve(10)
    tested.spend(10, 100, 10 * DAY)
    assert tested.exhausted(10 * DAY)
    assert tested.exhausted(9 * DAY)
    assert tested.exhausted(8.5 * DAY)
    assert not tested.exhausted(11 * DAY)
    assert tested.spent == 0


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=80), st.integers(1, 200))
def test_a_budget_is_passed_by_one_reservation_at_most(calls: list[tuple[int, int]], limit: int) -> None:
    host = Host()
    tested = meter(host, budget=Budget(tokens=limit, window="total"))
    flying: list[tuple[int, int]] = []
    largest = 0
    for reserved, used in calls:
        if len(flying) == 20:
            tested.spend(*flying.pop(0), 0.0)
        if tested.exhausted(0.0):
            continue
        tested.reserve(reserved)
        largest = max(largest, reserved)
        flying.append((reserved, min(used, reserved)))
    for both in flying:
        tested.spend(*both, 0.0)
    assert tested.spent < limit + largest
    assert tested.reserved == 0
    host.stop()


def test_a_reset_is_done_once(host: Host) -> None:
    tested = meter(host, budget=Budget(usd=1, window="total"))
    tested.spend(0, 10**9, 0.0)
    tested.reset(5)
    assert tested.spent == 0
    tested.spend(0, 7, 0.0)
    tested.reset(5)
    tested.reset(4)
    assert tested.spent == 7


def test_a_threshold_is_told_once_in_a_window(host: Host) -> None:
    tested = meter(host, budget=Budget(tokens=100, window="daily", alert_threshold=50))
    told = []
    for day, used in ((1, 40), (1, 20), (1, 20), (2, 10), (2, 45), (2, 1)):
        tested.spend(0, used, day * DAY)
        told.append(tested.alerting(day * DAY))
        if told[-1]:
            tested.told(tested.window, tested.reset_at)
    assert told == [False, True, False, False, True, False]
