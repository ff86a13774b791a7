"""Many requests of every kind on one worker, and what stays behind: memory, descriptors, threads, connections.

    python -m tests.behaviour.soak --requests 1000000 --clients 32

Of a hundred requests some forty are whole answers, twenty streams, ten streams whose client leaves in the middle, ten
translated to another dialect, ten answered by the cache or kept in it, five by a config that the request brings, and
five errors (a provider's, a bad body, a wrong key). After each twentieth of them it notes the worker's resident memory
and open files, and prints it all as JSON: `slope_mb` is the growth in MB for 100,000 requests by least squares, without
the first tenth. Exits with 1 if a request ended in another way than it should have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.behaviour.client import Line, connect, request
from tests.behaviour.stand import stand
from tests.fakes.gateway import (
    ANTHROPIC_SLUG,
    OPENAI_SLUG,
    SEED_KEY,
    Gateway,
)

HELLO = [{"role": "user", "content": "Hello there"}]
_POINTS = 20


def ask(model: str, number: int = 0, *, stream: bool = False, key: str = SEED_KEY, **headers: str) -> bytes:
    """One chat request; `number` makes its text one of its own."""
    messages = [{"role": "user", "content": f"Hello there {number}"}] if number else HELLO
    body = {"model": model, "messages": messages, "stream": stream}
    return request("/v1/chat/completions", json.dumps(body).encode(), headers, key=key)


def _inline(number: int) -> bytes:
    targets = [{"virtual_key": "openai-overloaded"}, {"virtual_key": OPENAI_SLUG, "weight": number % 5000 / 100}]
    return ask("gpt-4o", x_portkey_config=json.dumps({"strategy": {"mode": "fallback"}, "targets": targets}))


def _cached(number: int) -> bytes:
    config = {"virtual_key": OPENAI_SLUG, "cache": {"mode": "simple"}}
    return ask("gpt-4o", number % 5000 if number % 2 else 1, x_portkey_config=json.dumps(config))


OPENAI, CLAUDE = f"@{OPENAI_SLUG}/gpt-4o", f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5"
Kind = tuple[int, Callable[[int], bytes], int]
KINDS: dict[str, Kind] = {
    "whole": (40, lambda n: ask(OPENAI, n), 200),
    "stream": (20, lambda n: ask(OPENAI, stream=True), 200),
    "left": (10, lambda n: ask(f"{OPENAI}::gap=20,chunks=50", stream=True), 200),
    "translated": (5, lambda n: ask(CLAUDE, n), 200),
    "translated stream": (5, lambda n: ask(CLAUDE, stream=True), 200),
    "cached": (10, _cached, 200),
    "inline config": (5, _inline, 200),
    "provider's error": (3, lambda n: ask("@openai-overloaded/gpt-4o"), 503),
    "bad body": (1, lambda n: request("/v1/chat/completions", b'{"model":', key=SEED_KEY), 400),
    "wrong key": (1, lambda n: ask(OPENAI, key=f"lw-{n}"), 401),
}
"""By name: how many of a hundred, the request of a number, and the status that it should get."""
ORDER = [name for name, (share, _, _) in KINDS.items() for _ in range(share)]


class Soak:
    """The load: so many clients, each with a kept connection. `odd` says what ended otherwise than it should."""

    def __init__(self, port: int, requests: int, clients: int) -> None:
        self.port = port
        self.done = 0
        self.odd: Counter[str] = Counter()
        self._left = requests
        self._clients = clients

    async def run(self) -> None:
        """Sends all of them."""
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    async def _client(self) -> None:
        line: Line | None = None
        while self._left > 0:
            self._left -= 1
            number = self._left
            name = ORDER[number * 37 % len(ORDER)]
            _, make, wanted = KINDS[name]
            try:
                line = line or await connect(self.port)
                line.send(make(number))
                line = await self._answer(line, name, wanted)
            except (OSError, TimeoutError, AssertionError) as error:
                self.odd[f"{name}: {type(error).__name__} {str(error)[:80]}"] += 1
                line = None
            self.done += 1
        if line is not None:
            line.leave()

    async def _answer(self, line: Line, name: str, wanted: int) -> Line | None:
        """Reads it; gives the connection if it can be used again."""
        status, headers = await line.head()
        if status != wanted:
            self.odd[f"{name}: status {status}"] += 1
        if name == "left":
            await line.until(lambda: line.read > 0 and (b"data: " in line.data or line.over))
            line.leave()
            return None
        if "content-length" in headers:
            length = int(headers["content-length"])
            await line.until(lambda: len(line.data) >= length or line.over)
        else:
            await line.until(lambda: line.data[-5:] == b"0\r\n\r\n" or line.over)
        line.take(len(line.data))
        if line.over or headers.get("connection") == "close":
            line.leave()
            return None
        return line


class Point(dict[str, float]):
    """What a worker had after so many requests."""

    @classmethod
    def of(cls, pid: int, requests: int) -> Point:
        """Reads it from the kernel."""
        said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        rss = int(said["VmRSS"].split()[0]) / 1024
        fds = len(os.listdir(f"/proc/{pid}/fd"))
        return cls(requests=requests, rss_mb=round(rss, 1), fds=fds, threads=int(said["Threads"]))


def slope(points: list[Point]) -> float:
    """MB for 100,000 requests, by least squares."""
    count = len(points)
    x, y = ([point[name] for point in points] for name in ("requests", "rss_mb"))
    mean_x, mean_y = sum(x) / count, sum(y) / count
    spread = sum((each - mean_x) ** 2 for each in x) or 1.0
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread * 100_000


async def watch(gateway: Gateway, soak: Soak, requests: int) -> dict[str, Any]:
    """Runs the load and notes what the worker has meanwhile."""
    (pid,) = gateway.workers()
    began = time.monotonic()
    running = asyncio.create_task(soak.run())
    points = [Point.of(pid, 0)]
    while not running.done():
        await asyncio.sleep(0.1)
        if soak.done >= len(points) * requests / _POINTS:
            points.append(Point.of(pid, soak.done))
            print(json.dumps(points[-1]), file=sys.stderr, flush=True)
    await running
    gauges = (
        "loopway_in_flight ",
        "loopway_upstream_connections",
        "loopway_client_connections",
        "loopway_permits_held",
    )
    text = await asyncio.to_thread(lambda: gateway.get("/metrics").text)
    return {
        "requests": soak.done,
        "seconds": round(time.monotonic() - began, 1),
        "odd": dict(soak.odd),
        "same_worker": gateway.workers() == [pid],
        "points": points,
        "slope_mb": round(slope(points[max(1, len(points) // 10) :]), 3),
        "left": [line for line in text.splitlines() if line.startswith(gauges)],
    }


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=32)
    given = parser.parse_args()
    with stand(workers=1) as (gateway, _):
        soak = Soak(gateway.port, given.requests, given.clients)
        found = asyncio.run(watch(gateway, soak, given.requests))
    print(json.dumps(found))
    return int(bool(found["odd"]) or not found["same_worker"])


if __name__ == "__main__":
    sys.exit(main())
