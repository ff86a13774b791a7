"""Rates and budgets over several hosts: together never more than the limit, and not much less."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.types import Dialect, Usage
from proxy.errors import Refused
from proxy.limits import windows
from proxy.limits.limiter import Limiter
from proxy.limits.memory import Memory, Mode
from proxy.limits.permit import Permit
from proxy.limits.rates import BUDGET
from proxy.limits.refusals import API_KEY
from proxy.ports import Budget, Limits, Rates
from tests.fakes.redis_server import RedisServer
from tests.proxy.leases.hosts import OneHost
from tests.proxy.leases.test_keeper import ready, until

X: Any = SimpleNamespace(
    path="/v1/chat/completions",
    body=b'{"max_tokens":5,"a":1}',
    dialect=Dialect.OPENAI_CHAT,
    key=SimpleNamespace(id="k", weight=16),
    leaf=None,
    need=None,
)
NEED = 6 + 5
"""Tokens that this reserves."""


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


class Key:
    """One API key on one host."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.one = OneHost(url, 1000, 0, 1.0)
        self.limiter = Limiter(self.one.host, API_KEY, "k", "k")
        self.limiter.set("key", limits)

    async def enter(self) -> Permit | None:
        try:
            return self.limiter.enter(X, None) or await self.limiter.wait(X, None)
        except Refused:
            return None

    async def all_of(self, count: int) -> None:
        """Enters so often, and goes on asking until it may: a slice comes over the network, when it comes."""
        async with asyncio.timeout(60):
            while count:
                count -= await self.many(1)

    async def many(self, count: int, usage: Usage | None = None) -> int:
        admitted = 0
        for _ in range(count):
            permit = await self.enter()
            if permit is not None:
                admitted += 1
                await asyncio.sleep(0.001)
                permit.leave(usage, answered=True)
        return admitted


Make = Callable[[Limits], Key]


@pytest.fixture
async def make(redis: RedisServer) -> AsyncIterator[Make]:
    keys: list[Key] = []

    def made(limits: Limits) -> Key:
        keys.append(Key(redis.url, limits))
        return keys[-1]

    yield made
    for key in keys:
        await key.one.stop()


@pytest.mark.parametrize("limit", [3, 50, 400])
async def test_a_rate_of_requests_is_one_for_all_hosts(make: Make, limit: int) -> None:
    hosts = [make(Limits(requests=Rates(per_day=limit))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    admitted = await asyncio.gather(*(key.many(limit + 20) for key in hosts))
    assert sum(admitted) <= limit
    for _ in range(20):
        if sum(admitted) == limit:
            break
        await asyncio.sleep(0.2)  # what one of them had to spare goes back
        admitted += await asyncio.gather(*(key.many(limit) for key in hosts))
    assert sum(admitted) == limit


async def test_a_bucket_of_many_costs_few_round_trips(make: Make) -> None:
    key = make(Limits(requests=Rates(per_day=10_000)))
    await ready(key.one)
    await key.all_of(10)
    rounds = key.one.keeper.rounds
    await key.all_of(1000)
    assert key.one.keeper.rounds - rounds < 40


async def test_tokens_are_settled_over_hosts(make: Make) -> None:
    hosts = [make(Limits(tokens=Rates(per_day=1000))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    used = 0
    for _ in range(12):
        admitted = await asyncio.gather(*(key.many(10, Usage(input=20, output=30)) for key in hosts))
        used += 50 * sum(admitted)
        await asyncio.sleep(0.1)
    print(f"used {used} of 1000")
    assert 900 <= used <= 1000 + 2 * 50, "each host may have had one in flight that used more than it reserved"


async def test_a_budget_is_one_for_all_hosts_and_passed_by_one_reservation_at_most(make: Make) -> None:
    hosts = [make(Limits(budget=Budget(tokens=1000, window="daily"))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    spent = 0
    for _ in range(15):
        admitted = await asyncio.gather(*(key.many(20, Usage(input=6, output=5)) for key in hosts for _ in range(5)))
        spent += NEED * sum(admitted)
        await asyncio.sleep(0.15)
    print(f"spent {spent} of 1000")
    assert 1000 - NEED <= spent < 1000 + NEED
    assert all(key.limiter.exhausted for key in hosts)


async def test_what_was_spent_is_told_to_a_redis_that_has_forgotten_it(make: Make, redis: RedisServer) -> None:
    key = make(Limits(budget=Budget(tokens=500, window="daily")))
    await ready(key.one)
    spent = NEED * await key.many(30, Usage(input=6, output=5))
    redis.client().flushall()
    for _ in range(10):
        spent += NEED * await key.many(20, Usage(input=6, output=5))
        await asyncio.sleep(0.1)
    assert 500 - NEED <= spent < 500 + NEED


def _taken(redis: RedisServer, key: Key, window: int = 0) -> int:
    """What Redis holds for spent or given out, of a budget in tokens."""
    field = f"b{(1 << 60) + window}"
    return int(redis.client().hget(f"loopway:{{limits}}:q:{key.limiter.row_name}", field) or 0)


@pytest.mark.parametrize("through", ["one host", "all hosts"])
async def test_what_is_in_flight_at_a_reset_counts_after_it(make: Make, redis: RedisServer, through: str) -> None:
    """Neither lost, nor so that what was reserved for it comes back to a window that never gave it out."""
    hosts = [make(Limits(budget=Budget(tokens=1000, window="total"))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    for key in hosts:
        await key.all_of(5)
    in_flight = [await key.enter() for key in hosts for _ in range(2)]
    await until(lambda: all(_pool(key) == 0 for key in hosts))  # what lay idle has gone back
    for key in hosts if through == "all hosts" else hosts[:1]:
        key.limiter.reset(int(time.time()))
    for n, permit in enumerate(in_flight):
        assert permit is not None
        permit.leave(Usage(input=2, output=1), answered=True)
        if n == 1:  # both of the first host, which tells of the reset with them
            await until(lambda: _taken(redis, hosts[0]) == 6)
    await until(lambda: _taken(redis, hosts[0]) == 12 and all(_pool(key) == 0 for key in hosts))
    await hosts[1].all_of(1)  # and who asks learns of it
    assert hosts[1].limiter.spending_now(time.time())[2] == hosts[0].limiter.spending_now(time.time())[2]


def _pool(key: Key) -> float:
    meter = key.limiter.meter
    assert meter is not None
    return float(meter.memory.f64[(meter.row.at + Memory.POOLS) // 8 + BUDGET])


async def test_what_is_in_flight_as_a_window_ends_counts_in_the_next(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [7]
    monkeypatch.setattr(windows, "window_id", lambda window, wall, since: now[0])
    monkeypatch.setattr(windows, "ends", lambda window, wall, since: 0.0)  # asked every time
    hosts = [make(Limits(budget=Budget(tokens=1000, window="daily"))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    for key in hosts:
        await key.all_of(5)
    in_flight = [await key.enter() for key in hosts for _ in range(2)]
    await until(lambda: all(_pool(key) == 0 for key in hosts))
    now[0] = 8
    for permit in in_flight:
        assert permit is not None
        permit.leave(Usage(input=2, output=1), answered=True)
    await until(lambda: _taken(redis, hosts[0], 8) == 12 and all(_pool(key) == 0 for key in hosts))


async def test_without_redis_each_host_has_its_share_of_a_rate(make: Make, redis: RedisServer) -> None:
    hosts = [make(Limits(requests=Rates(per_day=20))) for _ in range(2)]
    await ready(*(key.one for key in hosts))
    await until(lambda: all(key.one.host.memory.i64[Memory.LIVE // 8] == 2 for key in hosts))
    redis.kill()
    await until(lambda: all(key.one.mode == Mode.SHARE for key in hosts))
    began = time.monotonic()
    assert [await key.many(30) for key in hosts] == [10, 10]
    assert time.monotonic() - began < 1.8, "waiting for each refusal would be two seconds"
