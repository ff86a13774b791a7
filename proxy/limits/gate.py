"""A concurrency limit over all workers, and the fair, bounded queue before it.

Taking a permit: under the row's lock, if the sum of all columns is below the limit, one is added to ours. Giving it
back: one less in our column, and if anybody waits, one of the workers that have waiters is chosen, in turn and in
proportion to the weights of what waits there, and woken to take it. A newcomer takes no permit while others wait.

What holds over workers: the limit, exactly. Within a worker, flows are served by deficit round robin (`fair`). Between
workers the turns are in proportion to what waits, so a flow that waits in several workers has a turn in each.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from itertools import accumulate
from time import monotonic

from proxy.limits.fair import Fair
from proxy.limits.host import Host
from proxy.limits.memory import Memory, Mode, Row

_LOOK_EVERY = 0.02  # seconds; in case that nobody rings
_LEASE = 0.05  # seconds that a request without a queue waits for a permit that another host may give back

_ASKING = 16  # requests that may do so at once, or as many as the limit

Waiter = asyncio.Future[bool]


class Gate:
    """`limit` None: no limit, only a count. `size` and `timeout` (seconds) bound the queue."""

    __slots__ = (
        "_host",
        "_locks",
        "_look",
        "_memory",
        "limit",
        "queue",
        "row",
        "size",
        "timeout",
        "u32",
        "used",
        "waits",
    )

    def __init__(self, host: Host, row: Row) -> None:
        self._host = host
        self._memory = host.memory
        self._locks = host.memory.locks
        self.u32 = host.memory.u32
        self._look: asyncio.TimerHandle | None = None
        self.row = row
        self.used = row.my_used
        """Which of the cells `u32` counts the permits that this process has given."""
        self.limit: int | None = None
        self.size = 0
        self.timeout = 1.0
        self.waits = False
        """Whether anybody may ever wait here."""
        self.queue: Fair[Waiter] = Fair()
        host.gates[row.at] = self

    def set(self, limit: int | None, size: int, timeout: float) -> None:
        """Changes the limit and the queue; what is in them stays."""
        self.limit, self.size, self.timeout = limit, size, timeout
        self.waits = limit is not None and (size > 0 or self._host.shared)
        if self.queue:
            self.poke()

    @property
    def capacity(self) -> int:
        """How many may be in flight on this host now."""
        limit = 1 << 31 if self.limit is None else self.limit
        if not self._host.shared or self.limit is None:
            return limit
        memory, at = self._memory, self.row.at
        mode = memory.i64[Memory.MODE // 8]
        if mode == Mode.CLOSED or monotonic() > memory.f64[Memory.VALID_UNTIL // 8]:
            return 0
        held, share = max(0, memory.i64[(at + Memory.CAPACITY) // 8]), memory.i64[(at + Memory.SHARE) // 8]
        if mode == Mode.SHARE:
            return min(limit, max(held, 1, limit // max(1, memory.i64[Memory.LIVE // 8])))
        return min(limit, held if share < 0 else min(held, share))

    @property
    def closed(self) -> bool:
        """Whether nobody may come in because limits cannot be shared."""
        return self._host.shared and self._memory.i64[Memory.MODE // 8] == Mode.CLOSED

    # -- permits. `room` is called with the row's lock held.

    def room(self, *, waiting: bool = False) -> bool:
        """Whether there is a permit; for newcomers, only while nobody waits."""
        if self.limit is None:
            return True
        memory, row = self._memory, self.row
        if self.waits and not waiting and any(memory.u32s(row.waiting)):
            return False
        return sum(memory.u32s(row.used)) < (self.capacity if self._host.shared else self.limit)

    def shut(self, flow: str) -> bool:
        """Whether a newcomer would find no permit and no place to wait, not even another flow's."""
        memory, row = self._memory, self.row
        if self.limit is None or self._host.shared or sum(memory.u32s(row.used)) < self.limit:
            return False
        if not self.size:
            return True
        if sum(memory.u32s(row.waiting)) < self.size:
            return False
        return max(self.queue.longest, *memory.u32s(row.longest)) <= self.queue.waiting(flow) + 1

    def _take(self) -> bool:
        if not self._locks.acquire(self.row.at):
            return False
        try:
            if not self.room(waiting=True):
                return False
            self.u32[self.used] += 1
            return True
        finally:
            self._locks.release(self.row.at)

    def give(self) -> None:
        """Returns a permit, and wakes one of those who wait for it."""
        self.u32[self.used] -= 1
        if self.waits:
            self.pass_on()

    def pass_on(self) -> None:
        """Wakes one of those who wait for a permit that was returned."""
        row, memory = self.row, self._memory
        weights = memory.u32s(row.weight)
        total = sum(weights)
        if not total:
            return
        turn = (row.at + Memory.TURN) // 4
        point = self.u32[turn] % total
        # Steps of one flow's weight: a worker with twice the weight waiting has twice the turns.
        self.u32[turn] = (self.u32[turn] + min(weight for weight in weights if weight)) & 0xFFFFFFFF
        slot = bisect_right(list(accumulate(weights)), point)
        if slot == memory.slot:
            self._admit()
        else:
            self._host.ring(slot, row.at)

    # -- waiting

    async def wait(self, flow: str, weight: int) -> bool:
        """Waits for a permit: True with it, False when there is no place to wait or the time is over."""
        if not self.waits or not self._line_up(flow):
            return False
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self.queue.push(flow, weight, waiter)
        self._publish()
        end = loop.call_later(self.timeout if self.size else _LEASE, self._expire, flow, waiter)
        if self._look is None:
            self._look = loop.call_later(_LOOK_EVERY, self._look_again, loop)
        if self._host.shared:
            self._host.ask(self.row.at)
        self._admit()  # what was given back in between
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.give()
            else:
                self.queue.discard(flow, waiter)
                self._publish()
            raise
        finally:
            end.cancel()

    def _line_up(self, flow: str) -> bool:
        """Whether there is a place in the queue: a free one, or that of the newest of a flow that has more waiting."""
        row, memory = self.row, self._memory
        if self.size == 0:
            # A moment's wait for a permit that another host may have to spare; not while nobody could be asked.
            if memory.i64[Memory.MODE // 8] != Mode.GOOD:
                return False
            return sum(memory.u32s(row.waiting)) < max(_ASKING, self.limit or 0)
        if sum(memory.u32s(row.waiting)) < self.size:
            return True
        mine = self.queue.waiting(flow)
        if self.queue.longest > mine + 1:
            self._evict()
            return True
        longest = memory.u32s(row.longest)
        most = max(longest)
        if most <= mine + 1:
            return False
        slot = longest.index(most)
        with memory.locked(row.at):
            self.u32[row.evict // 4 + slot] += 1
        self._host.ring(slot, row.at)
        return True

    def _evict(self) -> None:
        waiter = self.queue.evict()
        self._publish()
        if waiter is not None and not waiter.done():
            waiter.set_result(False)

    def _expire(self, flow: str, waiter: Waiter) -> None:
        if not waiter.done() and self.queue.discard(flow, waiter):
            self._publish()
            waiter.set_result(False)

    def poke(self) -> None:
        """Looks anew: a permit came back, the limit or the lease changed, or there are too many here."""
        row = self.row
        if self.u32[row.my_evict]:
            with self._memory.locked(row.at):
                count, self.u32[row.my_evict] = self.u32[row.my_evict], 0
            for _ in range(count):
                self._evict()
        if self.queue:
            self._admit()
        elif self.waits:
            self.pass_on()  # this worker was meant, but those who waited here have gone

    def _admit(self) -> None:
        """Gives permits to those who wait, as far as there are any."""
        queue = self.queue
        changed = False
        while queue and self._take():
            waiter = queue.pop()
            changed = True
            if waiter.done():
                self.u32[self.used] -= 1
            else:
                waiter.set_result(True)
        if changed:
            self._publish()

    def _publish(self) -> None:
        queue, row = self.queue, self.row
        self.u32[row.my_waiting] = len(queue)
        self.u32[row.my_weight] = queue.weight
        self.u32[row.my_longest] = queue.longest

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look = None
        self.poke()
        if self.queue:
            self._look = loop.call_later(_LOOK_EVERY, self._look_again, loop)
            if self._host.shared:
                self._host.ask(self.row.at)
