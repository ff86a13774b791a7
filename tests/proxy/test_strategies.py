"""The strategies one by one: who is chosen, who follows, who is left out, and what an explanation says of it."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.access import Access, provider_row
from proxy.config.facts import Facts
from proxy.config.leaf import Race
from proxy.config.objects import parse
from proxy.config.plan import Balance, Leaf, Plan, Single, compile_plan
from proxy.config.snapshot import parse_config
from proxy.config.target import Target
from proxy.errors import Refused
from proxy.health import Healths
from proxy.prices import Prices, vendored
from tests.proxy.test_plan import FACTS, LEAF, TARGET, compiled, facts, followed, states

# -- staying with a target


def sticky(names: list[str], weights: list[float] | None = None, **more: Any) -> Plan:
    shares = weights or [1.0] * len(names)
    return compiled(
        {
            "strategy": {"mode": "loadbalance", "sticky": {"enabled": True, "hash_fields": ["metadata.user"], **more}},
            "targets": [{**LEAF, "name": name, "weight": share} for name, share in zip(names, shares, strict=True)],
        }
    )


def chosen(plan: Plan, user: str, at: float = 0.0) -> str:
    about = facts(headers={"x-portkey-metadata": f'{{"user":"{user}"}}'})
    about.x.at = at
    leaf = next(plan.steps(about))
    assert isinstance(leaf, Leaf)
    assert leaf.name is not None
    return leaf.name


def test_equal_fields_go_to_the_same_target_whatever_the_order_of_the_targets() -> None:
    forward, backward = sticky(["a", "b", "c"]), sticky(["c", "b", "a"])
    for user in map(str, range(200)):
        assert chosen(forward, user) == chosen(forward, user) == chosen(backward, user)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_when_a_target_leaves_only_its_own_requests_move(size: int) -> None:
    names = [f"target-{n}" for n in range(size)]
    before, after = sticky(names), sticky(names[:-1])
    users = [str(n) for n in range(2000)]
    moved = [user for user in users if chosen(before, user) != chosen(after, user)]
    assert all(chosen(before, user) == names[-1] for user in moved)
    assert len(moved) / len(users) <= 1 / size + 0.04


def test_sticky_targets_get_their_weights() -> None:
    plan = sticky(["a", "b", "c"], [1, 2, 5])
    counts = Counter(chosen(plan, str(n)) for n in range(8000))
    for name, share in (("a", 1 / 8), ("b", 2 / 8), ("c", 5 / 8)):
        assert abs(counts[name] / 8000 - share) < 0.025


def test_with_a_ttl_each_identity_may_move_once_in_that_time() -> None:
    plan = sticky(["a", "b"], ttl=100)
    changes = []
    for user in map(str, range(50)):
        seen = [chosen(plan, user, at) for at in range(0, 100, 5)]
        changes.append(sum(one != other for one, other in pairwise(seen)))
    assert max(changes) <= 1
    assert sum(changes) > 5


def test_stickiness_is_by_api_key_too() -> None:
    plan = sticky([f"t{n}" for n in range(16)])

    def with_key(name: str) -> Any:
        return next(plan.steps(facts(key=SimpleNamespace(id=name, metadata={}))))

    assert len({with_key(str(n)).name for n in range(100)}) > 8


@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=5), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_weighted_choice_converges(weights: list[float], seed: int) -> None:
    leaves: list[Leaf | Single] = [Leaf(TARGET, str(n)) for n in range(len(weights))]
    plan = Plan(Balance(leaves, weights, random.Random(seed).random))
    counts = Counter(next(plan.steps(FACTS)).where for _ in range(4000))  # type: ignore[union-attr]
    for n, weight in enumerate(weights):
        assert abs(counts[str(n)] / 4000 - weight / sum(weights)) < 0.05


# -- conditions


def routed(**strategy: Any) -> Plan:
    return compiled(
        {
            "strategy": {"mode": "conditional", **strategy},
            "targets": [{**LEAF, "name": name} for name in ("one", "two", "three")],
        }
    )


ROUTES = [
    {"query": {"metadata.plan": "paid"}, "then": "two"},
    {"query": {"params.model": {"$startsWith": "gpt"}}, "then": "three"},
]


@pytest.mark.parametrize(
    ("metadata", "body", "where"),
    [
        ('{"plan":"paid"}', b'{"model":"gpt-5"}', "config.targets[1]"),
        ('{"plan":"free"}', b'{"model":"gpt-5"}', "config.targets[2]"),
        ("{}", b'{"model":"o3"}', "config.targets[0]"),
    ],
)
def test_the_first_condition_that_holds_decides(metadata: str, body: bytes, where: str) -> None:
    plan = routed(conditions=ROUTES, default="one")
    about = facts(body, {"x-portkey-metadata": metadata})
    step = next(plan.steps(about))
    assert isinstance(step, Leaf)
    assert step.where == where
    found = states(plan, about)
    assert found[where] == found["config"] == "chosen"
    assert list(found.values()).count("not") == 2


def test_conditions_that_lead_nowhere_are_refused_in_the_words_of_the_field() -> None:
    plan = routed(conditions=ROUTES)
    with pytest.raises(Refused, match="Query router did not resolve to any valid target") as refused:
        next(plan.steps(facts()))
    assert refused.value.status == 400
    assert set(states(plan).values()) == {"chosen", "not"}


# -- what is measured


def ranked(mode: str, targets: list[Target], **strategy: Any) -> tuple[Plan, Healths]:
    healths = Healths()
    plan = compile_plan(
        parse({"strategy": {"mode": mode, **strategy}, "targets": [LEAF] * len(targets)}),
        lambda node, where: targets[int(where[15:-1])],
        healths,
    )
    return plan, healths


def targets(*names: str) -> list[Target]:
    return [Target(Access(provider_row("openai"), f"sk-{name}", slug=name)) for name in names]


def busy(plan: Plan, *counts: int) -> None:
    for leaf, count in zip(plan.root.leaves(), counts, strict=True):
        assert leaf.health is not None
        leaf.health.in_flight = count


def asked(plan: Plan, statuses: list[int], about: Facts = FACTS) -> list[str]:
    """The targets that are asked one after the other, when they end with these statuses."""
    steps = plan.steps(about)
    found = []
    try:
        step = next(steps)
        for status in statuses:
            assert isinstance(step, Leaf)
            found.append(step.target.name)
            step = steps.send(status)
    except StopIteration:
        pass
    return found


def test_the_least_busy_target_has_the_fewest_requests_in_flight() -> None:
    plan, _ = ranked("least_busy", targets("a", "b", "c"))
    busy(plan, 2, 1, 3)
    assert asked(plan, [200]) == ["b"]
    found = states(plan)
    assert [found[f"config.targets[{n}]"] for n in range(3)] == ["not", "chosen", "not"]


def test_two_leaves_of_one_identity_share_what_is_known() -> None:
    target, same = targets("a", "a")
    assert target.identity == same.identity != targets("b")[0].identity
    _, healths = ranked("least_busy", [target, same])
    assert len(list(healths)) == 1
    assert "sk-a" not in target.identity


def test_the_fastest_target_is_the_one_whose_answers_begin_first() -> None:
    plan, _ = ranked("lowest_latency", targets("a", "b", "c"))
    about = facts(now=100.0)
    for leaf, seconds in zip(plan.root.leaves(), (0.5, 0.2, 0.9), strict=True):
        assert leaf.track is not None
        leaf.track.whole.note(seconds, 100.0)
        leaf.track.streamed.note(1 - seconds, 100.0)
    assert asked(plan, [200], about) == ["b"]
    about.x.streamed = True
    assert asked(plan, [200], about) == ["c"]


def test_the_others_follow_in_order_only_for_listed_codes() -> None:
    plan, _ = ranked("least_busy", targets("a", "b", "c"), on_status_codes=[429])
    busy(plan, 2, 1, 3)
    assert asked(plan, [429, 429, 429]) == ["b", "a", "c"]
    assert asked(plan, [429, 500]) == ["b", "a"]


def test_the_cheapest_target_is_by_the_price_table_and_the_unpriced_come_last() -> None:
    cheap, dear, unknown = (
        {**LEAF, "override_params": {"model": model}} for model in ("gpt-4o-mini", "gpt-4o", "no-such-model")
    )
    target = Target(Access(provider_row("openai"), "sk"), prices=Prices((vendored(),)).of("openai"))
    config = {"strategy": {"mode": "cheapest", "on_status_codes": [500]}, "targets": [unknown, dear, cheap]}
    plan = compile_plan(parse(config), lambda node, where: target)
    assert followed(plan, iter([500, 500, 200]))[0] == [f"config.targets[{n}]" for n in (2, 1, 0)]


# -- circuit breakers

BROKEN = {"mode": "fallback", "cb_config": {"failure_threshold": 1}}


def guarded(strategy: dict[str, Any], count: int = 3) -> Plan:
    found = targets(*(f"t{n}" for n in range(count)))
    config = {"strategy": strategy, "targets": [LEAF] * count}
    return compile_plan(parse(config), lambda node, where: found[int(where[15:-1])])


def trip(plan: Plan, *indexes: int) -> None:
    for at in indexes:
        circuit = plan.root.leaves()[at].circuit
        assert circuit is not None
        circuit.record(500, 0.0, 0.0)


def test_an_open_circuit_leaves_its_target_out_and_every_path_stays_its_own() -> None:
    plan = guarded(BROKEN)
    trip(plan, 0)
    about = facts(now=1.0)
    steps = plan.steps(about)
    assert next(steps).where == "config.targets[1]"  # type: ignore[union-attr]
    assert steps.send(500).where == "config.targets[2]"  # type: ignore[union-attr]
    found = states(plan, about)
    assert [found[f"config.targets[{n}]"] for n in range(3)] == ["not", "chosen", "next"]


def test_where_every_target_is_out_none_is() -> None:
    plan = guarded(BROKEN)
    trip(plan, 0, 1, 2)
    assert asked(plan, [500, 500, 500], facts(now=1.0)) == ["t0", "t1", "t2"]


def test_after_the_cooldown_the_first_target_is_asked_again() -> None:
    plan = guarded(BROKEN)
    trip(plan, 0)
    assert asked(plan, [200], facts(now=20.0)) == ["t1"]
    assert asked(plan, [200], facts(now=40.0)) == ["t0"]


def test_weights_are_shared_by_those_that_are_left() -> None:
    plan = guarded({"mode": "loadbalance", "cb_config": {"failure_threshold": 1}})
    trip(plan, 1)
    assert {asked(plan, [200], facts(now=1.0))[0] for _ in range(60)} == {"t0", "t2"}


def test_a_provider_that_asked_for_time_is_passed_by_while_there_is_another() -> None:
    plan = guarded(BROKEN)
    first = plan.root.leaves()[0]
    assert first.health is not None
    first.health.put_aside(20.0, 0.0)
    assert asked(plan, [200], facts(now=19.0)) == ["t1"]
    assert asked(plan, [200], facts(now=21.0)) == ["t0"]


def test_without_a_breaker_nothing_is_kept_and_nothing_left_out() -> None:
    plan = guarded({"mode": "fallback"})
    assert not plan.guarded
    assert all(leaf.health is None and leaf.target.health is None for leaf in plan.root.leaves())


# -- hedging


def test_a_hedge_is_a_race_with_the_patience_that_each_target_has_earned() -> None:
    plan, _ = ranked("hedge", targets("a", "b"), hedge={"quantile": 0.5, "delay": 700})
    race = next(plan.steps(facts(now=0.0)))
    assert isinstance(race, Race)
    assert race.delays == [0.7, 0.7]
    track = plan.root.leaves()[0].track
    assert track is not None
    for n in range(10):
        track.whole.note(0.1 * n, 0.0)
    race = next(plan.steps(facts(now=0.0)))
    assert isinstance(race, Race)
    assert race.delays == [0.5, 0.7]
    assert states(plan) == {"config": "chosen", "config.targets[0]": "chosen", "config.targets[1]": "next"}


# -- compiling

WORDS = [
    "strategy", "mode", "targets", "virtual_key", "weight", "conditions", "query", "then", "default", "name", "sticky",
    "enabled", "hash_fields", "ttl", "cb_config", "hedge", "retry", "attempts", "$and", "params.a", "$regex",
    "failure_threshold", "total_timeout", "on_status_codes", "provider", "passthrough", "continue_stream",
]  # fmt: skip
VALUES = ["single", "fallback", "loadbalance", "conditional", "hedge", "cheapest", "a", "(a+)+"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS), inner | st.sampled_from(VALUES), max_size=5)
    ),
    max_leaves=20,
)
NODES = st.builds(
    lambda strategy, targets: {"strategy": strategy, "targets": targets},
    JSON,
    st.lists(st.just(LEAF) | JSON, max_size=3),
)


@given(raw=JSON | NODES)
@settings(max_examples=400, deadline=None)
def test_compiling_never_raises_anything_but_its_own_error(raw: Any) -> None:
    try:
        plan = compile_plan(parse_config(raw), lambda node, where: TARGET)
    except Refused:
        return
    plan.explain(facts())
