"""The strategies that look at how targets do: the least busy, the fastest, the cheapest, and several at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf

from adapters.types import Usage
from proxy.config.facts import Facts
from proxy.config.leaf import Leaf, Race, Steps
from proxy.config.nodes import Hedge
from proxy.config.strategies import Reasons, Single, Step
from proxy.config.verdict import State

Score = Callable[[Leaf, Facts], float]

_TYPICAL = Usage(input=3000, output=1000)
"""What prices are compared by: three tokens read for one written, as most chats have it."""


def in_flight(leaf: Leaf, facts: Facts) -> float:
    """Requests at the target now, in this worker."""
    return 0.0 if leaf.health is None else leaf.health.in_flight


def latency(leaf: Leaf, facts: Facts) -> float:
    """Seconds until the target's answers begin, streams and whole answers apart; 0 while nothing is known."""
    return 0.0 if leaf.track is None else leaf.track.speed(facts.x.streamed).estimate(facts.now)


def price(leaf: Leaf, facts: Facts) -> float:
    """US dollars for a typical request with this model; a model without a price counts as the dearest."""
    asked = leaf.override_params.get("model", facts.x.model)
    target = leaf.target
    model = target.model_for(asked if isinstance(asked, str) else None)
    found = None if model is None else target.prices.find(model.partition("/")[2] if model[:1] == "@" else model)
    cost = None if found is None else found.cost(_TYPICAL)
    return inf if cost is None else cost


SCORES: dict[str, tuple[Score, str]] = {
    "least_busy": (in_flight, "{:.0f} requests in flight"),
    "lowest_latency": (latency, "answers begin after {:.3f} s"),
    "cheapest": (price, "{:.4f} USD for 3000 tokens in and 1000 out"),
}


class Ranked(Single):
    """The target with the lowest score; among equals, any. With `codes`, a listed status leads to the next lowest."""

    __slots__ = ("_below", "_draw", "_score", "_words", "codes")

    def __init__(
        self,
        mode: str,
        children: list[Step],
        codes: frozenset[int] | None,
        where: str,
        name: str | None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(children, where, name, mode)
        self._score, self._words = SCORES[mode]
        self._below = [child.leaves() for child in children]
        self._draw = draw
        self.codes = codes or frozenset()

    def _score_of(self, at: int, facts: Facts) -> float:
        """A node's score is that of its best target that may be asked."""
        leaves = [leaf for leaf in self._below[at] if leaf.usable(facts)] or self._below[at]
        return min(self._score(leaf, facts) for leaf in leaves)

    def settle(self, facts: Facts) -> Step:
        """This node: which child it comes to, the answers decide."""
        return self

    def steps(self, facts: Facts) -> Steps:
        """Children from the lowest score up, while their status is listed."""
        status = 0
        for _, _, at in sorted((self._score_of(at, facts), self._draw(), at) for at in self.open(facts)):
            status = yield from self.children[at].steps(facts)
            if status not in self.codes:
                break
        return status

    def _reasons(self, facts: Facts) -> Reasons:
        choice = self.open(facts)
        scores = {at: self._score_of(at, facts) for at in choice}
        best = [at for at in choice if scores[at] == min(scores.values())]
        for at in range(len(self.children)):
            if at not in choice:
                yield State.NOT, "it is left out"
                continue
            words = "it has no price" if scores[at] == inf else self._words.format(scores[at])
            if at in best:
                yield State.CHOSEN if len(best) == 1 else State.POSSIBLE, f"the lowest: {words}"
            else:
                yield State.NEXT if self.codes else State.NOT, f"not the lowest: {words}"


class Hedged(Single):
    """The first target; and the next one too, when it takes longer than it mostly does. Who answers first wins."""

    __slots__ = ("_below", "_delay", "_quantile", "codes")

    def __init__(
        self, children: list[Step], hedge: Hedge, codes: frozenset[int] | None, where: str, name: str | None
    ) -> None:
        super().__init__(children, where, name, "hedge")
        self._below = [child.leaves() for child in children]
        self._quantile = hedge.quantile
        self._delay = hedge.delay / 1000
        self.codes = codes

    def _patience(self, at: int, facts: Facts) -> float:
        """Seconds that a child gets before the next one is asked too."""
        leaf = next((leaf for leaf in self._below[at] if leaf.usable(facts)), self._below[at][0])
        known = None if leaf.track is None else leaf.track.speed(facts.x.streamed).quantile(self._quantile)
        return self._delay if known is None else known

    def settle(self, facts: Facts) -> Step:
        """This node: which child it comes to, the answers decide."""
        return self

    def steps(self, facts: Facts) -> Steps:
        """One race of all children."""
        choice = self.open(facts)
        if len(choice) == 1:
            return (yield from self.children[choice[0]].steps(facts))
        runs = [self.children[at].steps(facts) for at in choice]
        status = yield Race(runs, [self._patience(at, facts) for at in choice], self.codes, self.leaves())
        return status

    def _reasons(self, facts: Facts) -> Reasons:
        choice = self.open(facts)
        waited = 0.0
        for at in range(len(self.children)):
            if at not in choice:
                yield State.NOT, "it is left out"
            elif at == choice[0]:
                yield State.CHOSEN, "the first of the hedge's targets"
                waited += self._patience(at, facts)
            else:
                yield State.NEXT, f"asked too when no answer has begun after {waited:.3f} s, or those before it failed"
                waited += self._patience(at, facts)
