"""Strategies as iterators: which leaves follow which, whatever their nesting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.access import Access, provider_row
from proxy.config.facts import Facts
from proxy.config.objects import parse
from proxy.config.plan import RETRY_CODES, Balance, Leaf, Plan, Single, compile_plan
from proxy.config.target import Target
from proxy.config.verdict import Verdict
from proxy.errors import Refused
from proxy.exchange import Exchange

TARGET = Target(Access(provider_row("openai"), "sk"))


def facts(
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    path: str = "/v1/chat/completions",
    key: Any = None,
    now: float | None = None,
) -> Facts:
    """A request, as strategies see it."""
    named = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
    x = Exchange(cast(Any, None), cast(Any, None), "POST", path, "", named, tuple(named.items()), "r", "r", 0.0)
    x.body, x.key = body, key
    return Facts(x, now)


FACTS = facts()


def compiled(config: dict[str, Any]) -> Plan:
    return compile_plan(parse(config), lambda node, where: TARGET)


def followed(plan: Plan, statuses: Iterator[int]) -> tuple[list[str], int]:
    """The leaves that are asked, and the status of the whole."""
    steps = plan.steps(FACTS)
    asked = []
    try:
        leaf = next(steps)
        while True:
            asked.append(leaf.where)
            leaf = steps.send(next(statuses))
    except StopIteration as stop:
        return asked, stop.value


LEAF = {"virtual_key": "openai"}


def test_a_leaf_alone_is_told_apart() -> None:
    plan = compiled(LEAF)
    assert plan.single is not None
    assert plan.single.where == "config"
    assert followed(plan, iter([500])) == (["config"], 500)
    assert compiled({"strategy": {"mode": "single"}, "targets": [LEAF]}).single is None


# -- against a reference of a few lines


def reference(node: dict[str, Any], where: str, statuses: Iterator[int], asked: list[str]) -> int:
    """What the words of the schema say, in the plainest way."""
    if "targets" not in node:
        asked.append(where)
        return next(statuses)
    targets = [(child, f"{where}.targets[{n}]") for n, child in enumerate(node["targets"])]
    if node["strategy"]["mode"] == "single":
        return reference(*targets[0], statuses, asked)
    codes = node["strategy"].get("on_status_codes")
    status = 0
    for child, path in targets:
        status = reference(child, path, statuses, asked)
        if status not in codes if codes is not None else 200 <= status <= 299:
            return status
    return status


STATUS = st.sampled_from([200, 201, 400, 408, 412, 429, 446, 500, 503])
CODES = st.none() | st.lists(STATUS, min_size=1, max_size=4)


def strategy(targets: list[Any], codes: list[int] | None) -> dict[str, Any]:
    return {
        "strategy": {"mode": "fallback"} | ({"on_status_codes": codes} if codes is not None else {}),
        "targets": targets,
    }


TREES = st.recursive(
    st.just(LEAF),
    lambda children: (
        st.builds(strategy, st.lists(children, min_size=1, max_size=3), CODES)
        | st.builds(
            lambda t: {"strategy": {"mode": "single"}, "targets": t}, st.lists(children, min_size=1, max_size=3)
        )
    ),
    max_leaves=12,
)


@given(tree=TREES, statuses=st.lists(STATUS, min_size=40, max_size=40))
def test_any_nesting_asks_what_the_words_of_the_schema_say(tree: dict[str, Any], statuses: list[int]) -> None:
    asked: list[str] = []
    status = reference(tree, "config", iter(statuses), asked)
    assert followed(compiled(tree), iter(statuses)) == (asked, status)


# -- load balancing


def balance(weights: list[float], draw: float) -> str:
    leaves: list[Leaf | Single] = [Leaf(TARGET, str(n)) for n in range(len(weights))]
    return next(Balance(leaves, weights, lambda: draw).steps(FACTS)).where


@pytest.mark.parametrize(
    ("draw", "expected"), [(0.0, "0"), (0.249, "0"), (0.25, "1"), (0.749, "1"), (0.75, "2"), (0.9999999, "2")]
)
def test_the_draw_decides_on_the_scale_of_the_weights(draw: float, expected: str) -> None:
    assert balance([1, 2, 1], draw) == expected
    assert balance([100, 200, 100], draw) == expected


@given(weights=st.lists(st.floats(0, 1000), min_size=1, max_size=6).filter(any), draw=st.floats(0, 1, exclude_max=True))
def test_whatever_has_no_weight_is_never_drawn_where_something_has(weights: list[float], draw: float) -> None:
    assert weights[int(balance(weights, draw))] > 0


def test_a_weight_that_is_not_given_is_one() -> None:
    plan = compiled({"strategy": {"mode": "loadbalance"}, "targets": [LEAF, {**LEAF, "weight": 3}]})
    assert isinstance(plan.root, Balance)
    assert plan.root.weights == [1, 3]


# -- explaining


def states(plan: Plan, about: Facts = FACTS) -> dict[str, str]:
    """Each node's state by its place."""
    found: dict[str, str] = {}

    def look(verdict: Verdict) -> None:
        found[verdict.where] = verdict.state
        assert verdict.reason
        for child in verdict.children:
            look(child)

    look(plan.explain(about))
    return found


def test_an_explanation_says_of_each_target_what_it_is_to_the_request() -> None:
    inner = {"strategy": {"mode": "loadbalance"}, "targets": [LEAF, {**LEAF, "weight": 3}, {**LEAF, "weight": 0}]}
    plan = compiled(
        {
            "strategy": {"mode": "fallback"},
            "targets": [inner, {"strategy": {"mode": "single"}, "targets": [LEAF, LEAF]}],
        }
    )
    assert states(plan) == {
        "config": "chosen",
        "config.targets[0]": "chosen",
        "config.targets[0].targets[0]": "possible",
        "config.targets[0].targets[1]": "possible",
        "config.targets[0].targets[2]": "not",
        "config.targets[1]": "next",
        "config.targets[1].targets[0]": "next",
        "config.targets[1].targets[1]": "not",
    }
    assert states(compiled(LEAF)) == {"config": "chosen"}


# -- leaves


def test_a_leaf_has_what_it_inherits_and_what_is_its_own() -> None:
    plan = compiled(
        {
            "strategy": {"mode": "fallback"},
            "retry": {"attempts": 3},
            "request_timeout": 5000,
            "override_params": {"temperature": 1, "top_p": 1},
            "targets": [
                LEAF,
                {**LEAF, "retry": {"attempts": 1, "on_status_codes": [418]}, "override_params": {"top_p": 0}},
            ],
        }
    )
    first, second = plan.root.leaves()
    assert (first.attempts, first.retry_codes, first.timeout) == (3, RETRY_CODES, 5.0)
    assert (second.attempts, second.retry_codes, second.timeout) == (1, {418}, 5.0)
    assert first.override_params == {"temperature": 1, "top_p": 1}
    assert second.override_params == {"temperature": 1, "top_p": 0}
    assert first.edits
    assert not Leaf(TARGET).edits


def test_what_is_tried_again_unless_the_config_says_otherwise() -> None:
    assert sorted(RETRY_CODES) == [429, 500, 502, 503, 504, 529]


def test_a_config_has_a_bounded_number_of_targets() -> None:
    compiled({"strategy": {"mode": "fallback"}, "targets": [LEAF] * 64})
    with pytest.raises(Refused, match="at most 64 targets"):
        compiled({"strategy": {"mode": "fallback"}, "targets": [LEAF] * 65})


def test_a_target_that_names_nothing_is_refused_with_its_path() -> None:
    tree = parse(
        {"strategy": {"mode": "fallback"}, "targets": [LEAF, {"strategy": {"mode": "single"}, "targets": [LEAF]}]}
    )
    with pytest.raises(Refused, match=r"config\.targets\[1\]\.targets\[0\]"):
        compile_plan(tree, lambda node, where: TARGET if where == "config.targets[0]" else None)
