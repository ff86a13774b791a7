"""Limits are those of the whole gateway: of all its workers, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest

from tests.behaviour.client import Line, ask, connect, request
from tests.fakes.gateway import Gateway, Launch, virtual_key
from tests.fakes.provider import HELLO, Provider, steered

KEY = "lw-limited"
LIMITS = {"api key": "api_keys", "virtual key": "virtual_keys"}


def config(url: str, where: str = "virtual key", **limits: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "virtual_keys": [virtual_key("openai", "openai", url)],
        "api_keys": [{"name": "limited", "key": KEY}, {"name": "admin", "key": Gateway.admin_key, "scopes": ["admin"]}],
    }
    settings[LIMITS[where]][0]["limits"] = limits
    return settings


def chat(**mode: Any) -> bytes:
    model = f"@openai/{steered('gpt-4o', **mode) if mode else 'gpt-4o'}"
    return request("/v1/chat/completions", json.dumps({"model": model, "messages": HELLO}).encode(), {}, key=KEY)


async def forever(gateway: Gateway, count: int) -> list[Line]:
    """So many requests that are never answered, each on a connection of its own."""
    lines = []
    for _ in range(count):
        line = await connect(gateway.port)
        line.send(chat(latency=600_000))
        lines.append(line)
    return lines


@pytest.mark.parametrize("where", LIMITS)
async def test_a_limit_holds_over_all_workers(launch: Launch, provider: Provider, where: str) -> None:
    gateway = launch(config(provider.url, where, concurrency=3), workers=3)
    lines = await forever(gateway, 12)
    await provider.until(lambda stats: stats["open"] == 3)
    answers = [await ask(gateway.port, chat()) for _ in range(30)]
    assert {answer.status for answer in answers} == {429}
    assert provider.stats["requests"] == 3
    for line in lines:
        line.leave()
    await provider.until(lambda stats: stats["open"] == 0)
    answers = await asyncio.gather(*(ask(gateway.port, chat(latency=200)) for _ in range(60)))
    assert {answer.status for answer in answers} == {200, 429}
    assert provider.stats["max_in_flight"] == 3


async def test_a_killed_workers_permits_come_back(launch: Launch, provider: Provider) -> None:
    gateway = launch(config(provider.url, concurrency=4), workers=2)
    for _ in range(3):
        lines = await forever(gateway, 8)
        await provider.until(lambda stats: stats["open"] == 4)
        # The others are refused by now: if they were still on their way, the next workers would let them in.
        async with asyncio.timeout(30):
            while sum(bool(line.data) for line in lines) < 4:
                await asyncio.sleep(0.005)
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        await provider.until(lambda stats: stats["open"] == 0)
        free = 0
        while free < 4:
            answers = await asyncio.gather(
                *(ask(gateway.port, chat(latency=20)) for _ in range(4)), return_exceptions=True
            )
            free = sum(not isinstance(answer, BaseException) and answer.status == 200 for answer in answers)
            assert time.monotonic() < began + 30
        print(f"all permits are back after {time.monotonic() - began:.2f} s")
        for line in lines:
            line.leave()
    assert provider.stats["max_in_flight"] <= 4
    await asyncio.sleep(0)  # their ends come with the loop's next turn


async def test_a_new_generation_of_workers_counts_with_the_old_one(launch: Launch, provider: Provider) -> None:
    gateway = launch(config(provider.url, concurrency=3), workers=2)
    old = set(gateway.workers())
    lines = await forever(gateway, 2)
    await provider.until(lambda stats: stats["open"] == 2)
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.until(lambda: len(set(gateway.workers()) - old) == 2, "the new generation is there")
    for _ in range(20):
        await asyncio.gather(*(ask(gateway.port, chat(latency=3)) for _ in range(4)), return_exceptions=True)
    assert provider.stats["max_in_flight"] == 3
    for line in lines:
        line.leave()
    await provider.until(lambda stats: stats["open"] == 0)


async def test_a_new_program_counts_with_the_old_one(launch: Launch, provider: Provider) -> None:
    gateway = await asyncio.to_thread(launch, config(provider.url, concurrency=3), workers=2)
    held = [asyncio.ensure_future(ask(gateway.port, chat(latency=2500))) for _ in range(2)]
    await provider.until(lambda stats: stats["open"] == 2)
    upgrade = asyncio.ensure_future(asyncio.to_thread(gateway.upgrade))
    while not upgrade.done():
        await asyncio.gather(*(ask(gateway.port, chat(latency=3)) for _ in range(4)), return_exceptions=True)
    await upgrade
    assert [answer.status for answer in await asyncio.gather(*held)] == [200, 200]
    assert provider.stats["max_in_flight"] == 3


async def test_with_a_queue_nobody_is_refused_who_can_be_served_in_time(launch: Launch, provider: Provider) -> None:
    limits = {"concurrency": 2, "queue": {"size": 100, "timeout": "60s"}}
    gateway = launch(config(provider.url, **limits), workers=3)
    answers = await asyncio.gather(*(ask(gateway.port, chat(latency=5)) for _ in range(60)))
    assert [answer.status for answer in answers] == [200] * 60
    assert provider.stats["max_in_flight"] == 2
