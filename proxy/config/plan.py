"""A config object, compiled: a tree of strategies whose leaves are targets with their policies.

A plan yields leaves one after the other. Whoever runs it tells each leaf's status back, and the strategies decide by
it whether another leaf follows: fallback, load balancing and whatever comes next are iterators, and nest freely.
"""

from __future__ import annotations

from collections.abc import Callable

from adapters.errors import Kind
from proxy.config.facts import Facts
from proxy.config.leaf import RETRY_CODES, Leaf, Steps
from proxy.config.measured import Hedged, Ranked
from proxy.config.nodes import Hedge, Node, Strategy, inherit
from proxy.config.queries import compile_query
from proxy.config.strategies import Balance, Conditional, Fallback, Single, Step, Sticking
from proxy.config.target import Target
from proxy.config.verdict import State, Verdict
from proxy.errors import Refused
from proxy.health import Circuit, Health, Healths

_MAX_LEAVES = 64

Resolve = Callable[[Node, str], Target | None]
"""Finds or makes the target that a leaf names; None where the leaf names none and the request must."""


class Plan:
    """What a request follows. `single` is the only leaf where there is no strategy: the common case, told apart.
    `row` is the root where it is a fallback of nothing but leaves, the next common. `guarded` says whether any target
    has a circuit breaker, `after` which leaves may go on with a leaf's stream."""

    __slots__ = ("_deep", "_watched", "after", "guarded", "root", "row", "single")

    def __init__(self, root: Step) -> None:
        self.root = root
        self.single = root if isinstance(root, Leaf) else None
        self.row = root if isinstance(root, Fallback) and root.flat else None
        self._watched = () if isinstance(root, Leaf) else _watched(root)
        self.guarded = bool(self._watched)
        # Whether strategies begin later than the request, when a breaker may have opened meanwhile.
        self._deep = not isinstance(root, Leaf) and not all(isinstance(child, Leaf) for child in root.children)
        self.after: dict[Leaf, tuple[Leaf, ...]] = {}
        _continued(root, self.after)

    def __repr__(self) -> str:
        return f"Plan({', '.join(leaf.target.name for leaf in self.root.leaves())})"

    def steps(self, facts: Facts) -> Steps:
        """The leaves that a request is sent to, one after the other. Where every target is left out, none is."""
        self._guard(facts)
        return self.root.steps(facts)

    def guard(self, facts: Facts) -> bytes:
        """Lets circuit breakers count, as far as any is open. Returns the header line that names the targets which
        they leave out now; empty without any."""
        if self.well(facts.now):
            facts.guarded = self._deep
            return b""
        self._guard(facts)
        return self._left_out(facts)

    def well(self, now: float) -> bool:
        """Whether nothing that is known of any target speaks against asking it."""
        for circuit, health in self._watched:  # noqa: SIM110 - a generator would cost more than what it asks
            if circuit.until or health.aside > now:
                return False
        return True

    def _left_out(self, facts: Facts) -> bytes:
        out = [leaf.where for leaf in self.root.leaves() if not leaf.usable(facts)]
        return f"x-loopway-left-out: {', '.join(out)}\r\n".encode() if out else b""

    def explain(self, facts: Facts) -> Verdict:
        """What would happen to a request, and why, without any effect."""
        self._guard(facts)
        return self.root.explain(facts, State.CHOSEN, "the only target" if self.single is not None else "the config")

    def _guard(self, facts: Facts) -> None:
        if self.guarded:
            facts.guarded = True
            facts.guarded = self.root.usable(facts)


def _watched(step: Step) -> tuple[tuple[Circuit, Health], ...]:
    """The circuit breakers below, each with its target."""
    found = [(leaf.circuit, leaf.health) for leaf in step.leaves()]
    return tuple((circuit, health) for circuit, health in found if circuit is not None and health is not None)


def _continued(step: Step, after: dict[Leaf, tuple[Leaf, ...]]) -> None:
    """Finds who follows whom in the fallbacks that continue streams, the innermost first."""
    if isinstance(step, Leaf):
        return
    for child in step.children:
        _continued(child, after)
    if isinstance(step, Fallback) and step.continues:
        for at, child in enumerate(step.children):
            following = tuple(each for each in step.children[at + 1 :] if isinstance(each, Leaf))
            for leaf in child.leaves():
                after.setdefault(leaf, following)


def compile_plan(root: Node, resolve: Resolve, healths: Healths | None = None) -> Plan:
    """Compiles a config tree, each node with what it inherits. Raises Refused (400)."""
    count = 0
    known = Healths() if healths is None else healths

    def step(node: Node, where: str, above: frozenset[str]) -> Step:
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
            leaf = Leaf(target, where, node)
            leaf.watch(known, node, above)
            return leaf
        within = above | {mode_of(node)}
        children = [
            step(inherit(node, child), f"{where}.targets[{index}]", within) for index, child in enumerate(node.targets)
        ]
        return _strategy(node, children, where)

    return Plan(step(root, "config", frozenset()))


def mode_of(node: Node) -> str:
    """A node's mode; without a strategy, single."""
    return "single" if node.strategy is None else node.strategy.mode


def _strategy(node: Node, children: list[Step], where: str) -> Step:
    strategy = node.strategy or Strategy("single")
    codes = None if strategy.on_status_codes is None else frozenset(strategy.on_status_codes)
    weights = [child.weight for child in node.targets]
    match strategy.mode:
        case "fallback":
            return Fallback(children, codes, where, node.name, continues=strategy.continue_stream)
        case "loadbalance":
            if not any(weights):
                raise Refused(Kind.INVALID_REQUEST, "The weights add up to 0.", param=f"{where}.targets")
            if strategy.sticky is not None and strategy.sticky.enabled:
                return Sticking(children, weights, strategy.sticky, where, node.name)
            return Balance(children, weights, where=where, name=node.name)
        case "conditional":
            return _conditional(strategy, children, where, node.name)
        case "least_busy" | "lowest_latency" | "cheapest":
            return Ranked(strategy.mode, children, codes, where, node.name)
        case "hedge":
            return Hedged(children, strategy.hedge or Hedge(), codes, where, node.name)
    return Single(children, where, node.name)


def _conditional(strategy: Strategy, children: list[Step], where: str, name: str | None) -> Step:
    # Of two targets with one name the first counts, as everywhere in the field.
    named = {child.name: at for at, child in reversed(list(enumerate(children)))}
    tests = [(compile_query(condition.query), named[condition.then]) for condition in strategy.conditions]
    default = None if strategy.default is None else named[strategy.default]
    return Conditional(children, tests, default, where, name)


__all__ = ["RETRY_CODES", "Balance", "Fallback", "Leaf", "Plan", "Resolve", "Single", "Step", "Steps", "compile_plan"]
