"""Load, speed, circuit breakers and retry budgets, on a clock that the tests turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.nodes import Breaker
from proxy.health import Budget, Circuit, Health, Healths, Speed, enter


def circuit(**rules: Any) -> Circuit:
    return Circuit(Breaker(**rules), draw=lambda: 0.0)


def tell(breaker: Circuit, statuses: Sequence[int], now: float = 0.0) -> None:
    for status in statuses:
        breaker.record(status, now, now)


# -- circuit breakers


@pytest.mark.parametrize(
    ("rules", "statuses", "state"),
    [
        ({"failure_threshold": 3}, [500, 200, 503], "closed"),
        ({"failure_threshold": 3}, [500, 200, 503, 500], "open"),
        ({"failure_threshold": 2, "failure_status_codes": (429,)}, [500, 500, 500, 429], "closed"),
        ({"failure_threshold": 2, "failure_status_codes": (429,)}, [429, 429], "open"),
        ({"failure_threshold": 1}, [400, 401, 404, 408, 429, 446, 499], "closed"),
        ({"failure_threshold_percentage": 50}, [500, 500, 200, 200], "closed"),
        ({"failure_threshold_percentage": 50}, [500, 500, 200, 200, 500], "open"),
        ({"failure_threshold_percentage": 50, "minimum_requests": 2}, [200, 500], "open"),
        ({"consecutive_failures": 3}, [500, 500, 200, 500, 500], "closed"),
        ({"consecutive_failures": 3}, [500, 400, 500, 500], "open"),
    ],
)
def test_it_opens_by_number_share_or_row_of_failures(rules: dict[str, Any], statuses: list[int], state: str) -> None:
    breaker = circuit(**rules)
    tell(breaker, statuses)
    assert breaker.state(1.0) == state
    assert breaker.allows(1.0) == (state == "closed")


def test_failures_further_apart_than_the_cooldown_do_not_add_up() -> None:
    breaker = circuit(failure_threshold=2)
    tell(breaker, [500], now=0.0)
    tell(breaker, [500], now=31.0)
    assert breaker.state(31.0) == "closed"
    tell(breaker, [500], now=40.0)
    assert breaker.state(40.0) == "open"


def test_after_the_cooldown_one_request_probes_and_all_others_stay_away() -> None:
    breaker = circuit(failure_threshold=1)
    tell(breaker, [500])
    assert not breaker.enter(29.9)
    assert breaker.state(30.0) == "half_open"
    assert breaker.allows(30.0)
    assert breaker.enter(30.0)
    assert not breaker.allows(30.1)
    assert not breaker.enter(30.1)
    breaker.record(200, 30.0, 31.0, probe=True)
    assert breaker.state(31.0) == "closed"
    assert breaker.allows(31.0)


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound() -> None:
    breaker = circuit(failure_threshold=1)
    tell(breaker, [500])
    lasted = []
    now = 0.0
    for _ in range(7):
        lasted.append(breaker.until - now)
        now = breaker.until
        assert breaker.enter(now)
        breaker.record(503, now, now, probe=True)
    assert lasted == [30, 60, 120, 240, 480, 480, 480]


def test_a_target_that_stayed_well_begins_anew() -> None:
    breaker = circuit(failure_threshold=1)
    tell(breaker, [500])
    assert breaker.enter(30.0)
    breaker.record(500, 30.0, 30.0, probe=True)
    assert breaker.enter(90.0)
    breaker.record(200, 90.0, 90.0, probe=True)
    tell(breaker, [500], now=95.0)
    assert breaker.until - 95.0 == 120  # it was away a moment ago
    assert breaker.enter(215.0)
    breaker.record(200, 215.0, 215.0, probe=True)
    tell(breaker, [500], now=1000.0)
    assert breaker.until - 1000.0 == 30


def test_a_probe_whose_client_left_frees_its_place() -> None:
    breaker = circuit(failure_threshold=1)
    tell(breaker, [500])
    assert breaker.enter(30.0)
    breaker.give_up()
    assert breaker.allows(30.0)


def test_answers_from_before_it_opened_do_not_close_it() -> None:
    breaker = circuit(failure_threshold=1)
    tell(breaker, [500], now=10.0)
    breaker.record(200, 5.0, 11.0)
    assert breaker.state(11.0) == "open"
    breaker.record(200, 12.0, 13.0)  # where every target was out, and was asked all the same
    assert breaker.state(13.0) == "closed"


def test_many_gateways_do_not_return_at_once() -> None:
    ends = set()
    for _ in range(20):
        breaker = Circuit(Breaker(failure_threshold=1))
        tell(breaker, [500])
        assert 30 <= breaker.until <= 33
        ends.add(breaker.until)
    assert len(ends) > 15


# -- the retry budget


def test_three_retries_are_always_allowed_in_ten_seconds() -> None:
    budget = Budget()
    assert [budget.take(100.0, 100.5) for _ in range(4)] == [True, True, True, False]
    assert not budget.take(109.0, 109.9)
    assert budget.take(110.0, 110.0)
    assert budget.refused == 2


def test_the_usual_schedule_of_one_request_is_never_refused() -> None:
    budget = Budget()
    now = 0.0
    for wait in (1.0, 2.0, 4.0, 8.0, 16.0):
        assert budget.take(now, now + wait)
        now += wait


def test_a_provider_that_fails_everything_sees_at_most_a_fifth_more() -> None:
    budget, draw = Budget(), random.Random(1)
    made: list[float] = []
    waiting: list[tuple[float, int]] = []  # when a retry fails as well, and how many there were
    for n in range(200 * 60):
        now = n / 200
        budget.request(now)
        due = [(at, tried) for at, tried in waiting if at <= now]
        waiting = [(at, tried) for at, tried in waiting if at > now]
        for tried in (0, *(tried for _, tried in due)):
            at = now + 2**tried * draw.uniform(0.8, 1.2)
            if tried < 5 and budget.take(now, at):
                made.append(at)
                waiting.append((at, tried + 1))
    assert 0.12 * 200 * 60 <= len(made) <= 0.2 * 200 * 60  # those after the last request too
    for start in range(50):
        assert sum(start <= at < start + 10 for at in made) <= 0.2 * 200 * 10 + 1


@given(gaps=st.lists(st.floats(0, 5), max_size=200))
def test_no_ten_seconds_see_more_retries_than_that(gaps: list[float]) -> None:
    budget, now = Budget(), 1000.0
    requests: list[float] = []
    retries: list[float] = []
    for gap in gaps:
        now += gap
        budget.request(now)
        requests.append(now)
        if budget.take(now, now):
            retries.append(now)
        recent = [sum(now - 9 < at for at in times) for times in (retries, requests)]
        assert recent[0] <= max(3, 0.2 * sum(now - 10 < at for at in requests) + 1)


# -- speed


def test_a_target_that_was_slow_is_tried_again_in_time() -> None:
    speed = Speed()
    speed.note(2.0, 0.0)
    assert speed.estimate(0.0) == 2.0
    assert speed.estimate(30.0) == 1.0
    assert speed.estimate(600.0) < 0.001


def test_a_fast_failure_does_not_attract_requests() -> None:
    speed = Speed()
    speed.failed(0.002, 0.0)
    assert speed.estimate(0.0) >= 1.0


def test_a_quantile_needs_enough_samples() -> None:
    speed = Speed()
    for n in range(7):
        speed.note(n, 0.0)
    assert speed.quantile(0.5) is None
    for n in range(7, 100):
        speed.note(n, 0.0)
    assert speed.quantile(0.5) == 36 + 32  # of the last 64
    assert speed.quantile(1.0) == 99


# -- visits and identities


def test_a_visit_counts_while_it_lasts_and_is_left_once() -> None:
    health = Health("a")
    visit = enter(health, health.circuit("", Breaker(failure_threshold=1)), None, lambda: 1.0, 1.0)
    assert health.in_flight == 1
    visit.leave()
    visit.leave()
    assert health.in_flight == 0


def test_a_request_that_nobody_watches_is_only_counted() -> None:
    health = Health("a")
    visit = enter(health, None, None, lambda: 1.0, 1.0)
    assert (visit, health.in_flight, health.budget.requests) == (health, 1, {1: 1})
    visit.answered(500, 9.0)
    visit.broke(502)
    visit.leave()
    assert (health.in_flight, health.aside) == (0, 0.0)


def test_a_success_while_nothing_is_amiss_is_recorded_without_a_clock() -> None:
    health = Health("a")
    quick = health.circuit("", Breaker(failure_threshold=3))
    slow = health.circuit("m", Breaker(failure_threshold=3))
    for status in (200, 500, 204, 500, 200):
        if not (200 <= status < 300 and quick.well(status)):
            quick.record(status, 1.0, 1.0)
        slow.record(status, 1.0, 1.0)
    assert repr(quick) == repr(slow)
    assert not health.circuit("", Breaker(failure_threshold=1, failure_status_codes=(200,))).well(200)


def test_who_is_given_up_was_at_least_that_slow_and_gives_no_verdict() -> None:
    health, times = Health("a"), [0.0]
    breaker = health.circuit("", Breaker(failure_threshold=1))
    speed = health.track("").streamed
    visit = enter(health, breaker, speed, lambda: times[0], 0.0)
    times[0] = 3.0
    visit.leave()
    assert speed.estimate(3.0) == 3.0
    assert breaker.failures == breaker.successes == 0


def test_a_provider_that_asks_for_time_is_put_aside_for_a_bounded_one() -> None:
    health = Health("a")
    breaker = health.circuit("", Breaker(failure_threshold=9))
    enter(health, breaker, None, lambda: 10.0, 10.0).answered(429, 20.0)
    assert health.aside == 30.0
    enter(health, breaker, None, lambda: 10.0, 10.0).answered(503, 86_400.0)
    assert health.aside == 310.0


def test_what_clients_write_cannot_fill_the_memory() -> None:
    healths = Healths()
    for n in range(5000):
        healths.of(str(n), "x")
    assert len(list(healths)) == 4096
    health = healths.of("4999", "x")
    for n in range(1000):
        health.circuit(str(n), Breaker(failure_threshold=1))
        health.track(str(n))
    assert len(health.circuits) == len(health.tracks) == 256
