"""Limits over several hosts: exact with Redis, a share without it, and back by themselves."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from proxy.limits.memory import Mode
from tests.fakes.redis_server import RedisServer
from tests.proxy.leases.hosts import Counted, OneHost

Make = Callable[..., OneHost]


@pytest.fixture(scope="module")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(_redis: RedisServer) -> Iterator[RedisServer]:
    _redis.client().flushall()
    yield _redis
    if _redis._process is None:
        _redis.start()
    _redis.resume()


@pytest.fixture
async def make(redis: RedisServer) -> AsyncIterator[Make]:
    hosts: list[OneHost] = []

    def made(limit: int = 10, size: int = 0, timeout: float = 5.0, *, strict: bool = False) -> OneHost:
        hosts.append(OneHost(redis.url, limit, size, timeout, strict=strict))
        return hosts[-1]

    yield made
    for host in hosts:
        await host.stop()


async def until(condition: Callable[[], bool], timeout: float = 30) -> float:
    began = time.monotonic()
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def ready(*hosts: OneHost) -> None:
    await until(lambda: all(host.gate._memory.f64[host.gate._memory.VALID_UNTIL // 8] > 0 for host in hosts))


async def test_what_one_host_does_not_use_another_can(make: Make) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await first.take_all(10)
    assert not await first.take()
    assert not await second.take()
    for _ in range(10):
        first.give()
    await second.take_all(10)
    assert not await first.take()
    second.give()
    await first.take_all(1)


@pytest.mark.parametrize(("limit", "size"), [(10, 64), (10, 0), (1, 64), (3, 64)])
async def test_two_busy_hosts_never_exceed_the_limit_and_both_are_served(make: Make, limit: int, size: int) -> None:
    first, second = make(limit, size), make(limit, size)
    await ready(first, second)
    counted, over, dice = Counted(), asyncio.Event(), random.Random(limit)
    crowds = asyncio.gather(*(counted.crowd(host, 12, over, dice) for host in (first, second)))
    await asyncio.sleep(2)
    over.set()
    served = await crowds
    print(f"N={limit}: at most {counted.most}, served {served}")
    assert counted.most == limit
    assert min(served) > max(served) / 10
    assert first.held == second.held == 0


async def test_one_round_trip_serves_many_requests(make: Make) -> None:
    host = make(1000)
    await ready(host)
    await host.take_all(10)
    rounds = host.keeper.rounds
    for _ in range(2000):
        assert await host.take()
        host.give()
    assert host.keeper.rounds - rounds <= 3


async def test_what_a_vanished_host_held_is_back_after_a_lease(make: Make) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await first.take_all(10)
    await first.stop(gracefully=False)
    began = time.monotonic()
    assert not await second.take()
    while not await second.take():
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    print(f"back after {took:.2f} s")
    assert 3.5 < took < 15, "4.5 s, and half a second on a machine that does nothing else"


async def test_a_host_that_leaves_gives_back_at_once(make: Make) -> None:
    first, second = make(2), make(2)
    await ready(first, second)
    await first.take_all(2)
    for _ in range(2):
        first.give()
    await first.stop()
    began = time.monotonic()
    await second.take_all(2)
    assert time.monotonic() - began < 4, "not after a lease's length"


async def test_a_pause_of_redis_shorter_than_a_lease_changes_nothing_for_those_who_hold(
    make: Make, redis: RedisServer
) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    counted, over, dice = Counted(), asyncio.Event(), random.Random(2)
    crowds = asyncio.gather(*(counted.crowd(host, 12, over, dice) for host in (first, second)))
    await asyncio.sleep(0.5)
    redis.pause()
    before = counted.served
    await asyncio.sleep(1.5)
    assert counted.served > before + 50
    # Nothing was given up, at one moment or another, that could not be had back.
    assert min(first.gate.capacity, second.gate.capacity) > 0
    redis.resume()
    await until(lambda: (first.mode, second.mode) == (Mode.GOOD, Mode.GOOD))
    await asyncio.sleep(0.5)
    over.set()
    served = await crowds
    print(f"at most {counted.most}, served {served}")
    assert counted.most == 10


async def test_without_redis_each_host_gives_out_its_share_and_then_all_is_as_before(
    make: Make, redis: RedisServer
) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await first.take_all(10)
    assert not await second.take()
    redis.kill()
    began = time.monotonic()
    assert not await second.take(), "the first one holds them all for now"
    assert time.monotonic() - began < 2, "nor does anybody wait for a lease to end"
    await until(lambda: second.mode == Mode.SHARE)
    assert [await second.take() for _ in range(6)] == [True] * 5 + [False]
    began = time.monotonic()
    for _ in range(100):
        assert not await second.take()
    assert time.monotonic() - began < 4, "nobody waits for what cannot be asked: that would be 5 s"
    redis.start()
    # Each has told what it holds, and the first has heard that together that is too much.
    await until(lambda: (first.mode, second.mode) == (Mode.GOOD, Mode.GOOD) and first.gate.capacity == 5)
    for _ in range(5):
        first.give()
    assert not await first.take(), "fifteen were too many: five had to end"
    for _ in range(5):
        first.give()
        second.give()
    # Redis was told everything anew, and waits a lease's length in case somebody has not spoken yet.
    await second.take_all(10)
    assert not await first.take()


async def test_the_strict_policy_lets_nobody_in_without_redis(make: Make, redis: RedisServer) -> None:
    host = make(10, strict=True)
    await ready(host)
    await host.take_all(1)
    redis.pause()
    await until(lambda: host.mode == Mode.CLOSED)
    assert not await host.take()
    assert host.gate.closed
    redis.resume()
    await until(lambda: host.mode == Mode.GOOD)
    await host.take_all(1)


@pytest.mark.parametrize("size", [64, 0], ids=["queue", "no queue"])
async def test_redis_that_has_forgotten_everything_is_told_and_all_goes_on(
    make: Make, redis: RedisServer, size: int
) -> None:
    first, second = make(10, size), make(10, size)
    await ready(first, second)
    counted, over, dice = Counted(), asyncio.Event(), random.Random(3)
    crowds = asyncio.gather(*(counted.crowd(host, 12, over, dice) for host in (first, second)))
    await until(lambda: counted.served > 50)
    for _ in range(4):
        redis.client().flushall()
        goal = counted.served + 100
        assert await until(lambda goal=goal: counted.served > goal) < 4, "not after a lease's length"
    over.set()
    served = await crowds
    print(f"at most {counted.most}, served {served}")
    assert counted.most == 10


@pytest.mark.parametrize("how", ["flushed", "restarted", "restored"])
async def test_what_is_free_is_given_out_soon_after_redis_has_lost_what_it_knew_and_no_more(
    make: Make, redis: RedisServer, how: str
) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await second.take_all(10)
    if how == "restored":
        redis.client().save()  # a copy in which the second has all
    for _ in range(10):
        second.give()
    await first.take_all(10)
    for _ in range(4):
        first.give()
    if how == "flushed":
        redis.client().flushall()
    else:
        redis.kill()
        redis.start()
        (redis.directory / "dump.rdb").unlink(missing_ok=True)
    began = time.monotonic()
    await second.take_all(4)
    assert time.monotonic() - began < 4, "not after a lease's length"
    assert not await second.take()
    assert not await first.take()
    for _ in range(6):
        first.give()
    await second.take_all(6)
    assert not await first.take()


async def test_hosts_tell_what_they_hold_long_before_redis_forgets_it(make: Make, redis: RedisServer) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await first.take_all(10)
    client = redis.client()
    (row,) = client.keys("*:c:*")
    client.delete(row)  # as after a day without a word
    first.keeper._retell_at = 0.0
    await until(lambda: bool(client.exists(row)))
    assert not await second.take()


async def test_a_host_that_stood_still_for_longer_than_its_lease_asks_before_it_lets_anybody_in(make: Make) -> None:
    first, second = make(10), make(10)
    await ready(first, second)
    await first.take_all(10)
    for _ in range(10):
        first.give()
    # As if it had been stopped: no beat, and its lease ends.
    assert first.keeper._task is not None
    first.keeper._task.cancel()
    memory = first.host.memory
    memory.f64[memory.VALID_UNTIL // 8] = time.monotonic() - 1
    await second.take_all(10)
    assert not await first.take()
    first.keeper.start()
    assert not await first.take()
    for _ in range(10):
        second.give()
    await first.take_all(1)
