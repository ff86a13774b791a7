"""More requests than can be served: what is served, how soon the others are refused, and what a refusal costs.

    python -m tests.behaviour.overload --seconds 60

First what a served chat and each kind of refusal cost a worker: kept connections in a closed loop, CPU microseconds a
request as the kernel counts them. Then steps: a provider that takes 50 ms, 32 places (of an API key: 429; of a worker,
`server.overload.in_flight`: 503), and requests on a timetable, once, twice and three times as many as fit into the
places, for so many seconds each. Prints JSON: for each step the answers a second (`goodput`), the refusals, their time
from when they were due until their answer was whole (milliseconds; the load's own lateness is in it), how busy the
worker was and its memory, and in the end what of all that is left. Exits with 1 if an answer was neither a right one
nor a refusal with `Retry-After`, something was left, or three times the load brought less than 90 % of the peak.

The worker has the first core for itself, provider and load share the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from loadtests import procs
from loadtests.clock import Alarm
from tests.fakes.gateway import Gateway

_PLACES = 32
_FIRST = 0.05  # seconds that the provider takes
_NEVER = 100_000  # the same, while places are held
_LONE = 16  # connections of the closed loop
_CONNECTIONS = 256  # of the timetable
_BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why? " * 200}]}).encode()
_STATUSES = {"key": 429, "worker": 503}


def request(key: str) -> bytes:
    """One chat with a key."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-portkey-api-key: lw-{key}-0123456789\r\n"
    more = f"x-portkey-virtual-key: openai\r\ncontent-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    return f"{head}{more}".encode() + _BODY


def config(port: int, places: int, *, of_worker: bool) -> dict[str, Any]:
    """A key without limits, one with so many places, and one with as many and a queue of one."""
    queue = {"size": 1, "timeout": "1000s"}
    limits = {"ample": {}, "tight": {"concurrency": places}, "queue": {"concurrency": places, "queue": queue}}
    return {
        "virtual_keys": [
            {"slug": "openai", "provider": "openai", "key": "sk", "custom_host": f"http://127.0.0.1:{port}/v1"}
        ],
        "api_keys": [{"name": name, "key": f"lw-{name}-0123456789", "limits": each} for name, each in limits.items()],
        "server": {"overload": {"in_flight": places}} if of_worker else {},
    }


class Client(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._data = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due: float) -> None:
        """Sends the request that was due then."""
        self._due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        if not mark:
            return
        fields = head.lower()
        if len(body) >= int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            self._data = b""
            self._load.answered(self, int(head[9:12]), b"retry-after: " in fields, self._due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()

    def leave(self) -> None:
        """Closes it."""
        self._transport.abort()


class Load:
    """Requests with one key over so many connections: `rate` a second, or, at 0, as fast as they are answered."""

    def __init__(self, port: int, key: str, connections: int, rate: float = 0.0) -> None:
        self.request = request(key)
        self.statuses: Counter[int] = Counter()
        self.times: dict[int, list[float]] = {200: [], 429: [], 503: []}
        self.faults: Counter[str] = Counter()
        self._port = port
        self._count = connections
        self._rate = rate
        self._clients: list[Client] = []
        self._free: deque[Client] = deque()
        self._late: deque[float] = deque()
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, self._ring)
        self._next = 0.0
        self._running = False

    async def start(self) -> None:
        """Connects and begins."""
        for _ in range(self._count):
            _, client = await self._loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
            self._clients.append(client)
        self._running = True
        self._next = time.monotonic()
        if self._rate:
            self._free.extend(self._clients)
            self._ring()
        else:
            for client in self._clients:
                client.ask(self._next)

    def _ring(self) -> None:
        now = time.monotonic()
        while self._running and self._next <= now:
            if self._free:
                self._free.popleft().ask(self._next)
            else:
                self._late.append(self._next)
            self._next += 1 / self._rate
        if self._running:
            self._alarm.set(self._next)

    def answered(self, client: Client, status: int, again: bool, due: float) -> None:
        """One is over; the connection is free."""
        now = time.monotonic()
        self.statuses[status] += 1
        if status not in self.times or (status != 200 and not again):
            self.faults[f"status {status}{'' if again else ' without Retry-After'}"] += 1
        else:
            self.times[status].append(now - due)
        if not self._running:
            self._free.append(client)
        elif not self._rate:
            client.ask(now)
        elif self._late:
            client.ask(self._late.popleft())
        else:
            self._free.append(client)

    def lost(self) -> None:
        """A connection has ended."""
        if self._running:
            self.faults["a connection was cut"] += 1

    async def stop(self) -> None:
        """Asks no more, and waits for what is under way."""
        self._running = False
        async with asyncio.timeout(30):
            while len(self._free) < len(self._clients) and self._rate:
                await asyncio.sleep(0.01)
        for client in self._clients:
            client.leave()
        await asyncio.sleep(0.05)


def quantiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    marks = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[int(share * last)] * 1000, 2) for name, share in marks.items()} if ordered else {}


async def hold(port: int, key: str, count: int) -> list[asyncio.StreamWriter]:
    """Takes places, one after the other, at a provider that does not answer."""
    held = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(key))
        held.append(writer)
        await asyncio.sleep(0.1)
    return held


async def cost(gateway: Gateway, key: str, seconds: float) -> tuple[float, Counter[int]]:
    """CPU microseconds of the gateway for one request, and how they were answered."""
    load = Load(gateway.port, key, _LONE)
    await load.start()
    await asyncio.sleep(min(1.0, seconds))
    before, statuses = procs.usage(gateway.pid), Counter(load.statuses)
    await asyncio.sleep(seconds)
    used, answered = procs.usage(gateway.pid).since(before), load.statuses - statuses
    await load.stop()
    return used / max(1, answered.total()) * 1e6, answered


async def step(gateway: Gateway, key: str, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """So many requests a second for so long."""
    load = Load(gateway.port, key, connections, rate)
    before, began = procs.usage(gateway.pid), time.monotonic()
    await load.start()
    await asyncio.sleep(seconds)
    after, took = procs.usage(gateway.pid), time.monotonic() - began
    served, refused = load.statuses[200], load.statuses[429] + load.statuses[503]
    await load.stop()
    return {
        "offered": round(rate),
        "goodput": round(served / took, 1),
        "refused": round(refused / took, 1),
        "served_ms": quantiles(load.times[200]),
        "refused_ms": quantiles(load.times[429] + load.times[503]),
        "core_busy": round(after.since(before) / took, 3),
        "memory_mb": round(after.rss / (1 << 20), 1),
        "statuses": dict(load.statuses),
        "faults": dict(load.faults),
    }


def left(gateway: Gateway) -> dict[str, float]:
    """What is still held or in flight."""
    wanted = ("loopway_in_flight ", "loopway_permits_held", "loopway_queue_length", 'connections{state="busy"}')
    samples = [line for line in gateway.get("/metrics").text.splitlines() if not line.startswith("#")]
    lines = [line for line in samples if any(name in line for name in wanted)]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if float(value)}


@asynccontextmanager
async def gateways(upstream: int, places: int, *, of_worker: bool) -> AsyncIterator[Gateway]:
    """A gateway of one worker on the first core."""
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), config(upstream, places, of_worker=of_worker))
        async with gateway:
            for process in procs.tree(gateway.pid):
                process.cpu_affinity(sorted(procs.layout().gateway) or None)
            yield gateway


@asynccontextmanager
async def provider() -> AsyncIterator[int]:
    """The provider's port."""
    port = procs.free_port()
    argv = [sys.executable, "-m", "loadtests.upstream", "--port", str(port)]
    running = procs.spawn(argv, procs.layout().upstream, piped=True)
    try:
        for _ in range(200):
            try:
                await takes(port, 0)
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield port
    finally:
        procs.end(running)
        for pipe in (running.stdin, running.stdout):
            if pipe is not None:
                pipe.close()


async def takes(port: int, seconds: float) -> None:
    """From now on the provider takes so long. Raises OSError where it does not answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /__set?first={seconds} HTTP/1.1\r\nhost: upstream\r\n\r\n".encode())
    await reader.read(64)
    writer.close()


async def costs(upstream: int, seconds: float) -> dict[str, Any]:
    """What a served request costs, and each kind of refusal."""
    found: dict[str, Any] = {}
    for of_worker, kinds in ((False, ("ample", "nobody", "tight", "queue")), (True, ("ample",))):
        async with gateways(upstream, 1, of_worker=of_worker) as gateway:
            for key in kinds:
                refused = of_worker or key != "ample"
                await takes(upstream, _NEVER if refused else 0)
                places = 2 if key == "queue" else int(refused and key != "nobody")
                held = await hold(gateway.port, key, places)
                used, statuses = await cost(gateway, key, seconds)
                for writer in held:
                    writer.close()
                name = "served" if not refused else {"nobody": "no key", "ample": "shed"}.get(key, f"full {key}")
                found[name] = {"us": round(used, 1), "statuses": dict(statuses)}
    for each in found.values():
        each["of_served"] = round(each["us"] / found["served"]["us"], 3)
    return found


async def steps(
    upstream: int, by: str, seconds: float, *, places: int = _PLACES, connections: int = _CONNECTIONS
) -> dict[str, Any]:
    """Once, twice and three times what the places are enough for."""
    capacity = places / _FIRST
    await takes(upstream, _FIRST)
    async with gateways(upstream, places, of_worker=by == "worker") as gateway:
        key = "tight" if by == "key" else "ample"
        await step(gateway, key, capacity, min(2.0, seconds), connections)  # warms up
        found = {f"{times}x": await step(gateway, key, capacity * times, seconds, connections) for times in (1, 2, 3)}
        await asyncio.sleep(0.5)
        over: dict[str, Any] = await asyncio.to_thread(left, gateway)
    kept = found["3x"]["goodput"] / max(each["goodput"] for each in found.values())
    return {**found, "left": over, "goodput_3x_of_peak": round(kept, 3)}


def good(found: dict[str, Any], by: str) -> bool:
    """Whether every answer was a right one or the refusal that it should be, and nothing is left."""
    taken = [found[name] for name in ("1x", "2x", "3x")]
    right = all(set(each["statuses"]) <= {200, _STATUSES[by]} and not each["faults"] for each in taken)
    return right and not found["left"]


async def _measure(seconds: float) -> tuple[dict[str, Any], bool]:
    async with provider() as upstream:
        found: dict[str, Any] = {"costs": await costs(upstream, min(5.0, seconds))}
        well = True
        for by in _STATUSES:
            each = found[f"places of a {by}"] = await steps(upstream, by, seconds)
            well = well and good(each, by) and each["goodput_3x_of_peak"] >= 0.9
    return found, well


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each step")
    given = parser.parse_args()
    procs.raise_file_limit()
    procs.pin(procs.layout().client)
    found, well = uvloop.run(_measure(given.seconds))
    print(json.dumps(found, indent=1))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
