"""The strategies that follow the config alone: in order, by weight, by condition. Others: `proxy.config.measured`.

Each is an iterator over leaves that is told the status every leaf ended with (`steps`), and each can say beforehand
what it would do and why (`explain`), by the same questions and without any effect.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from math import log

import msgspec

from adapters.errors import Kind
from proxy.config.facts import Facts
from proxy.config.leaf import Leaf, Steps
from proxy.config.nodes import Sticky
from proxy.config.queries import MISSING, Test, getter
from proxy.config.verdict import State, Verdict, weaker
from proxy.errors import Refused

Reasons = Iterable[tuple[State, str]]
"""For each child in order: its state if the node itself is chosen, and why."""


class Single:
    """The first target, and only that."""

    __slots__ = ("children", "mode", "name", "where")

    def __init__(
        self, children: list[Step], where: str = "config", name: str | None = None, mode: str = "single"
    ) -> None:
        self.children = children
        self.where = where
        self.name = name
        self.mode = mode

    def choice(self, facts: Facts) -> Step:
        """The child that gets the request, where a strategy chooses just one."""
        return self.children[self.open(facts)[0]]

    def settle(self, facts: Facts) -> Step:
        """What is left to follow once all choices are made that need no answer first: a leaf, or a strategy that
        may go from one child to another."""
        step = self.choice(facts)
        return step if isinstance(step, Leaf) else step.settle(facts)

    def steps(self, facts: Facts) -> Steps:
        """The steps of the child that gets the request."""
        step = self.choice(facts)
        # A leaf's own steps are itself: one generator less for the common case.
        return (yield step) if isinstance(step, Leaf) else (yield from step.steps(facts))

    def leaves(self) -> list[Leaf]:
        """All leaves below."""
        return [leaf for child in self.children for leaf in child.leaves()]

    def usable(self, facts: Facts) -> bool:
        """Whether any target below is not left out by its circuit breaker."""
        return any(child.usable(facts) for child in self.children)

    def open(self, facts: Facts) -> Sequence[int]:
        """The children that may be asked, by index: those not left out, or all where every one is."""
        everyone = range(len(self.children))
        if not facts.guarded:
            return everyone
        return [at for at in everyone if self.children[at].usable(facts)] or everyone

    def explain(self, facts: Facts, state: State = State.CHOSEN, reason: str = "") -> Verdict:
        """What this node and each below it is to a request. Nothing is called, counted or drawn."""
        children = tuple(
            child.explain(facts, weaker(state, own), why)
            for child, (own, why) in zip(self.children, self._reasons(facts), strict=True)
        )
        return Verdict(self.where, self.mode, state, reason, self.name, None, children)

    def _reasons(self, facts: Facts) -> Reasons:
        first = self.open(facts)[0]
        for at in range(len(self.children)):
            if at == first:
                yield State.CHOSEN, "the first target"
            else:
                yield State.NOT, "the mode single uses the first target only"


class Fallback(Single):
    """Targets in order, until one answers well: 2xx, or with `codes`, anything that is not listed."""

    __slots__ = ("codes", "continues", "flat")

    def __init__(
        self,
        children: list[Step],
        codes: frozenset[int] | None,
        where: str = "config",
        name: str | None = None,
        *,
        continues: bool = False,
    ) -> None:
        super().__init__(children, where, name, "fallback")
        self.codes = codes
        self.continues = continues
        self.flat = tuple(child for child in children if isinstance(child, Leaf))
        """The children, where all of them are leaves; else nothing."""
        if len(self.flat) < len(children):
            self.flat = ()

    def settle(self, facts: Facts) -> Step:
        """This node: which child it comes to, the answers decide."""
        return self

    def ladder(self, facts: Facts) -> Sequence[Leaf]:
        """The leaves to try, in order, where all children are leaves."""
        return [leaf for leaf in self.flat if leaf.usable(facts)] or self.flat if facts.guarded else self.flat

    def again(self, status: int) -> bool:
        """Whether the next child follows one that ended so."""
        return status in self.codes if self.codes is not None else not 200 <= status < 300

    def steps(self, facts: Facts) -> Steps:
        """Children in order while their status asks for another."""
        status = 0
        for at in self.open(facts):
            child = self.children[at]
            status = (yield child) if isinstance(child, Leaf) else (yield from child.steps(facts))
            if not self.again(status):
                break
        return status

    def _reasons(self, facts: Facts) -> Reasons:
        when = "ends with no 2xx" if self.codes is None else f"ends with {' or '.join(map(str, sorted(self.codes)))}"
        before: Step | None = None
        follows = self.open(facts)
        for at, child in enumerate(self.children):
            if at not in follows:
                yield State.NOT, "every target below it is left out"
            elif before is None:
                before = child
                yield State.CHOSEN, "the first of the fallback's targets"
            else:
                yield State.NEXT, f"only when {before.where} {when}"
                before = child


class Balance(Single):
    """One of the targets by weighted chance."""

    __slots__ = ("_draw", "weights")

    def __init__(
        self,
        children: list[Step],
        weights: list[float],
        draw: Callable[[], float] = random.random,
        where: str = "config",
        name: str | None = None,
    ) -> None:
        super().__init__(children, where, name, "loadbalance")
        self.weights = weights
        self._draw = draw

    def open(self, facts: Facts) -> Sequence[int]:
        """The children that may be asked and have a weight."""
        return [at for at in super().open(facts) if self.weights[at] > 0] or [
            at for at, weight in enumerate(self.weights) if weight > 0
        ]

    def choice(self, facts: Facts) -> Step:
        """The child that was drawn."""
        choice = self.open(facts)
        point = self._draw() * sum(self.weights[at] for at in choice)
        for at in choice:
            point -= self.weights[at]
            if point < 0:
                break
        return self.children[at]

    def _reasons(self, facts: Facts) -> Reasons:
        choice = self.open(facts)
        total = sum(self.weights[at] for at in choice)
        for at, weight in enumerate(self.weights):
            if at not in choice:
                yield State.NOT, "its weight is 0" if not weight else "it is left out"
            else:
                state = State.CHOSEN if len(choice) == 1 else State.POSSIBLE
                yield state, f"by weight it gets {weight / total:.1%} of the requests"


class Sticking(Balance):
    """The same, but requests of one API key with equal fields go to the same target.

    By weighted rendezvous hashing: each target draws a number h from a hash of the identity and its own name, and the
    largest ln(h) / weight wins (J. Resch, New Hashing Algorithms for Data Storage, 2015). Nothing is stored, every
    worker and gateway decides alike, and when a target leaves, only the requests that were its own move.
    """

    __slots__ = ("_fields", "_names", "_ttl")

    def __init__(
        self, children: list[Step], weights: list[float], sticky: Sticky, where: str, name: str | None
    ) -> None:
        super().__init__(children, weights, where=where, name=name)
        self._fields = [(field, getter(field)) for field in sticky.hash_fields]
        self._names = _labels(children, weights)
        self._ttl = sticky.ttl

    def _identity(self, facts: Facts) -> bytes:
        parts = [facts.tenant]
        for field, read in self._fields:
            value = read(facts)
            parts.append(f"{field}:{'' if value is MISSING else msgspec.json.encode(value).decode()}")
        return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _chosen(self, facts: Facts) -> int:
        identity = self._identity(facts)
        if self._ttl is not None:
            # Each identity has its own moment to change, so that not all of them move at once.
            offset = int.from_bytes(identity[:4], "big") / 2**32 * self._ttl
            identity += str(int((facts.wall + offset) // self._ttl)).encode()
        return max(self.open(facts), key=lambda at: _draw_of(identity, self._names[at], self.weights[at]))

    def choice(self, facts: Facts) -> Step:
        """The child that this identity belongs to."""
        return self.children[self._chosen(facts)]

    def _reasons(self, facts: Facts) -> Reasons:
        chosen = self._chosen(facts)
        for at in range(len(self.children)):
            if at == chosen:
                yield State.CHOSEN, "requests of this API key with these fields stick to it"
            else:
                yield State.NOT, "requests of this API key with these fields stick to another"


def _draw_of(identity: bytes, name: bytes, weight: float) -> float:
    drawn = int.from_bytes(blake2b(identity, digest_size=8, key=name).digest(), "big")
    return log((drawn + 1) / (2**64 + 1)) / weight


def _labels(children: list[Step], weights: list[float]) -> list[bytes]:
    """What tells each target from its siblings, whatever their order: name and weight; of twins, also which it is."""
    seen: Counter[str] = Counter()
    labels = []
    for child, weight in zip(children, weights, strict=True):
        named = child.name or ",".join(leaf.target.name for leaf in child.leaves())
        text = f"{named}\0{weight:g}"
        labels.append(blake2b(f"{text}\0{seen[text]}".encode(), digest_size=32).digest())
        seen[text] += 1
    return labels


class Conditional(Single):
    """The target of the first condition that holds, else the default."""

    __slots__ = ("_default", "_tests")

    def __init__(
        self, children: list[Step], tests: list[tuple[Test, int]], default: int | None, where: str, name: str | None
    ) -> None:
        """`tests` with the index of the child that each leads to."""
        super().__init__(children, where, name, "conditional")
        self._tests = tests
        self._default = default

    def _chosen(self, facts: Facts) -> tuple[int | None, int | None]:
        """Which child, and the condition that led to it."""
        for number, (holds, at) in enumerate(self._tests):
            if holds(facts):
                return at, number
        return self._default, None

    def choice(self, facts: Facts) -> Step:
        """The child that the conditions lead to. Raises Refused (400) where they lead nowhere."""
        chosen = self._default
        for holds, at in self._tests:
            if holds(facts):
                chosen = at
                break
        if chosen is None:
            message = "Query router did not resolve to any valid target"
            raise Refused(Kind.INVALID_REQUEST, message, param=f"{self.where}.strategy", code="no_target")
        return self.children[chosen]

    def _reasons(self, facts: Facts) -> Reasons:
        chosen, number = self._chosen(facts)
        for at in range(len(self.children)):
            leading = [f"conditions[{n}]" for n, (_, to) in enumerate(self._tests) if to == at]
            if at == chosen:
                yield (
                    State.CHOSEN,
                    "no condition holds, it is the default"
                    if number is None
                    else (f"conditions[{number}] is the first that holds"),
                )
            elif not leading:
                yield State.NOT, "no condition that holds leads to it"
            elif number is None:
                yield State.NOT, f"{' and '.join(leading)} {'does' if len(leading) == 1 else 'do'} not hold"
            else:
                yield State.NOT, f"conditions[{number}] holds first; {' and '.join(leading)} would lead here"


Step = Leaf | Single
