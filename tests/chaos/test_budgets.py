"""What budgets have spent when everything is killed at once: to the token what they had spent before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.ledger import KEY, Upstream
from tests.fakes.gateway import ADMIN_KEY, Gateway, virtual_key

TOKENS = 15  # that the upstream tells of each answer
CALLS = 40


def config(url: str, who: str, budget: dict[str, Any]) -> dict[str, Any]:
    limits = {"concurrency": 64, "budget": budget}
    key, slug = {"name": "chaos", "key": KEY}, virtual_key("openai", "openai", url)
    (key if who == "API key" else slug)["limits"] = limits
    admin = {"name": "admin", "key": ADMIN_KEY, "scopes": ["admin"]}
    return {"virtual_keys": [slug], "api_keys": [key, admin], "logs": {"access": False}}


async def ask(session: aiohttp.ClientSession, url: str, id: str) -> int:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": id}], "max_tokens": 1}
    headers = {"x-portkey-api-key": KEY}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def quiet(gateway: Gateway) -> None:
    """Waits until every permit is back, and with it every reservation settled."""
    while True:
        text = (await asyncio.to_thread(gateway.get, "/metrics")).text
        if all(line.endswith(" 0") for line in text.splitlines() if line.startswith("loopway_permits_held")):
            return
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("who", ["API key", "virtual key"])
async def test_what_was_spent_outlives_the_kill_of_everything_to_the_token(who: str, tmp_path: Path) -> None:
    budget = {"tokens": CALLS * TOKENS, "window": "total"}
    async with Upstream() as upstream:
        admitted = 0
        gateway = Gateway(tmp_path, config(upstream.url, who, budget), workers=2)
        for round_ in range(2):
            gateway.start()
            async with aiohttp.ClientSession() as session:
                statuses = await asyncio.gather(*(ask(session, gateway.url, f"{round_}-{n}") for n in range(7)))
                assert statuses == [200] * 7
                admitted += 7
                await quiet(gateway)
                gateway.kill()
        gateway.start()
        async with aiohttp.ClientSession() as session:
            while await ask(session, gateway.url, f"last-{admitted}") == 200:
                admitted += 1
        gateway.stop()
    assert admitted == CALLS
    assert len(upstream.seen) == CALLS


async def test_a_reset_outlives_it_too(tmp_path: Path) -> None:
    budget = {"tokens": 2 * TOKENS, "window": "daily"}
    async with Upstream() as upstream, aiohttp.ClientSession() as session:
        gateway = Gateway(tmp_path, config(upstream.url, "virtual key", budget), workers=2).start()
        assert [await ask(session, gateway.url, f"{n}") for n in range(3)] == [200, 200, 412]
        reset = await asyncio.to_thread(gateway.admin, "POST", "/v1/virtual-keys/openai/reset-usage")
        assert reset.status_code == 200
        assert await ask(session, gateway.url, "3") == 200
        await quiet(gateway)
        gateway.kill()
        gateway.start()
        assert [await ask(session, gateway.url, f"{n}") for n in (4, 5)] == [200, 412]
        gateway.stop()
