"""Two gateways under steady load while their Redis is away: what requests see before, during and after.

    python -m tests.behaviour.outage --seconds 60 [--how kill]

`pause` stops Redis without a word (SIGSTOP: nothing is refused, nothing answered), `kill` ends it, and it forgets all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.behaviour.client import ask, request
from tests.behaviour.counting import Counting
from tests.fakes.gateway import Gateway, virtual_key
from tests.fakes.provider import HELLO
from tests.fakes.redis_server import RedisServer

LIMIT = 40
KEY = "lw-limited"


class Phase(msgspec.Struct):
    """What requests saw: how many of each status, milliseconds at the median and the 99th percentile, and the most that
    the provider had in flight."""

    statuses: dict[str, int]
    p50: float
    p99: float
    most: int


def config(url: str, redis: str) -> dict[str, Any]:
    """Both gateways' configuration: every kind of limit, none of them tight."""
    limits = {
        "concurrency": LIMIT,
        "requests": {"per_minute": 1_000_000},
        "budget": {"tokens": 1_000_000_000, "window": "daily"},
    }
    return {
        "virtual_keys": [{**virtual_key("openai", "openai", url), "limits": limits}],
        "api_keys": [
            {"name": "limited", "key": KEY, "limits": {"concurrency": LIMIT}},
            {"name": "admin", "key": Gateway.admin_key, "scopes": ["admin"]},
        ],
        "redis": {"url": redis},
        "logs": {"access": False},
    }


async def load(gateways: list[Gateway], provider: Counting, seconds: float, rate: float) -> Phase:
    """So many requests a second, evenly, by turns to each gateway."""
    body = json.dumps({"model": "@openai/gpt-4o::latency=20", "messages": HELLO, "max_tokens": 20}).encode()
    raw = request("/v1/chat/completions", body, {}, key=KEY)
    took: list[float] = []
    statuses: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()
    provider.reset()

    async def one(gateway: Gateway) -> None:
        began = time.monotonic()
        answer = await ask(gateway.port, raw)
        took.append(time.monotonic() - began)
        statuses[str(answer.status)] += 1

    due, ends, turn = time.monotonic(), time.monotonic() + seconds, 0
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.ensure_future(one(gateways[turn % len(gateways)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        turn += 1
        due += 1 / rate
    await asyncio.gather(*tasks)
    ordered = sorted(took)
    return Phase(
        dict(statuses),
        round(ordered[len(ordered) // 2] * 1000, 1),
        round(ordered[int(len(ordered) * 0.99)] * 1000, 1),
        provider.most,
    )


async def run(directory: Path, seconds: float, how: str, rate: float = 100, beside: float = 10) -> dict[str, Phase]:
    """Before, during and after; `beside` are the seconds before and after."""
    (directory / "redis").mkdir()
    with RedisServer(directory / "redis") as redis:
        async with Counting() as provider:
            gateways = [
                Gateway(directory / name, config(provider.url, redis.url), workers=1) for name in ("first", "second")
            ]
            try:
                for gateway in gateways:
                    await asyncio.to_thread(gateway.__enter__)
                await load(gateways, provider, 1, rate)
                phases = {"before": await load(gateways, provider, beside, rate)}
                redis.pause() if how == "pause" else redis.kill()
                phases["without Redis"] = await load(gateways, provider, seconds, rate)
                redis.resume() if how == "pause" else redis.start()
                phases["after"] = await load(gateways, provider, beside, rate)
                return phases
            finally:
                if redis._process is not None:
                    redis.resume()
                for gateway in gateways:
                    await asyncio.to_thread(gateway.__exit__, None, None, None)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--how", choices=("pause", "kill"), default="pause")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        phases = asyncio.run(run(Path(directory), given.seconds, given.how))
    for name, phase in phases.items():
        print(f"{name}: {json.dumps(msgspec.to_builtins(phase))}")


if __name__ == "__main__":
    main()
