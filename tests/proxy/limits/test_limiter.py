"""Limiters: never more than the limit, never fewer than none, and one limiter for one identity."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.limits import Host, Limiter, Limiters, Memory, Permit
from proxy.ports import ApiKeyRow, Budget, Limits, ModelLimits, Rates, Secret, VirtualKeyRow

X = cast(Any, None)


def key_row(limit: int | None, name: str = "team") -> ApiKeyRow:
    return ApiKeyRow(id="id", name=name, digest="", limits=Limits(concurrency=limit))


def limiter(limit: int) -> Limiter:
    made = Limiters().api_key(key_row(limit))
    assert made is not None
    return made


@given(limit=st.integers(1, 5), steps=st.lists(st.booleans(), max_size=60))
def test_whatever_comes_and_goes_the_limit_holds(limit: int, steps: list[bool]) -> None:
    tested, inside = limiter(limit), list[Permit]()
    for enters in steps:
        if enters and len(inside) == limit:
            with pytest.raises(Refused) as refused:
                tested.enter(X, None)
            assert (refused.value.status, refused.value.retry_after) == (429, 1)
        elif enters:
            permit = tested.enter(X, None)
            assert permit is not None
            inside.append(permit)
        elif inside:
            inside.pop().leave(None, answered=True)
        assert tested.held == len(inside) <= limit


def test_a_permit_is_left_once_however_often_it_is_asked_to() -> None:
    tested = limiter(2)
    first, second = tested.enter(X, None), tested.enter(X, None)
    assert first is not None
    assert second is not None
    first.leave(None, answered=True)
    first.leave(None, answered=True)
    assert tested.held == 1


def test_where_nothing_is_limited_there_is_no_limiter() -> None:
    assert Limiters().api_key(key_row(None)) is None


def test_a_refusal_names_whose_limit_it_was() -> None:
    limiters = Limiters()
    row = VirtualKeyRow(slug="slug", name="", provider="openai", key=Secret(""), limits=Limits(concurrency=1))
    for made, what, code in (
        (limiters.api_key(key_row(1)), "API key 'team'", "api_key_concurrency_limit"),
        (limiters.virtual_key(row), "virtual key 'slug'", "virtual_key_concurrency_limit"),
    ):
        assert made is not None
        made.enter(X, None)
        with pytest.raises(Refused, match=what) as refused:
            made.enter(X, None)
        assert refused.value.code == code


def test_a_reload_keeps_the_count_and_changes_the_limit() -> None:
    limiters = Limiters()
    first = limiters.api_key(key_row(1))
    assert first is not None
    first.enter(X, None)
    assert limiters.api_key(key_row(2, "renamed")) is first
    first.enter(X, None)
    with pytest.raises(Refused, match="renamed"):
        first.enter(X, None)


def test_keys_that_are_gone_leave_no_limiter_behind_once_nobody_is_in() -> None:
    limiters = Limiters()
    gone = limiters.api_key(key_row(3))
    assert gone is not None
    permit = gone.enter(X, None)
    assert permit is not None

    limiters.begin()
    limiters.forget_others()
    assert limiters.all, "somebody is in"

    permit.leave(None, answered=True)
    limiters.begin()
    limiters.forget_others()
    assert not limiters.all
    assert not limiters.host.gates

    again = limiters.api_key(key_row(3))
    assert again is not None
    assert again.held == 0


def test_where_there_is_no_room_each_worker_gives_out_its_share_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = Memory.create(4)
    others = [Memory.inherit(os.dup(memory.descriptor)) for _ in range(3)]
    limiters = Limiters(Host(memory))
    for other in others:
        assert other is not None
        other.attach()
    memory.rows = 2
    limits = Limits(
        concurrency=10, requests=Rates(per_minute=100), budget=Budget(usd=8), models={"a": ModelLimits(concurrency=2)}
    )
    rows = [
        ApiKeyRow(id="1", name="first", digest="", limits=Limits(concurrency=10)),
        *(ApiKeyRow(id=each, name=each, digest="", limits=limits) for each in "23"),
    ]
    first, second, _ = (limiters.api_key(row) for row in rows)
    assert first is not None
    assert second is not None
    assert first.limits.concurrency == 10
    assert second.limits == Limits(
        concurrency=2, requests=Rates(per_minute=25), budget=Budget(usd=2), models={"a": ModelLimits(concurrency=1)}
    )
    assert limiters.apart == {("API key", "2"), ("API key", "3")}
    assert caplog.text.count("divided among the workers") == 1

    limiters.begin()
    plain = ApiKeyRow(id="2", name="2", digest="", limits=Limits(concurrency=7))
    limiters.api_key(plain)
    limiters.forget_others()  # the first is gone
    limiters.begin()
    found = limiters.api_key(plain)
    assert found is not None
    assert found.limits.concurrency == 7, "there is room now"
    for other in others:
        assert other is not None
        other.detach()


def test_whoever_comes_late_for_a_key_that_is_gone_counts_in_nobodys_row() -> None:
    limiters = Limiters()
    gone = limiters.api_key(key_row(1))
    assert gone is not None
    limiters.begin()
    limiters.forget_others()
    permits = [gone.enter(X, None) for _ in range(3)]
    again = limiters.api_key(key_row(1))
    assert again is not None
    assert again.held == 0
    for permit in permits:
        assert permit is not None
        permit.leave(None, answered=True)
    assert (gone.held, again.held) == (0, 0)
