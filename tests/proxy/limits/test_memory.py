"""The memory that workers share: one row for one identity, and nothing of a dead worker stays."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from proxy.errors import Refused
from proxy.limits.memory import Full, Memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory.create(2)
    memory.attach()
    yield memory
    memory.detach()


def child(work: Callable[[], None]) -> int:
    """A process that does this and then stays until it is killed; it has done it when this returns."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(done, b"x")
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_name_is_one_row_in_every_process(memory: Memory) -> None:
    mine = memory.row("API key", "a")

    def work() -> None:
        memory.attach()
        row = memory.row("API key", "a")
        assert row.at == mine.at
        memory.u32[row.my_used] = 3
        other = memory.row("API key", "b")
        memory.u32[other.my_used] = 5

    pid = child(work)
    try:
        memory.u32[mine.my_used] = 1
        assert mine.held == 4
        assert memory.row("API key", "b").held == 5
        assert memory.row("virtual key", "b").held == 0
    finally:
        kill(pid)


def test_a_killed_workers_column_is_cleared_at_the_second_look(memory: Memory) -> None:
    row = memory.row("API key", "a")

    def work() -> None:
        memory.attach()
        own = memory.row("API key", "a")
        memory.u32[own.my_used] = 3
        memory.i64[own.my_reserved] = 1 << 40

    pid = child(work)
    assert memory.lead()
    for _ in range(3):
        memory.sweep()
    assert row.held == 3
    kill(pid)
    memory.sweep()
    assert row.held == 3
    memory.sweep()
    assert row.held == 0
    assert sum(memory.i64s(row.reserved)) == 0
    memory.u32[row.my_used] = 1
    memory.sweep()
    assert row.held == 1, "one's own is never cleared"


def test_whoever_leads_and_dies_is_followed_by_another(memory: Memory) -> None:
    def work() -> None:
        memory.attach()
        assert memory.lead()

    pid = child(work)
    assert not memory.lead()
    kill(pid)
    assert memory.lead()


def test_whoever_leads_and_is_stopped_is_followed_by_another_and_leaves_it_the_place(memory: Memory) -> None:
    says = memory.row("API key", "a").my_used

    def goes_on() -> None:
        while memory.u32[says] != 1:
            time.sleep(0.01)
        memory.u32[says] = 2 + sum(memory.lead() for _ in range(3))

    def work() -> None:
        memory.attach()
        assert memory.lead()
        threading.Thread(target=goes_on, daemon=True).start()

    def becomes(condition: Callable[[], bool]) -> None:
        ends = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < ends
            time.sleep(0.01)

    pid = child(work)
    assert not memory.lead()
    becomes(memory.lead)
    memory.f64[memory.SEEN // 8] += 60  # However slow this machine is, whoever leads now is heard.
    memory.u32[says] = 1
    becomes(lambda: memory.u32[says] >= 2)
    assert memory.u32[says] == 2
    assert memory.lead()
    kill(pid)


def test_a_lock_whose_holder_was_killed_opens_again(memory: Memory) -> None:
    row = memory.row("API key", "a")

    def work() -> None:
        memory.attach()
        assert memory.locks.acquire(row.at)

    pid = child(work)
    with pytest.raises(Refused, match="cannot be counted"), memory.locked(row.at):
        pass
    kill(pid)
    for _ in range(3):
        with memory.locked(row.at):
            pass


def test_a_slot_is_used_again_and_there_is_an_end_of_them(memory: Memory) -> None:
    others = [Memory.inherit(os.dup(memory.descriptor)) for _ in range(memory.slots - 1)]
    for other in others:
        assert other is not None
        other.attach()
    last = Memory.inherit(os.dup(memory.descriptor))
    assert last is not None
    with pytest.raises(Full):
        last.attach()
    assert others[3] is not None
    slot = others[3].slot
    others[3].detach()
    last.attach()
    assert last.slot == slot


def test_memory_of_another_version_is_not_inherited(memory: Memory) -> None:
    again = Memory.inherit(memory.descriptor)
    assert again is not None
    assert (again.id, again.slots) == (memory.id, memory.slots)
    memory.i64[(Memory.ID + 24) // 8] = 99
    assert Memory.inherit(memory.descriptor) is None
    assert Memory.inherit(100_000) is None


def test_rows_of_keys_that_are_gone_are_used_again_once_no_worker_knows_them(
    memory: Memory,
) -> None:
    other = Memory.inherit(os.dup(memory.descriptor))
    assert other is not None
    other.attach()
    memory.rows = other.rows = 5
    rows = [memory.row("API key", str(number)) for number in range(4)]
    theirs = other.row("API key", "1")
    with pytest.raises(Full, match="no room"):
        memory.row("API key", "new")
    memory.u32[rows[2].my_used] = 1
    for row in rows[1:]:
        memory.let_go(row)
    again = memory.row("API key", "new")
    assert again.at == rows[3].at, "1 is known to the other, somebody is in 2"
    assert other.row("API key", "new").at == again.at
    with pytest.raises(Full):
        memory.row("API key", "newer")
    other.let_go(theirs)
    newer = other.row("API key", "newer")
    assert newer.at == rows[1].at
    assert memory.row("API key", "newer").at == newer.at
    assert memory.row("API key", "0").at == rows[0].at
    assert memory.at(bytes(16)) is not None
    other.detach()
