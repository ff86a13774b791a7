"""Kept answers of several gateways: one Redis between them, and none when it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cache.shared import Shared
from proxy.redis_link import RedisLink
from tests.behaviour.client import Answer
from tests.behaviour.rig import CHAT, Rig, virtual_key
from tests.fakes.provider import Provider
from tests.fakes.redis_server import RedisServer

CONFIG = {"pc-c": {"virtual_key": "openai-a", "cache": {"mode": "simple"}}}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


class _Linked(Rig):
    """A gateway whose cache has a link of its own."""

    async def linked(self, redis: RedisServer) -> RedisLink:
        link = RedisLink(redis.url, timeout=1.0)
        cache = self.gateway.cache
        cache.shared = Shared(link, cache.memory.largest)
        cache.shared.listen(cache.memory.drop)
        await self.until(lambda: b"loopway:answer:dropped" in redis.client().pubsub_channels())
        return link

    async def ask(self, **headers: str) -> Answer:
        return await self.post("/v1/chat/completions", CHAT, config="pc-c", **headers)


def _rig(provider: Provider) -> _Linked:
    return _Linked(virtual_keys=(virtual_key("openai-a", provider.url),), configs=CONFIG)


def _status(answer: Answer) -> str | None:
    return answer.headers.get("x-portkey-cache-status")


async def test_an_answer_of_one_gateway_serves_another(provider: Provider, redis: RedisServer) -> None:
    async with _rig(provider) as one, _rig(provider) as other:
        links = [await one.linked(redis), await other.linked(redis)]
        first = await one.ask()
        await one.gateway.cache.close()
        second = await other.ask()
        assert (_status(first), _status(second)) == ("MISS", "HIT")
        assert first.body == second.body
        assert len(provider.requests()) == 1
        redis.kill()
        assert _status(await other.ask()) == "HIT"
        for link in links:
            await link.close()


async def test_a_forced_refresh_reaches_the_others(provider: Provider, redis: RedisServer) -> None:
    async with _rig(provider) as one, _rig(provider) as other:
        links = [await one.linked(redis), await other.linked(redis)]
        await one.ask()
        await one.gateway.cache.close()
        assert _status(await other.ask()) == "HIT"
        fresh = await one.ask(**{"x-portkey-cache-force-refresh": "true"})
        assert _status(fresh) == "REFRESH"
        await one.gateway.cache.close()
        await other.until(lambda: not len(other.gateway.cache.memory))
        assert (await other.ask()).body == fresh.body
        assert len(provider.requests()) == 2
        for link in links:
            await link.close()


async def test_without_redis_every_answer_still_comes(provider: Provider, redis: RedisServer) -> None:
    async with _rig(provider) as rig:
        link = await rig.linked(redis)
        redis.kill()
        assert _status(await rig.ask()) == "MISS"
        assert _status(await rig.ask()) == "HIT"
        await link.close()


async def test_an_entry_that_does_not_decode_is_a_miss(provider: Provider, redis: RedisServer) -> None:
    async with _rig(provider) as rig:
        link = await rig.linked(redis)
        await rig.ask()
        await rig.gateway.cache.close()
        (name,) = redis.client().keys("*")
        assert 604_000 < redis.client().ttl(name) <= 604_800
        redis.client().set(name, b"\x93junk")
        rig.gateway.cache.memory._entries.clear()
        assert _status(await rig.ask()) == "MISS"
        await rig.gateway.cache.close()
        await link.close()
