"""Load that notices everything, over a gateway that is restarted, upgraded or shot at again and again.

    python -m tests.behaviour.rolling --how HUP --times 20 --rate 200 --streams 100 --every 10

`--how` is HUP (a new generation of workers), USR2 (a new program) or KILL (SIGKILL of one worker after the other). Half
of the requests and streams come on connections of their own, half on kept ones. A kept connection is used again unless
its end was seen before: a request written on one that the gateway then closes without an answer is a failure, as is
every refused connection, reset, cut stream, error event and status but 200. It prints what it saw as JSON, and exits
with 1 if anything failed (with KILL: anything but what was in flight in the victims).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.behaviour.client import Line, connect, request
from tests.behaviour.stand import stand
from tests.fakes.gateway import SEED_KEY, Gateway

MODEL = "@open-ai-key-6317bc/gpt-4o"
HELLO = [{"role": "user", "content": "Hello there"}]


def body(stream: bool, gap: int = 0, chunks: int = 8) -> bytes:
    """A chat request, as bytes with its head."""
    steer = f"::gap={gap},chunks={chunks}" if gap else ""
    data = {"model": MODEL + steer, "messages": HELLO, "stream": stream}
    return request("/v1/chat/completions", json.dumps(data).encode(), key=SEED_KEY)


class Load:
    """Requests at a steady rate and a number of streams at any time. `failed` says what went wrong and how often. A
    kept connection that lay idle for more than `idle` seconds is not used again."""

    def __init__(
        self, port: int, rate: float, streams: int, *, gap: int = 100, chunks: int = 20, idle: float = math.inf
    ) -> None:
        self.port = port
        self._idle = idle
        self.done = 0
        self.streamed = 0
        self.failed: Counter[str] = Counter()
        self.failed_on: Counter[str] = Counter()
        """Failures by worker, for those whose answer had begun: a trace id begins with what is its worker's own."""
        self.slowest = 0.0
        self._rate = rate
        self._streams = streams
        self._whole = body(False)
        self._stream = body(True, gap, chunks)
        self._kept: list[tuple[Line, float]] = []
        self._running = True
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Sends until told to stop, then waits for what is under way."""
        for number in range(self._streams):
            self._begin(self._stream_again(kept=number % 2 == 0, delay=number / max(1, self._streams)))
        began, sent = time.monotonic(), 0
        while self._running:
            due = int((time.monotonic() - began) * self._rate)
            for number in range(sent, due):
                self._begin(self._ask(kept=number % 2 == 0))
            sent = max(sent, due)
            await asyncio.sleep(0.005)
        while self._tasks:
            await asyncio.gather(*self._tasks)
        for line, _ in self._kept:
            line.leave()

    def stop(self) -> None:
        """Sends nothing more."""
        self._running = False

    def report(self) -> dict[str, Any]:
        """What was seen."""
        return {
            "requests": self.done,
            "streams": self.streamed,
            "slowest_ms": round(self.slowest * 1000),
            "failed": sum(self.failed.values()),
            "failures": dict(self.failed),
            "failed_on_workers": len(self.failed_on),
        }

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream_again(self, *, kept: bool, delay: float) -> None:
        await asyncio.sleep(delay)
        while self._running:
            await self._ask(kept=kept, stream=True)

    async def _ask(self, *, kept: bool, stream: bool = False) -> None:
        began = time.monotonic()
        try:
            problem = await self._once(kept, stream)
        except (OSError, TimeoutError, AssertionError) as error:
            problem = f"{type(error).__name__}: {str(error)[:80]}"
        if stream:
            self.streamed += 1
        else:
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.done += 1
        if problem:
            self.failed[("stream: " if stream else "") + problem] += 1
            await asyncio.sleep(0.05)

    async def _once(self, kept: bool, stream: bool) -> str:
        line = self._take() if kept else None
        reused = line is not None
        if line is None:
            line = await connect(self.port)
        line.send(self._stream if stream else self._whole)
        await line.until(lambda: b"\r\n\r\n" in line.data or line.over)
        if b"\r\n\r\n" not in line.data:
            return f"no answer on a {'kept' if reused else 'new'} connection"
        status, headers = await line.head()
        if "content-length" in headers:
            length = int(headers["content-length"])
            await line.until(lambda: len(line.data) >= length or line.over)
            whole = len(line.data) == length
        else:
            await line.until(lambda: line.data[-5:] == b"0\r\n\r\n" or line.over)
            whole = line.data[-5:] == b"0\r\n\r\n" and b"data: [DONE]" in line.data[-64:]
        data = line.take(len(line.data))
        if kept and headers.get("connection") != "close" and not line.over:
            self._kept.append((line, time.monotonic()))
        else:
            line.leave()
        if status != 200:
            return f"status {status}: {data[:120].decode(errors='replace')}"
        problem = "an error event" if b'"error"' in data else "" if whole else "cut"
        if problem:
            self.failed_on[headers["x-portkey-trace-id"][:16]] += 1
        return problem

    def _take(self) -> Line | None:
        while self._kept:
            line, since = self._kept.pop()
            if time.monotonic() - since > self._idle:
                line.leave()
            elif not line.over and line.transport is not None and not line.transport.is_closing():
                return line
        return None


async def until(condition: Any, what: str, timeout: float = 30) -> None:
    """Waits, without standing in the way of the load. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.01)


async def renew(gateway: Gateway, count: int) -> None:
    """A new generation of workers; returns when the old one is gone."""
    before = set(gateway.workers())
    gateway.send(signal.SIGHUP)
    await until(lambda: len(now := set(gateway.workers())) == count and not now & before, "a new generation alone")


async def shoot(gateway: Gateway, count: int, number: int) -> float:
    """Kills one worker; returns how long it took until there was another one that serves, in seconds."""
    before = gateway.workers()
    began = time.monotonic()
    os.kill(before[number % len(before)], signal.SIGKILL)
    await until(lambda: len(set(gateway.workers()) - set(before)) == 1 and len(gateway.workers()) == count, "another")
    (fresh,) = set(gateway.workers()) - set(before)
    await until(lambda: listens(fresh, gateway.pid), "it listens")
    return time.monotonic() - began


def listens(pid: int, supervisor: int) -> bool:
    """Whether a worker's event loop waits for connections: its epoll watches a socket that the supervisor holds too."""
    try:
        shared = {os.readlink(path) for path in Path(f"/proc/{supervisor}/fd").iterdir()}
        for path in Path(f"/proc/{pid}/fd").iterdir():
            if os.readlink(path) != "anon_inode:[eventpoll]":
                continue
            watched = re.findall(r"tfd:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{path.name}").read_text())
            links = {os.readlink(f"/proc/{pid}/fd/{number}") for number in watched}
            if any(link.startswith("socket:") for link in links & shared):
                return True
    except OSError:
        pass
    return False


async def drive(gateway: Gateway, how: str, times: int, every: float, workers: int, load: Load) -> dict[str, Any]:
    """The whole run: load, and what is done to the gateway meanwhile."""
    running = asyncio.create_task(load.run())
    await asyncio.sleep(min(1.0, every))
    recovered: list[float] = []
    in_flight = 0
    for number in range(times):
        turn = time.monotonic()
        if how == "KILL":
            in_flight += len(load._tasks)
            recovered.append(await shoot(gateway, workers, number))
        elif how == "USR2":
            await asyncio.to_thread(gateway.upgrade)
        else:
            await renew(gateway, workers)
        await asyncio.sleep(max(0.0, every - (time.monotonic() - turn)))
    load.stop()
    await running
    found = {"how": how, "times": times, **load.report()}
    if recovered:
        found |= {"recovered_ms": sorted(round(each * 1000) for each in recovered), "in_flight": in_flight}
    return found


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--how", choices=("HUP", "USR2", "KILL"), default="HUP")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with stand(given.workers) as (gateway, _):
        load = Load(gateway.port, given.rate, given.streams)
        found = asyncio.run(drive(gateway, given.how, given.times, given.every, given.workers, load))
        if found["failed"]:
            print(gateway.log()[-3000:], file=sys.stderr)
    print(json.dumps(found))
    return int(found["failed"] > found.get("in_flight", 0))


if __name__ == "__main__":
    sys.exit(main())
