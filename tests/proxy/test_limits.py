"""Gates: never more than the limit, never fewer than none, and one gate for one identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.limits import Gate, Gates


@given(limit=st.integers(1, 5), steps=st.lists(st.booleans(), max_size=60))
def test_whatever_comes_and_goes_the_limit_holds(limit: int, steps: list[bool]) -> None:
    gate, inside = Gate("k", "api_key_concurrency_limit", limit), 0
    for enters in steps:
        if enters and inside == limit:
            with pytest.raises(Refused) as refused:
                gate.enter()
            assert (refused.value.status, refused.value.retry_after) == (429, 1)
        elif enters:
            gate.enter()
            inside += 1
        elif inside:
            gate.leave()
            inside -= 1
        assert gate.held == inside <= limit


def test_without_a_limit_everybody_comes_in_and_is_counted() -> None:
    gate = Gate("k", "api_key_concurrency_limit", None)
    for _ in range(1000):
        gate.enter()
    assert gate.held == 1000


def test_a_refusal_names_whose_limit_it_was() -> None:
    gates = Gates()
    for gate, what in (
        (gates.api_key("id", "team", 0), "API key 'team'"),
        (gates.virtual_key("slug", 0), "key 'slug'"),
    ):
        with pytest.raises(Refused, match=what) as refused:
            gate.enter()
        assert refused.value.code == gate.code


def test_a_reload_keeps_the_count_and_changes_the_limit() -> None:
    gates = Gates()
    gate = gates.api_key("id", "team", 1)
    gate.enter()
    again = gates.api_key("id", "renamed", 2)
    assert again is gate
    again.enter()
    with pytest.raises(Refused):
        gate.enter()
    assert gates.virtual_key("id", 1) is not gate
