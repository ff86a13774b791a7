"""The strategies: how one of several targets is chosen, and which follows.

Each is an iterator over leaves that is told the status every leaf ended with (`steps`), and each can say beforehand
what it would do and why (`explain`), by the same questions and without any effect.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import accumulate

from proxy.config.facts import Facts
from proxy.config.leaf import Leaf, Steps
from proxy.config.verdict import State, Verdict, weaker

Reasons = Iterable[tuple[State, str]]
"""For each child in order: its state if the node itself is chosen, and why."""


class Single:
    """The first target, and only that."""

    __slots__ = ("children", "name", "where")
    mode = "single"

    def __init__(self, children: list[Step], where: str = "config", name: str | None = None) -> None:
        self.children = children
        self.where = where
        self.name = name

    def steps(self, facts: Facts) -> Steps:
        """The first child's steps."""
        return (yield from self.children[0].steps(facts))

    def leaves(self) -> list[Leaf]:
        """All leaves below."""
        return [leaf for child in self.children for leaf in child.leaves()]

    def explain(self, facts: Facts, state: State = State.CHOSEN, reason: str = "") -> Verdict:
        """What this node and each below it is to a request. Nothing is called, counted or drawn."""
        children = tuple(
            child.explain(facts, weaker(state, own), why)
            for child, (own, why) in zip(self.children, self._reasons(facts), strict=True)
        )
        return Verdict(self.where, self.mode, state, reason, self.name, None, children)

    def _reasons(self, facts: Facts) -> Reasons:
        yield State.CHOSEN, "the first target"
        for _ in self.children[1:]:
            yield State.NOT, "the mode single uses the first target only"


class Fallback(Single):
    """Targets in order, until one answers well: 2xx, or with `codes`, anything that is not listed."""

    __slots__ = ("codes",)
    mode = "fallback"

    def __init__(
        self, children: list[Step], codes: frozenset[int] | None, where: str = "config", name: str | None = None
    ) -> None:
        super().__init__(children, where, name)
        self.codes = codes

    def steps(self, facts: Facts) -> Steps:
        """Children in order while their status asks for another."""
        status = 0
        for child in self.children:
            status = yield from child.steps(facts)
            again = status in self.codes if self.codes is not None else not 200 <= status < 300
            if not again:
                break
        return status

    def _reasons(self, facts: Facts) -> Reasons:
        when = "ends with no 2xx" if self.codes is None else f"ends with {' or '.join(map(str, sorted(self.codes)))}"
        yield State.CHOSEN, "the first of the fallback's targets"
        for before in self.children[:-1]:
            yield State.NEXT, f"only when {before.where} {when}"


class Balance(Single):
    """One of the targets by weighted chance."""

    __slots__ = ("_cumulative", "_draw")
    mode = "loadbalance"

    def __init__(
        self,
        children: list[Step],
        weights: list[float],
        draw: Callable[[], float] = random.random,
        where: str = "config",
        name: str | None = None,
    ) -> None:
        super().__init__(children, where, name)
        self._cumulative = list(accumulate(weights))
        self._draw = draw

    def steps(self, facts: Facts) -> Steps:
        """The steps of the child that was drawn."""
        point = self._draw() * self._cumulative[-1]
        chosen = next(i for i, edge in enumerate(self._cumulative) if point < edge or edge == self._cumulative[-1])
        return (yield from self.children[chosen].steps(facts))

    def _reasons(self, facts: Facts) -> Reasons:
        before = 0.0
        for edge in self._cumulative:
            share = (edge - before) / self._cumulative[-1]
            before = edge
            state = State.CHOSEN if share == 1 else State.POSSIBLE if share else State.NOT
            yield state, f"by weight it gets {share:.1%} of the requests"


Step = Leaf | Single
