"""What a target takes over from the node above it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.nodes import Breaker, Cache, Node, Retry, Strategy, inherit
from proxy.ports import Secret

A = Breaker(failure_threshold=1)
B = Breaker(failure_threshold=2)


@pytest.mark.parametrize(
    ("name", "above", "below"),
    [
        ("retry", Retry(3, (500,)), Retry(1)),
        ("cache", Cache("simple", 60), Cache("semantic")),
        ("request_timeout", 100, 5),
        ("custom_host", "https://a", "https://b"),
        ("forward_headers", ("a", "b"), ("c",)),
        ("forward_headers", ("a", "b"), ()),
        ("strict_open_ai_compliance", True, False),
        ("strict_params", True, False),
        ("drop_params", ("a",), ("b",)),
    ],
)
def test_a_policy_is_the_childs_whole_or_else_the_parents(name: str, above: Any, below: Any) -> None:
    assert getattr(inherit(Node(**{name: above}), Node()), name) == above
    assert getattr(inherit(Node(**{name: above}), Node(**{name: below})), name) == below
    assert getattr(inherit(Node(), Node(**{name: below})), name) == below


@pytest.mark.parametrize("name", ["override_params", "default_params"])
def test_params_are_merged_name_by_name_and_the_childs_win(name: str) -> None:
    parent = Node(**{name: {"a": 1, "b": {"x": 1}}})
    child = Node(**{name: {"b": {"y": 2}, "c": 3}})
    assert getattr(inherit(parent, child), name) == {"a": 1, "b": {"y": 2}, "c": 3}
    assert getattr(parent, name) == {"a": 1, "b": {"x": 1}}


def test_hooks_of_a_phase_are_the_childs_if_it_has_any_and_are_never_joined() -> None:
    parent = Node(before_request_hooks=({"id": "a"},), input_guardrails=("b",), output_guardrails=("c",))
    child = inherit(parent, Node(input_mutators=({"default.addPrefix": {}},)))
    assert (child.before_request_hooks, child.input_guardrails) == ((), ())
    assert child.output_guardrails == ("c",)
    untouched = inherit(parent, Node())
    assert (untouched.before_request_hooks, untouched.input_guardrails) == (({"id": "a"},), ("b",))


def test_name_weight_strategy_provider_and_credentials_are_never_inherited() -> None:
    parent = Node(
        name="n",
        weight=3,
        strategy=Strategy("fallback"),
        provider="openai",
        api_key=Secret("k"),
        virtual_key="v",
        passthrough=True,
        fields={"aws_region": "eu"},
    )
    assert inherit(parent, Node()) == Node()


def test_the_circuit_breaker_comes_from_the_nearest_strategy_but_not_through_a_conditional_one() -> None:
    parent = Node(strategy=Strategy("fallback", cb_config=A), breaker=A)
    assert inherit(parent, Node()).breaker == A
    assert inherit(parent, Node(strategy=Strategy("loadbalance", cb_config=B))).breaker == B
    conditional = inherit(parent, Node(strategy=Strategy("conditional")))
    assert inherit(conditional, Node()).breaker is None
    assert inherit(inherit(conditional, Node(strategy=Strategy("fallback", cb_config=B))), Node()).breaker == B
