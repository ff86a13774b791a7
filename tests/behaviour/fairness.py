"""Nine quiet API keys beside one that asks a hundred times as often, at one virtual key with a queue.

The quiet ones are measured alone first, then beside the noisy one. The long form, with a gateway of several workers:

    python -m tests.behaviour.fairness --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.behaviour.client import ask, request
from tests.behaviour.counting import Counting
from tests.fakes.gateway import Gateway, virtual_key
from tests.fakes.provider import HELLO

QUIET = 9
TIMES = 100
LIMITS = {"concurrency": 16, "queue": {"size": 64, "timeout": "2s"}}


class Figures(msgspec.Struct):
    """What the quiet keys saw: seconds at the median and the 99th percentile, and the part of their requests that was
    answered."""

    p50: float
    p99: float
    success: float
    requests: int
    most: int


def chat(key: str, latency: int) -> bytes:
    """A request of one of the keys, and the milliseconds that the provider takes for it."""
    body = {"model": f"@openai/gpt-4o::latency={latency}", "messages": HELLO}
    return request("/v1/chat/completions", json.dumps(body).encode(), {}, key=key)


def config(url: str) -> dict[str, Any]:
    """The gateway's configuration."""
    names = [*(f"quiet-{index}" for index in range(QUIET)), "noisy", "admin"]
    return {
        "virtual_keys": [{**virtual_key("openai", "openai", url), "limits": LIMITS}],
        "api_keys": [{"name": name, "key": f"lw-{name}", "scopes": ["inference"]} for name in names[:-1]]
        + [{"name": "admin", "key": Gateway.admin_key, "scopes": ["admin"]}],
        "logs": {"access": False},
    }


async def measure(port: int, seconds: float, every: float, latency: int, noisy: int) -> tuple[list[float], list[int]]:
    """Asks with each quiet key once in `every` seconds, and with the noisy one so many times as often. Gives what each
    quiet request took, and its status."""
    took: list[float] = []
    statuses: list[int] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(raw: bytes, quiet: bool) -> None:
        began = time.monotonic()
        answer = await ask(port, raw)
        if quiet:
            took.append(time.monotonic() - began)
            statuses.append(answer.status)

    async def paced(raw: bytes, gap: float, quiet: bool, after: float) -> None:
        due = time.monotonic() + after
        ends = time.monotonic() + seconds
        while due < ends:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.ensure_future(one(raw, quiet))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += gap

    callers = [paced(chat(f"lw-quiet-{n}", latency), every, True, every * n / QUIET) for n in range(QUIET)]
    if noisy:
        callers.append(paced(chat("lw-noisy", latency), every / noisy, False, 0.0))
    await asyncio.gather(*callers)
    await asyncio.gather(*tasks, return_exceptions=True)
    return took, statuses


def figures(took: list[float], statuses: list[int], most: int) -> Figures:
    """The figures of one measurement."""
    ordered = sorted(took)
    p50, p99 = (round(ordered[int(len(ordered) * share)], 4) for share in (0.5, 0.99))
    return Figures(p50, p99, statuses.count(200) / len(statuses), len(statuses), most)


async def run(
    directory: Path, seconds: float, workers: int, *, every: float = 0.3, latency: int = 50, times: int = TIMES
) -> tuple[Figures, Figures]:
    """Alone, and beside the key that asks `times` as often."""
    async with Counting() as provider:
        gateway = Gateway(directory, config(provider.url), workers=workers)
        await asyncio.to_thread(gateway.__enter__)
        try:
            alone = figures(*await measure(gateway.port, seconds, every, latency, 0), provider.most)
            beside = figures(*await measure(gateway.port, seconds, every, latency, times), provider.most)
            return alone, beside
        finally:
            await asyncio.to_thread(gateway.__exit__, None, None, None)


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        alone, beside = asyncio.run(run(Path(directory) / "gateway", given.seconds, given.workers))
    for name, found in (("alone", alone), ("beside the noisy key", beside)):
        print(f"{name}: {json.dumps(msgspec.to_builtins(found))}")
    print(f"p99 ratio {beside.p99 / alone.p99:.2f}")


if __name__ == "__main__":
    main()
