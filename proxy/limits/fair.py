"""Who is next: deficit round robin over flows, each first come, first served. Pure: no clock, no waiting.

A flow is what one API key has waiting. In each round it earns its weight, and what it has earned pays for its next
request, whose cost is the same for all (16). So over time flows are served in proportion to their weights, however many
requests each of them has waiting, and none is ever passed over for good.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

COST = 16
WEIGHTS = {"high": 64, "normal": 16, "low": 4}


class Fair(Generic[T]):
    """A queue of flows. `weight` is the sum of the weights of those that wait, `longest` how many the longest has."""

    __slots__ = ("_earned", "_flows", "_size", "_weights", "weight")

    def __init__(self) -> None:
        self._flows: OrderedDict[str, deque[T]] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._earned: dict[str, int] = {}
        self._size = 0
        self.weight = 0

    def __len__(self) -> int:
        return self._size

    @property
    def longest(self) -> int:
        """How many the longest flow has waiting."""
        return max(map(len, self._flows.values()), default=0)

    def waiting(self, flow: str) -> int:
        """How many one flow has waiting."""
        return len(self._flows.get(flow, ()))

    def push(self, flow: str, weight: int, item: T) -> None:
        """Adds to the end of a flow."""
        line = self._flows.get(flow)
        if line is None:
            line = self._flows[flow] = deque()
            self._weights[flow] = weight
            self._earned[flow] = 0
            self.weight += weight
        line.append(item)
        self._size += 1

    def pop(self) -> T:
        """Takes the next one. Raises IndexError when nobody waits."""
        if not self._size:
            raise IndexError("nobody waits")
        while True:
            flow, line = next(iter(self._flows.items()))
            if self._earned[flow] < COST:
                # A turn begins with what it earns; what does not suffice is kept for the next round.
                self._earned[flow] += self._weights[flow]
                if self._earned[flow] < COST:
                    self._flows.move_to_end(flow)
                    continue
            self._earned[flow] -= COST
            item = line.popleft()
            self._took(flow, line)
            if line and self._earned[flow] < COST:
                self._flows.move_to_end(flow)
            return item

    def discard(self, flow: str, item: T) -> bool:
        """Takes one out that does not want to wait any more; False if it is not here."""
        line = self._flows.get(flow)
        if line is None or item not in line:
            return False
        line.remove(item)
        self._took(flow, line)
        return True

    def evict(self) -> T | None:
        """Takes the newest one out of the longest flow."""
        if not self._size:
            return None
        flow, line = max(self._flows.items(), key=lambda entry: len(entry[1]))
        item = line.pop()
        self._took(flow, line)
        return item

    def _took(self, flow: str, line: deque[T]) -> None:
        self._size -= 1
        if not line:
            # Who leaves keeps no credit: it would be a burst later.
            del self._flows[flow], self._earned[flow]
            self.weight -= self._weights.pop(flow)
