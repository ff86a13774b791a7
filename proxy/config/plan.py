"""A config object, compiled: a tree of strategies whose leaves are targets with their policies.

A plan yields leaves one after the other. Whoever runs it tells each leaf's status back, and the strategies decide by
it whether another leaf follows: fallback, load balancing and whatever comes next are iterators, and nest freely.
"""

from __future__ import annotations

from collections.abc import Callable

from adapters.errors import Kind
from proxy.config.facts import Facts
from proxy.config.leaf import RETRY_CODES, Leaf, Steps
from proxy.config.nodes import Node, inherit
from proxy.config.strategies import Balance, Fallback, Single, Step
from proxy.config.target import Target
from proxy.config.verdict import State, Verdict
from proxy.errors import Refused

_MAX_LEAVES = 64

Resolve = Callable[[Node, str], Target | None]
"""Finds or makes the target that a leaf names; None where the leaf names none and the request must."""


class Plan:
    """What a request follows. `single` is the only leaf where there is no strategy: the common case, told apart."""

    __slots__ = ("root", "single")

    def __init__(self, root: Step) -> None:
        self.root = root
        self.single = root if isinstance(root, Leaf) else None

    def __repr__(self) -> str:
        return f"Plan({', '.join(leaf.target.name for leaf in self.root.leaves())})"

    def explain(self, facts: Facts) -> Verdict:
        """What would happen to a request, and why, without any effect."""
        return self.root.explain(facts, State.CHOSEN, "the only target" if self.single is not None else "the config")


def compile_plan(root: Node, resolve: Resolve) -> Plan:
    """Compiles a config tree, each node with what it inherits. Raises Refused (400)."""
    count = 0

    def step(node: Node, where: str) -> Step:
        nonlocal count
        if not node.targets:
            count += 1
            if count > _MAX_LEAVES:
                raise Refused(Kind.INVALID_REQUEST, f"A config may name at most {_MAX_LEAVES} targets.", param=where)
            target = resolve(node, where)
            if target is None:
                raise Refused(
                    Kind.INVALID_REQUEST, f"The config's target {where} names no provider and no virtual key."
                )
            return Leaf(target, where, node)
        children = [step(inherit(node, child), f"{where}.targets[{index}]") for index, child in enumerate(node.targets)]
        return _strategy(node, children, where)

    return Plan(step(root, "config"))


def _strategy(node: Node, children: list[Step], where: str) -> Step:
    strategy = node.strategy
    mode = "single" if strategy is None else strategy.mode
    if mode == "single":
        return Single(children, where, node.name)
    if mode == "fallback":
        codes = strategy.on_status_codes if strategy is not None else None
        return Fallback(children, None if codes is None else frozenset(codes), where, node.name)
    if mode == "loadbalance":
        return Balance(children, [child.weight for child in node.targets], where=where, name=node.name)
    raise Refused(
        Kind.INVALID_REQUEST,
        f"The strategy mode {mode!r} at {where} is not available in this version: use single, fallback or loadbalance.",
        param=f"{where}.strategy.mode",
        code="unsupported_strategy",
    )


__all__ = ["RETRY_CODES", "Balance", "Fallback", "Leaf", "Plan", "Resolve", "Single", "Step", "Steps", "compile_plan"]
