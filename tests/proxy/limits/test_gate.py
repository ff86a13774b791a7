"""A concurrency limit with a queue, over several workers: exact, fair, bounded, and nobody waits for nothing."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest

from proxy.limits.gate import Gate
from proxy.limits.host import Host
from proxy.limits.memory import Memory


class Workers:
    """Several workers of one host in one loop, each with its gate of the same identity."""

    def __init__(self, count: int, limit: int, size: int = 0, timeout: float = 60.0) -> None:
        memory = Memory.create(count)
        self.hosts: list[Host] = []
        self.gates: list[Gate] = []
        for index in range(count):
            mine = memory if index == 0 else Memory.inherit(os.dup(memory.descriptor))
            assert mine is not None
            host = Host(mine)
            host.start(asyncio.get_running_loop())
            gate = Gate(host, mine.row("virtual key", "v"))
            gate.set(limit, size, timeout)
            self.hosts.append(host)
            self.gates.append(gate)

    @property
    def held(self) -> int:
        return self.gates[0].row.held

    @property
    def queued(self) -> int:
        return self.gates[0].row.queued

    async def take(self, worker: int, flow: str = "a", weight: int = 16) -> bool:
        gate = self.gates[worker]
        with gate._memory.locked(gate.row.at):
            if gate.room():
                gate.u32[gate.row.my_used] += 1
                return True
        return await gate.wait(flow, weight)

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()


@pytest.fixture
async def made() -> AsyncIterator[list[Workers]]:
    all_: list[Workers] = []
    yield all_
    for workers in all_:
        workers.stop()


async def settled() -> None:
    """Gives all that is on its way some turns of the loop, however long each of them takes."""
    for _ in range(10):
        await asyncio.sleep(0.005)


async def test_the_limit_is_one_for_all_workers(made: list[Workers]) -> None:
    made.append(workers := Workers(4, limit=3))
    taken = [await workers.take(worker) for worker in (0, 1, 2, 3, 0, 1)]
    assert taken == [True, True, True, False, False, False]
    workers.gates[1].give()
    assert await workers.take(3)
    assert not await workers.take(1)


async def test_a_permit_that_comes_back_goes_to_one_who_waits_in_another_worker(made: list[Workers]) -> None:
    made.append(workers := Workers(2, limit=1, size=8))
    assert await workers.take(0)
    waiting = asyncio.ensure_future(workers.take(1))
    await settled()
    assert (workers.queued, waiting.done()) == (1, False)
    workers.gates[0].give()
    assert await asyncio.wait_for(waiting, 30)
    assert (workers.held, workers.queued) == (1, 0)


async def test_a_newcomer_takes_nothing_while_others_wait(made: list[Workers]) -> None:
    made.append(workers := Workers(2, limit=1, size=8))
    assert await workers.take(0)
    first = asyncio.ensure_future(workers.take(1))
    await settled()
    second = asyncio.ensure_future(workers.take(0))
    await settled()
    workers.gates[0].give()
    done, _ = await asyncio.wait((first, second), timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    assert workers.held == 1
    workers.gates[1 if first in done else 0].give()
    assert await asyncio.wait_for(second if first in done else first, 30)


async def test_whoever_waits_too_long_is_told_so_and_holds_nothing(made: list[Workers]) -> None:
    made.append(workers := Workers(2, limit=1, size=8, timeout=0.05))
    assert await workers.take(0)
    assert not await workers.take(1)
    assert (workers.held, workers.queued) == (1, 0)


async def test_a_cancelled_waiter_leaves_at_once(made: list[Workers]) -> None:
    made.append(workers := Workers(2, limit=1, size=1))
    assert await workers.take(0)
    waiting = asyncio.ensure_future(workers.take(1))
    await settled()
    assert not await workers.take(0, "b"), "the queue is full"
    waiting.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert workers.queued == 0
    workers.gates[0].give()
    assert workers.held == 0


async def test_a_full_queue_makes_room_for_a_quiet_flow_at_the_expense_of_the_longest(made: list[Workers]) -> None:
    made.append(workers := Workers(2, limit=1, size=4))
    assert await workers.take(0)
    noisy = [asyncio.ensure_future(workers.take(0, "noisy")) for _ in range(4)]
    await settled()
    refused = asyncio.ensure_future(workers.take(0, "noisy"))
    quiet = [asyncio.ensure_future(workers.take(worker, f"quiet-{worker}")) for worker in (0, 1)]
    await settled()
    assert refused.done()
    assert not refused.result()
    assert [task.done() for task in noisy] == [False, False, True, True], "the newest two had to go"
    assert not any(task.done() for task in quiet)
    assert workers.queued == 4
    for task in (*noisy, *quiet):
        task.cancel()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_limit_holds_and_nothing_leaks(made: list[Workers], seed: int) -> None:
    made.append(workers := Workers(3, limit=4, size=16, timeout=0.05))
    dice = random.Random(seed)
    inside = most = 0

    async def visit(worker: int) -> None:
        nonlocal inside, most
        if not await workers.take(worker, dice.choice("abc"), dice.choice((4, 16, 64))):
            return
        inside += 1
        most = max(most, inside)
        try:
            await asyncio.sleep(dice.random() * 0.003)
        finally:
            inside -= 1
            workers.gates[worker].give()

    async def caller() -> None:
        for _ in range(25):
            task = asyncio.ensure_future(visit(dice.randrange(3)))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.004)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(caller() for _ in range(24)))
    assert most == 4
    assert (workers.held, workers.queued, inside) == (0, 0, 0)


async def test_a_raised_limit_lets_in_those_who_wait(made: list[Workers]) -> None:
    made.append(workers := Workers(1, limit=1, size=8))
    assert await workers.take(0)
    waiting = asyncio.ensure_future(workers.take(0))
    await settled()
    workers.gates[0].set(2, 8, 5)
    assert await asyncio.wait_for(waiting, 30)
