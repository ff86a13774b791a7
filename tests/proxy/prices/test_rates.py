"""What an answer costs, against an arithmetic of its own: one line of dollars for each kind of token."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.types import Rare, Usage
from proxy.prices import Entry, Price, Rates, Tier

FULL = Entry(
    input=2.5,
    output=10.0,
    cache_read=1.25,
    cache_write=3.125,
    cache_write_1h=5.0,
    reasoning=12.0,
    audio_input=40.0,
    audio_output=80.0,
    image_input=7.0,
    image_output=30.0,
)


def cost(usage: Usage, **entry: object) -> float | None:
    return Price("p", Entry(**entry)).cost(usage)  # type: ignore[arg-type]


def test_tokens_cost_what_the_table_says_for_a_million_of_them() -> None:
    assert cost(Usage(1_000_000, 500_000), input=2.5, output=10.0) == 2.5 + 5.0


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(
        input=1000, output=900, cached=100, cache_write=300, cache_write_1h=100, audio_input=50, image_input=40,
        reasoning=200, audio_output=80, image_output=20,
    )  # fmt: skip
    expected = (
        (1000 - 100 - 300 - 50 - 40) * 2.5 + 100 * 1.25 + 200 * 3.125 + 100 * 5.0 + 50 * 40.0 + 40 * 7.0
        + (900 - 200 - 80 - 20) * 10.0 + 200 * 12.0 + 80 * 80.0 + 20 * 30.0
    )  # fmt: skip
    assert Price("p", FULL).cost(usage) == pytest.approx(expected / 1e6, rel=1e-12)


def test_what_has_no_price_of_its_own_costs_what_its_kind_does_and_never_nothing() -> None:
    usage = Usage(100, 100, cached=50, reasoning=30, image_input=5, tier="flex")
    assert cost(usage, input=1.0, output=2.0) == pytest.approx((100 * 1.0 + 100 * 2.0) / 1e6)


DEARER: list[dict[str, Any]] = [
    {"audio_input": 1}, {"audio_output": 1}, {"image_output": 1}, {"cache_write": 2},
    {"cache_write": 2, "cache_write_1h": 1}, {"tier": "priority"}, {"tier": "ultrafast"},
]  # fmt: skip


@pytest.mark.parametrize("part", DEARER, ids=str)
def test_what_has_no_price_and_is_dearer_than_its_kind_has_no_cost_rather_than_less(part: dict[str, Any]) -> None:
    usage, (name, *_) = Usage(100, 100, **part), reversed(part)
    price = Price("p", Entry(input=1.0, output=2.0))
    assert price.cost(usage) is None
    assert price.known(usage) == pytest.approx(300 / 1e6)  # what a budget counts at least
    rate: Any = Tier(input=4.0) if name == "tier" else 4.0
    assert cost(usage, **{"input": 1.0, "output": 2.0, part.get("tier", name): rate}) > price.known(usage)  # type: ignore[operator]


def test_an_answer_that_counted_nothing_has_no_cost() -> None:
    assert cost(Usage(), input=1.0, output=2.0) is None
    assert cost(Usage(10, 0), input=0.0, output=0.0) == 0.0  # free is something that somebody said


def test_a_long_prompt_is_charged_by_the_prices_for_long_ones_from_its_first_token_on() -> None:
    entry = {"input": 1.0, "output": 2.0, "above": {"200000": Rates(input=4.0), "272000": Rates(input=5.0, output=9.0)}}
    assert cost(Usage(200_000, 1000), **entry) == pytest.approx((200_000 * 1.0 + 1000 * 2.0) / 1e6)
    assert cost(Usage(200_001, 1000), **entry) == pytest.approx((200_001 * 4.0 + 1000 * 2.0) / 1e6)
    assert cost(Usage(300_000, 1000), **entry) == pytest.approx((300_000 * 5.0 + 1000 * 9.0) / 1e6)


@pytest.mark.parametrize(
    ("tier", "expected"), [("batch", 0.5 + 1.0), ("priority", 2.0 + 4.0), (None, 1.0 + 2.0), ("default", 1.0 + 2.0)]
)
def test_the_service_tier_that_the_provider_names_decides(tier: str | None, expected: float) -> None:
    entry = Entry(input=1.0, output=2.0, batch=Tier(input=0.5, output=1.0), priority=Tier(input=2.0, output=4.0))
    assert Price("p", entry).cost(Usage(1_000_000, 1_000_000, tier=tier)) == expected


def test_a_tier_says_only_what_differs() -> None:
    entry = Entry(
        input=1.0, output=2.0, cache_read=0.1, flex=Tier(input=0.5), above={"100": Rates(input=3.0, output=6.0)}
    )
    price = Price("p", entry)
    assert price.cost(Usage(100, 100, cached=50, tier="flex")) == pytest.approx((50 * 0.5 + 50 * 0.1 + 200) / 1e6)
    assert price.cost(Usage(200, 100, tier="flex")) == pytest.approx((200 * 0.5 + 100 * 6.0) / 1e6)


def test_pieces_are_charged_each_and_never_at_nothing() -> None:
    searched = Usage(1_000_000, 0, rare=Rare(searches=3))
    assert cost(searched, input=2.0, search=0.01) == pytest.approx(2.03)
    assert cost(searched, input=2.0) is None
    assert Price("p", Entry(input=2.0)).known(searched) == 2.0
    assert cost(Usage(rare=Rare(searches=2)), input=0.0, search=0.002) == pytest.approx(0.004)
    assert cost(Usage(rare=Rare(seconds=90.5)), second=0.0001) == pytest.approx(0.00905)
    assert cost(Usage(rare=Rare(seconds=90.5)), input=2.0) is None
    assert (
        cost(Usage(1_000_000, rare=Rare(seconds=90.5)), input=2.0, second=0.0001) == 2.0
    )  # the same sound, told twice
    assert cost(Usage(10, 10), second=0.0001) is None


def test_an_answer_that_searched_is_charged_once_where_that_is_the_price() -> None:
    searched = Usage(1_000_000, 0, rare=Rare(searches=3, maps=1))
    assert cost(searched, input=2.0, searched=0.035, maps=0.025) == pytest.approx(2.06)
    assert cost(searched, input=2.0, searched=0.035) is None


@pytest.mark.parametrize(("size", "expected"), [(None, 0.008), ("medium", 0.008), ("low", 0.005), ("high", 0.012)])
def test_models_that_always_search_charge_every_answer(size: str | None, expected: float) -> None:
    entry = Entry(input=1.0, output=1.0, request=0.008, request_low=0.005, request_high=0.012)
    usage = Usage(1_000_000, 0, rare=None if size is None else Rare(size=size))
    price = Price("p", entry)
    assert price.cost(usage) == pytest.approx(1.0 + expected)
    assert price.nanos(usage) == round((1.0 + expected) * 1e9)
    assert price.at_most(1_000_000, 0) == round(1.012 * 1e9)


def test_what_nobody_counted_leaves_no_cost_and_a_budget_counts_the_rest() -> None:
    usage = Usage(1_000_000, 0, rare=Rare(searches=1, uncounted=True))
    price = Price("p", Entry(input=2.0, search=0.01))
    assert price.cost(usage) is None
    assert price.nanos(usage) == round(2.01 * 1e9)


def test_video_is_charged_at_its_rate_and_what_is_drawn_has_no_other() -> None:
    usage = Usage(1_000_000, 1_000_000, rare=Rare(video_input=500_000, video_output=250_000))
    assert cost(usage, input=1.0, output=2.0, video_input=10.0, video_output=20.0) == pytest.approx(5.5 + 6.5)
    assert cost(usage, input=1.0, output=2.0, video_output=20.0) == pytest.approx(1.0 + 6.5)
    assert cost(usage, input=1.0, output=2.0) is None


def test_a_reservation_is_the_dearest_that_a_prompt_and_its_answer_may_be() -> None:
    flat = Price("p", Entry(input=1.0, output=2.0, cache_write=1.25, cache_write_1h=2.0, priority=Tier(input=3.0)))
    for price in (flat, Price("p", msgspec.structs.replace(flat.entry, above={"10": Rates(output=2.0)}))):
        assert price.at_most(1000, 100) == round((1000 * 1.25 + 100 * 2) * 1e3)
        assert price.at_most(1000, 100, Rare(), None, True) == round((1000 * 2 + 100 * 2) * 1e3)
    plain = Price("p", Entry(input=1.0, output=2.0, priority=Tier(input=3.0, output=4.0)))
    assert plain.at_most(1000, 100) == 1_200_000
    for tier in ("priority", "fast"):
        assert plain.at_most(1000, 100, Rare(), tier) == 3_400_000


def test_a_reservation_has_what_may_be_searched_and_drawn() -> None:
    price = Price("p", Entry(input=1.0, output=2.0, search=0.01, image=0.04))
    assert price.at_most(0, 0, Rare(searches=5)) == 50_000_000
    assert price.at_most(0, 0, Rare(images=4)) == 160_000_000
    assert price.lacking(Rare(searches=5)) is None
    assert price.lacking(Rare(files=5)) == "file_search"
    # Models charged by the piece alone tell no tokens, and those charged by the token no pieces.
    assert Price("p", Entry(image=0.04)).at_most(500, 4096, Rare(images=4)) == 160_000_000
    assert Price("p", Entry(input=1.0, output=40.0)).lacking(Rare(images=4, seconds=3)) is None
    assert Price("p", Entry(character=0.04)).lacking(Rare(images=4)) == "image"


counts = st.integers(0, 3_000_000)


@given(st.builds(Usage, *[counts] * 10))
def test_no_usage_costs_less_than_nothing_and_parts_that_fit_add_up(usage: Usage) -> None:
    found = Price("p", FULL).cost(usage)
    if found is None:
        assert not usage.input
        assert not usage.output
        return
    assert found >= 0
    inside = usage.cached + usage.cache_write + usage.audio_input + usage.image_input
    if inside > usage.input or usage.cache_write_1h > usage.cache_write:
        return
    if usage.reasoning + usage.audio_output + usage.image_output > usage.output:
        return
    # The plain reference: exact fractions, one product for each kind.
    rates = {name: Fraction(str(rate)) for name in Rates.__struct_fields__ if (rate := getattr(FULL, name)) is not None}
    parts = {
        "input": usage.input - inside,
        "cache_read": usage.cached,
        "cache_write": usage.cache_write - usage.cache_write_1h,
        "cache_write_1h": usage.cache_write_1h,
        "audio_input": usage.audio_input,
        "image_input": usage.image_input,
        "output": usage.output - usage.reasoning - usage.audio_output - usage.image_output,
        "reasoning": usage.reasoning,
        "audio_output": usage.audio_output,
        "image_output": usage.image_output,
    }
    exact = sum(rates[name] * count for name, count in parts.items()) / 1_000_000
    assert found == pytest.approx(float(exact), rel=1e-9)
