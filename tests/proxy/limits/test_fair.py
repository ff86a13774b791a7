"""Deficit round robin: everyone has a turn, in proportion to weight, whatever the others have waiting."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.limits.fair import COST, WEIGHTS, Fair

FLOWS = st.sampled_from("abcd")
WEIGHT = {"a": WEIGHTS["high"], "b": WEIGHTS["normal"], "c": WEIGHTS["normal"], "d": WEIGHTS["low"]}


def test_a_quiet_flow_is_next_whatever_a_noisy_one_has_waiting() -> None:
    queue: Fair[str] = Fair()
    for turn in range(100):
        queue.push("noisy", 16, f"noisy-{turn}")
    queue.push("quiet", 16, "quiet")
    assert "quiet" in [queue.pop() for _ in range(2)]


@given(st.dictionaries(FLOWS, st.sampled_from(sorted(WEIGHTS)), min_size=2))
def test_over_time_turns_are_in_proportion_to_weights(weights: dict[str, str]) -> None:
    queue: Fair[str] = Fair()
    rounds = 64
    for flow, name in weights.items():
        for _ in range(rounds * 8):
            queue.push(flow, WEIGHTS[name], flow)
    total = sum(WEIGHTS[name] for name in weights.values())
    served = Counter(queue.pop() for _ in range(rounds * total // COST))
    for flow, name in weights.items():
        assert abs(served[flow] - rounds * WEIGHTS[name] / COST) <= 4


def test_nobody_who_left_keeps_credit() -> None:
    queue: Fair[int] = Fair()
    queue.push("a", 64, 1)
    queue.pop()
    for item in range(4):
        queue.push("a", 16, item)
        queue.push("b", 16, 10 + item)
    assert [queue.pop() for _ in range(4)] == [0, 10, 1, 11]


def test_an_empty_queue_says_so() -> None:
    queue: Fair[int] = Fair()
    assert (queue.longest, queue.weight, len(queue), queue.evict()) == (0, 0, 0, None)
    with pytest.raises(IndexError):
        queue.pop()


class Machine(RuleBasedStateMachine):
    """Beside a plain model: each flow in order, none lost, none twice."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Fair[int] = Fair()
        self.model: dict[str, list[int]] = {flow: [] for flow in WEIGHT}
        self.next = 0

    @rule(flow=FLOWS)
    def push(self, flow: str) -> None:
        self.queue.push(flow, WEIGHT[flow], self.next)
        self.model[flow].append(self.next)
        self.next += 1

    @precondition(lambda self: len(self.queue))
    @rule()
    def pop(self) -> None:
        item = self.queue.pop()
        flow = next(flow for flow, line in self.model.items() if item in line)
        assert self.model[flow].pop(0) == item

    @precondition(lambda self: len(self.queue))
    @rule()
    def evict(self) -> None:
        most = max(len(line) for line in self.model.values())
        item = self.queue.evict()
        flow = next(flow for flow, line in self.model.items() if item in line)
        assert len(self.model[flow]) == most
        assert self.model[flow].pop() == item

    @rule(flow=FLOWS, data=st.data())
    def discard(self, flow: str, data: st.DataObject) -> None:
        line = self.model[flow]
        item = data.draw(st.sampled_from(line)) if line else -1
        assert self.queue.discard(flow, item) is bool(line)
        if line:
            line.remove(item)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == sum(map(len, self.model.values()))
        assert self.queue.longest == max(map(len, self.model.values()))
        assert self.queue.weight == sum(WEIGHT[flow] for flow, line in self.model.items() if line)


TestMachine = Machine.TestCase
