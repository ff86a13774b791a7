"""Who waits for what comes alone goes on in the call that brings it, and otherwise as with any future."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any
from unittest import mock

import pytest

from proxy.turns import Turns


class Waiter:
    """A task that waits, and what became of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.turns = Turns(self.loop)
        self.seen: list[object] = []
        self.task = self.loop.create_task(self._wait())

    def open(self) -> None:
        self.turns.open(self.future)

    async def _wait(self) -> None:
        try:
            await self.future
            self.seen.append("open")
        except (asyncio.CancelledError, ValueError) as error:
            self.seen.append(type(error))
            raise

    async def outside(self, act: object) -> None:
        """Calls `act` as the loop calls a protocol: with no task running."""
        assert callable(act)
        done = self.loop.create_future()

        def call() -> None:
            act()
            done.set_result(list(self.seen))

        self.loop.call_soon(call)
        self.then = await done


async def test_a_task_goes_on_inside_the_call_that_fulfils_its_future() -> None:
    waiter = Waiter()
    await asyncio.sleep(0)
    await waiter.outside(waiter.open)
    assert waiter.then == ["open"]
    await waiter.task


async def test_where_a_task_runs_the_waiter_follows_in_the_next_turn() -> None:
    waiter = Waiter()
    await asyncio.sleep(0)
    waiter.turns.open(waiter.future)
    assert waiter.seen == []
    await waiter.task
    assert waiter.seen == ["open"]


async def test_a_future_that_is_open_already_keeps_nobody() -> None:
    waiter = Waiter()
    waiter.turns.open(waiter.future)
    waiter.turns.open(waiter.future)
    await waiter.task
    assert waiter.seen == ["open"]


async def test_cancelling_a_waiting_task_cancels_its_future() -> None:
    waiter = Waiter()
    await asyncio.sleep(0)
    waiter.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter.task
    assert waiter.future.cancelled()
    await waiter.outside(waiter.open)
    assert waiter.seen == [asyncio.CancelledError]


async def test_a_future_cancelled_from_outside_cancels_whom_it_keeps() -> None:
    waiter = Waiter()
    await asyncio.sleep(0)
    await waiter.outside(waiter.future.cancel)
    assert waiter.then == []
    with pytest.raises(asyncio.CancelledError):
        await waiter.task


async def test_a_task_cancelled_in_the_turn_in_which_its_future_is_fulfilled_ends_cancelled() -> None:
    waiter = Waiter()
    await asyncio.sleep(0)
    waiter.turns.open(waiter.future)
    waiter.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter.task


async def test_results_and_failures_arrive_as_from_any_future() -> None:
    first, second = Waiter(), Waiter()
    await asyncio.sleep(0)
    await first.outside(lambda: first.future.set_result(None))
    assert first.then == []
    await second.outside(lambda: second.future.set_exception(ValueError("no")))
    await first.task
    with pytest.raises(ValueError, match="no"):
        await second.task


async def test_the_task_goes_on_in_its_own_context() -> None:
    where = ContextVar("where", default="outside")
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    async def wait() -> str:
        where.set("inside")
        await future
        return where.get()

    task = loop.create_task(wait())
    await asyncio.sleep(0)
    loop.call_soon(Turns(loop).open, future)
    assert await task == "inside"
    assert where.get() == "outside"


async def test_of_many_that_are_read_in_one_turn_the_first_goes_on_at_once() -> None:
    loop = asyncio.get_running_loop()
    turns = Turns(loop)
    futures: list[asyncio.Future[None]] = [loop.create_future() for _ in range(3)]
    gone: list[int] = []

    async def wait(number: int) -> None:
        await futures[number]
        gone.append(number)

    tasks = [loop.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    seen: list[list[int]] = []

    def read() -> None:
        for future in futures:
            turns.open(future)
            seen.append(list(gone))

    with mock.patch.object(loop, "time", return_value=7.0):
        loop.call_soon(read)
        await asyncio.gather(*tasks)
    assert seen == [[0], [0], [0]]
    assert gone == [0, 1, 2]


class Writer:
    """A writer whose transport is itself; writes come into a list that all share."""

    def __init__(self, turns: Turns, name: bytes, said: list[bytes]) -> None:
        self.turns = turns
        self.name = name
        self.said = said
        self.unsent = b""
        self.transport: Any = self

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def read(self, data: bytes) -> None:
        """What a door does with bytes."""
        if self.unsent:
            self.unsent += data
        elif self.turns.first():
            self.write(self.name + data)
        else:
            self.unsent = self.name + data
            self.turns.later(self)


async def test_of_many_that_write_in_one_turn_the_first_does_at_once_and_the_others_at_its_end() -> None:
    loop = asyncio.get_running_loop()
    turns, said = Turns(loop), list[bytes]()
    writers = [Writer(turns, b"%d:" % number, said) for number in range(4)]
    writers[2].transport = None  # gone by then
    with mock.patch.object(loop, "time", return_value=7.0):
        for writer in writers:
            writer.read(b"a")
        writers[1].read(b"b")
        assert said == [b"0:a"]
        await asyncio.sleep(0)
        assert said == [b"0:a", b"1:ab", b"3:a"]
        assert not any(writer.unsent for writer in writers)
    with mock.patch.object(loop, "time", return_value=8.0):
        writers[3].read(b"c")
    assert said[-1] == b"3:c"


async def test_in_a_large_crowd_nobody_waits_for_more_than_a_few_others() -> None:
    loop = asyncio.get_running_loop()
    turns, said = Turns(loop), list[bytes]()
    with mock.patch.object(loop, "time", return_value=7.0):
        for number in range(100):
            Writer(turns, b"%d:" % number, said).read(b"a")
            assert len(said) > number - 32
        await asyncio.sleep(0)
    assert said == [b"%d:a" % number for number in range(100)]


async def test_what_a_task_raises_afterwards_stays_in_the_task() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    async def wait() -> None:
        await future
        raise ValueError("mine")

    task = loop.create_task(wait())
    await asyncio.sleep(0)
    loop.call_soon(Turns(loop).open, future)
    with pytest.raises(ValueError, match="mine"):
        await task
