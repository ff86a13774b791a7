"""Two gateways of several workers share one key's limit over Redis, and everything goes wrong that can.

Clients leave in the middle, reset, and come again; workers are killed, or stopped for longer than a lease; Redis stands
still, shorter than a lease, and forgets everything. The provider counts what is in flight, and in the end asks whether
anything is still held; so does the administrator. The long form:

    python -m tests.behaviour.chaos --seconds 300
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tests.behaviour.client import ask, connect, request
from tests.behaviour.counting import Counting
from tests.fakes.gateway import Gateway, virtual_key
from tests.fakes.provider import HELLO, steered
from tests.fakes.redis_server import RedisServer

KEY = "lw-limited"


class Result(msgspec.Struct):
    """What came of it. `most` is what the provider saw in flight at most; `free` how many permits there were in the
    end, `held` how many the gateways say are in use then; `kills`, `stops`, `pauses`, `flushes` what was done.
    `lapses` is how often a lease ended all the same, as happens on a machine far too busy: then each host gives
    out its share, beside what is in flight."""

    limit: int
    most: int = 0
    free: int = 0
    held: int = -1
    served: int = 0
    refused: int = 0
    left: int = 0
    failed: int = 0
    kills: int = 0
    stops: int = 0
    pauses: int = 0
    flushes: int = 0
    lapses: int = 0


def config(url: str, redis: str, limit: int) -> dict[str, Any]:
    """Both gateways' configuration."""
    limits = {"concurrency": limit, "queue": {"size": 64, "timeout": "500ms"}}
    return {
        "virtual_keys": [{**virtual_key("openai", "openai", url), "limits": limits}],
        "api_keys": [{"name": "limited", "key": KEY}, {"name": "admin", "key": Gateway.admin_key, "scopes": ["admin"]}],
        "redis": {"url": redis},
        "logs": {"access": False},
        "server": {"drain_timeout": "1s"},
    }


def chat(*, stream: bool = False, **mode: Any) -> bytes:
    """A request that takes as long as `mode` says."""
    body = {"model": f"@openai/{steered('gpt-4o', **mode)}", "messages": HELLO, "stream": stream}
    return request("/v1/chat/completions", json.dumps(body).encode(), {}, key=KEY)


def held_by(gateway: Gateway) -> int:
    """How many permits are in use, as a gateway's metrics tell."""
    lines = gateway.get("/metrics").text.splitlines()
    return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith("loopway_permits_held{"))


class Chaos:
    """The run. `callers` ask without a pause."""

    def __init__(
        self, gateways: list[Gateway], redis: RedisServer, provider: Counting, limit: int, seed: int, longest: float
    ) -> None:
        self.gateways = gateways
        self.redis = redis
        self.provider = provider
        self.dice = random.Random(seed)
        self.result = Result(limit)
        self.longest = longest
        self.over = False
        self.one_by_one = asyncio.Lock()
        """A pause of Redis and a stopped worker one after the other may last for longer than a lease."""

    async def run(self, seconds: float, *, callers: int = 24) -> Result:
        """Runs so long, then lets all come to rest and counts."""
        everything = [asyncio.ensure_future(self._caller()) for _ in range(callers)]
        everything += [asyncio.ensure_future(what()) for what in (self._kill, self._stop, self._pause)]
        await asyncio.sleep(seconds)
        self.over = True
        await asyncio.gather(*everything)
        async with asyncio.timeout(60):
            while self.provider.open:
                await asyncio.sleep(0.01)
        self.result.most = self.provider.most
        self.result.free = await self._free()
        async with asyncio.timeout(20):
            while held := sum([await asyncio.to_thread(held_by, gateway) for gateway in self.gateways]):
                await asyncio.sleep(0.05)
        self.result.held = held
        outputs = [(gateway.directory / "output.txt").read_text() for gateway in self.gateways]
        self.result.lapses = sum(output.count("each host gives out its share") for output in outputs)
        return self.result

    async def _caller(self) -> None:
        dice, result = self.dice, self.result
        while not self.over:
            gateway = dice.choice(self.gateways)
            try:
                if dice.random() < 0.3:
                    line = await connect(gateway.port)
                    line.send(chat(stream=dice.random() < 0.5, latency=2000))
                    await asyncio.sleep(dice.random() * 0.15)
                    line.leave(reset=dice.random() < 0.5)
                    result.left += 1
                else:
                    answer = await ask(gateway.port, chat(latency=dice.randrange(5, 60)))
                    result.served += answer.status == 200
                    result.refused += answer.status == 429
                    result.failed += answer.status not in (200, 429)
            except (OSError, EOFError, AssertionError, TimeoutError):
                result.failed += 1  # a killed worker's

    async def _kill(self) -> None:
        while not self.over:
            await asyncio.sleep(self.dice.uniform(0.8, 2.5))
            if self.over:
                return
            workers = self.dice.choice(self.gateways).workers()
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(self.dice.choice(workers), signal.SIGKILL)
                    self.result.kills += 1

    async def _stop(self) -> None:
        while not self.over:
            await asyncio.sleep(self.dice.uniform(0.5, 3))
            workers = self.dice.choice(self.gateways).workers()
            if self.over or not workers:
                continue
            pid = self.dice.choice(workers)
            async with self.one_by_one:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    self.result.stops += 1
                    await asyncio.sleep(self.dice.uniform(0.1, 2 * self.longest))
                    os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(1)

    async def _pause(self) -> None:
        while not self.over:
            await asyncio.sleep(self.dice.uniform(1, 3))
            if self.over:
                return
            if self.dice.random() < 0.7:
                async with self.one_by_one:
                    self.redis.pause()
                    self.result.pauses += 1
                    await asyncio.sleep(self.dice.uniform(0.1, self.longest))
                    self.redis.resume()
                await asyncio.sleep(1)
            if self.dice.random() < 0.4:
                await asyncio.to_thread(self.redis.client().flushall)
                self.result.flushes += 1

    async def _free(self) -> int:
        """How many requests come in at once at one gateway, now that nobody else is there. All, if nothing leaked."""
        ends = time.monotonic() + 40
        limit = self.result.limit
        free = 0
        while free < limit and time.monotonic() < ends:
            answers = await asyncio.gather(
                *(ask(self.gateways[0].port, chat(latency=400)) for _ in range(limit)), return_exceptions=True
            )
            free = sum(not isinstance(answer, BaseException) and answer.status == 200 for answer in answers)
        return free


async def run(
    directory: Path, seconds: float, *, workers: int, limit: int = 10, seed: int = 1, longest: float = 3.0
) -> Result:
    """The whole run, from starting everything to stopping it. `longest` are the seconds for which Redis stands still at
    most: shorter than a lease."""
    (directory / "redis").mkdir()
    with RedisServer(directory / "redis") as redis:
        async with Counting() as provider:
            gateways = [
                Gateway(directory / name, config(provider.url, redis.url, limit), workers=workers)
                for name in ("first", "second")
            ]
            try:
                for gateway in gateways:
                    await asyncio.to_thread(gateway.__enter__)
                return await Chaos(gateways, redis, provider, limit, seed, longest).run(seconds)
            finally:
                redis.resume()
                for gateway in gateways:
                    await asyncio.to_thread(gateway.__exit__, None, None, None)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = asyncio.run(
            run(Path(directory), given.seconds, workers=given.workers, limit=given.limit, seed=given.seed)
        )
    print(json.dumps(msgspec.to_builtins(result)))
    assert result.most <= result.limit == result.free
    assert result.held == 0


if __name__ == "__main__":
    main()
