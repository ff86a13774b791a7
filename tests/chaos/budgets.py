"""A budget that many spend at once: how far it is passed, on one host and on two that share it over Redis.

    python -m tests.chaos.budgets [--hosts 2] [--callers 20]

Each request reserves some 14 tokens, prompt and answer, and uses 15. Callers ask all at once, each until it is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.ledger import KEY, Upstream
from tests.fakes.gateway import ADMIN_KEY, Gateway, virtual_key
from tests.fakes.redis_server import RedisServer

USED, ASKED = 15, 12
"""Tokens that the upstream tells of each answer, and the answer's limit."""


def config(url: str, who: str, budget: int, redis: str | None) -> dict[str, Any]:
    """Each gateway's configuration."""
    limits = {"concurrency": 64, "budget": {"tokens": budget, "window": "total"}}
    key, slug = {"name": "chaos", "key": KEY}, virtual_key("openai", "openai", url)
    (key if who == "api" else slug)["limits"] = limits
    admin = {"name": "admin", "key": ADMIN_KEY, "scopes": ["admin"]}
    shared = {} if redis is None else {"redis": {"url": redis}}
    return {"virtual_keys": [slug], "api_keys": [key, admin], "logs": {"access": False}, **shared}


async def spend(gateways: list[Gateway], callers: int) -> Counter[int]:
    """All callers ask, one request after the other, each until it was refused ten times in a row."""
    statuses: Counter[int] = Counter()

    async def caller(session: aiohttp.ClientSession, number: int) -> None:
        refused = turn = 0
        while refused < 10:
            gateway, turn = gateways[(number + turn) % len(gateways)], turn + 1
            messages = [{"role": "user", "content": f"{number}-{turn}"}]
            body = {"model": "gpt-4o-mini", "max_tokens": ASKED, "messages": messages}
            async with session.post(
                f"{gateway.url}/v1/chat/completions", json=body, headers={"x-portkey-api-key": KEY}
            ) as answer:
                await answer.read()
                statuses[answer.status] += 1
                refused = refused + 1 if answer.status == 412 else 0

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
        await asyncio.gather(*(caller(session, number) for number in range(callers)))
    return statuses


async def run(folder: Path, who: str, hosts: int, callers: int, budget: int) -> dict[str, Any]:
    """The whole run; the figures."""
    with ExitStack() as stack:
        redis = None
        if hosts > 1:
            (folder / "redis").mkdir()
            redis = stack.enter_context(RedisServer(folder / "redis")).url
        async with Upstream() as upstream:
            made = config(upstream.url, who, budget, redis)
            gateways = [Gateway(folder / f"host-{n}", made, workers=2) for n in range(hosts)]
            for gateway in gateways:
                await asyncio.to_thread(gateway.__enter__)
            try:
                statuses = await spend(gateways, callers)
            finally:
                for gateway in gateways:
                    await asyncio.to_thread(gateway.__exit__, None, None, None)
            spent = USED * statuses[200]
            return {
                "who": who, "hosts": hosts, "callers": callers, "budget": budget, "answered": statuses[200],
                "seen upstream": len(upstream.seen), "spent": spent, "over": spent - budget, "statuses": dict(statuses),
            }  # fmt: skip


def main() -> None:
    """Prints the figures of API key and virtual key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--budget", type=int, default=6010)
    given = parser.parse_args()
    for who in ("api", "virtual"):
        with tempfile.TemporaryDirectory() as folder:
            figures = asyncio.run(run(Path(folder), who, given.hosts, given.callers, given.budget))
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
