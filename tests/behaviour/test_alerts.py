"""Who is told that a budget is nearly spent, and how often: over several hosts, through refusals and through deaths."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from proxy.budgets import Budgets, Claim
from proxy.config.settings import RedisSettings
from proxy.leases import RedisClaims
from proxy.ports import Budget, Limits, Secret
from proxy.redis_link import RedisLink
from tests.behaviour.rig import CHAT, Rig
from tests.behaviour.test_rates_and_budgets import body_of
from tests.fakes.redis_server import RedisServer
from tests.fakes.upstream import Scripted, ok

SMALL = {**CHAT, "max_tokens": 50}
COST = 60


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def link(redis: RedisServer) -> AsyncIterator[RedisLink]:
    made = RedisLink(redis.url)
    yield made
    await made.close()


class Place:
    """Gateways of one budget, a provider whose answers cost 60 tokens each, and the address that is told."""

    def __init__(self, redis: RedisServer | None = None, *, hosts: int = 1, status: int = 200) -> None:
        self._redis, self._hosts = redis, hosts
        self.hook = Scripted(play=lambda asked: [ok(b"{}", status)])
        self.upstream = Scripted(play=lambda asked: [ok(body_of(COST))])
        self.rigs: list[Rig] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Place:
        await self._stack.enter_async_context(self.hook)
        await self._stack.enter_async_context(self.upstream)
        budget = Budget(tokens=2000, window="total", alert_threshold=300, webhook=f"{self.hook.url}/alert")
        for _ in range(self._hosts):
            rig = Rig(openai=self.upstream.url, limits=Limits(budget=budget))
            if self._redis is not None:
                rig.file = msgspec.structs.replace(rig.file, redis=RedisSettings(url=Secret(self._redis.url)))
            self.rigs.append(await self._stack.enter_async_context(rig))
        for rig in self.rigs:
            await rig.until(lambda rig=rig: rig.gateway.host.memory.leads)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def spend(self, times: int = 6) -> None:
        """So many requests at each host; what a slice cannot hold yet is asked again."""
        for _ in range(times):
            for rig in self.rigs:
                while (await rig.post("/v1/chat/completions", SMALL)).status != 200:
                    pass

    async def noticed(self) -> None:
        """Until each host has seen the threshold, and holds it for told."""
        for rig in self.rigs:
            (limiter,) = rig.gateway.live.limiters.all.values()
            assert limiter.meter is not None
            await rig.until(lambda meter=limiter.meter: meter.spent >= 300)
            await rig.until(lambda limiter=limiter: limiter.alerting() is None)

    @property
    def told(self) -> list[dict[str, object]]:
        return [json.loads(asked.body) for asked in self.hook.requests]


async def test_two_hosts_tell_of_a_threshold_once(redis: RedisServer) -> None:
    async with Place(redis, hosts=2) as place:
        await place.spend()
        await place.noticed()
        assert [each["event"] for each in place.told] == ["budget.threshold"]


async def test_without_redis_each_host_tells_once(redis: RedisServer) -> None:
    async with Place(redis, hosts=2) as place:
        await place.spend(1)
        redis.kill()
        for rig in place.rigs:
            (limiter,) = rig.gateway.live.limiters.all.values()
            await rig.until(lambda limiter=limiter: not limiter.meter.pooled)
        await place.spend(6)
        await place.noticed()
        assert len(place.told) == 2
        redis.start()
        for rig in place.rigs:
            (limiter,) = rig.gateway.live.limiters.all.values()
            await rig.until(lambda limiter=limiter: limiter.meter.pooled)
        await place.spend(1)
        await place.noticed()
        assert len(place.told) == 2


async def test_a_webhook_that_refuses_is_told_once_and_shows_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with Place(status=404) as place:
        with caplog.at_level(logging.ERROR, "loopway"):
            await place.spend()
            await place.noticed()
        assert len(place.told) == 1
        assert [record.getMessage() for record in caplog.records] == [
            "the webhook of the budget of the API key 'test' answered 404, so it is not told again; look at its address"
        ]


async def test_who_dies_while_telling_leaves_it_to_the_next_leader(link: RedisLink) -> None:
    async with Place() as place:
        (rig,) = place.rigs
        await rig.gateway.budgets.stop()
        await place.spend()
        limiters, claims = rig.gateway.live.limiters, RedisClaims(link, "host")
        asked: list[str] = []
        over = asyncio.Event()

        async def never(url: str, message: bytes) -> int:
            asked.append("dead")
            await over.wait()
            return 200

        async def answered(url: str, message: bytes) -> int:
            asked.append("next")
            return 200

        dead = Budgets(limiters, rig.store, never, claims)
        dead.tell()
        await rig.until(lambda: asked)
        following = Budgets(limiters, rig.store, answered, claims)
        following.tell()
        await place.noticed()
        following.tell()
        assert asked == ["dead", "next"]
        over.set()
        await rig.until(lambda: not dead._telling)


async def test_a_claim_is_one_host_s_until_it_was_told(redis: RedisServer, link: RedisLink) -> None:
    one, other = RedisClaims(link, "one"), RedisClaims(link, "other")
    assert await one.take("k:1:0") is Claim.MINE
    assert await other.take("k:1:0") is Claim.ANOTHERS
    assert await one.take("k:1:0") is Claim.MINE, "a worker of the same host came in the place of a dead one"
    assert await other.take("k:2:0") is Claim.MINE, "another window"
    assert 0 < redis.client().ttl("loopway:{limits}:alert:k:1:0") <= 120, "whoever vanishes leaves it to others"
    await one.told("k:1:0")
    assert await other.take("k:1:0") is Claim.TOLD
    redis.kill()
    assert await other.take("k:1:0") is Claim.MINE
