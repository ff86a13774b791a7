"""The ledger against the truth of its upstream, while workers are killed, databases vanish and disks fill up.

Every request carries an id of its own: the upstream sees it in the body, the ledger keeps it as trace id. What the
upstream saw and the ledger has not is missing; an id that the ledger has twice is a duplicate.

    python -m tests.chaos.ledger kills --requests 10000 --kills 50
    python -m tests.chaos.ledger kills --requests 10000 --kills 50 --strict
    python -m tests.chaos.ledger outage --seconds 60

prints the figures; the tests beside this run short forms of the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from tests.fakes.gateway import ADMIN_KEY, Gateway, virtual_key
from tests.fakes.postgres import Postgres
from tests.proxy.stored import ask

KEY = "lw-chaos"
_BEHIND = 0.5  # seconds that this program may be behind with what came over its connections


class Upstream:
    """A provider that notes when it saw which id, and answers after a moment."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.repeated = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        left = tuple(self._open)
        for writer in left:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in left), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                body = json.loads(await reader.readexactly(length))
                id = body["messages"][0]["content"]
                self.repeated += id in self.seen
                self.seen[id] = monotonic()
                await asyncio.sleep(random.uniform(0.002, 0.03))
                answer = json.dumps(
                    {
                        "id": "x",
                        "object": "chat.completion",
                        "model": body["model"],
                        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}],
                        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                    }
                ).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


class Load:
    """So many requests at a steady rate; how each ended, and how long it took (seconds)."""

    def __init__(self, url: str, requests: int, rate: float, key: str = KEY) -> None:
        self._key = key
        self._url = url
        self._requests = requests
        self._rate = rate
        self.statuses: Counter[int] = Counter()
        self.answered: dict[str, float] = {}
        """When the answer to which id was complete."""
        self.took: list[tuple[float, float]] = []

    async def run(self) -> None:
        """Sends everything; returns when the last one has ended."""
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(connector=connector, headers={"x-portkey-api-key": self._key}) as session:
            began, tasks = monotonic(), []
            for n in range(self._requests):
                await asyncio.sleep(max(0.0, began + n / self._rate - monotonic()))
                tasks.append(asyncio.create_task(self._one(session, f"chaos-{n}")))
            await asyncio.gather(*tasks)

    async def _one(self, session: aiohttp.ClientSession, id: str) -> None:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": id}]}
        began = monotonic()
        try:
            async with session.post(
                f"{self._url}/v1/chat/completions", json=body, headers={"x-portkey-trace-id": id}
            ) as answer:
                await answer.read()
                self.statuses[answer.status] += 1
                self.answered[id] = monotonic()
        except aiohttp.ClientError:
            self.statuses[0] += 1  # its worker was killed
        self.took.append((began, monotonic() - began))


class Scene:
    """A gateway between the load and the upstream, and what its ledger has in the end."""

    def __init__(self, folder: Path, upstream: Upstream, store: str | None, **settings: Any) -> None:
        config = {
            "virtual_keys": [virtual_key("openai", "openai", upstream.url)],
            "api_keys": [
                {"name": "chaos", "key": KEY, "scopes": ["inference"]},
                {"name": "admin", "key": ADMIN_KEY, "scopes": ["admin"]},
            ],
            "store": {**settings, **({"url": store} if store else {})},
            "logs": {"access": False},
        }
        self.upstream = upstream
        self.gateway = Gateway(folder, config, workers=2)
        self.place = store or str(self.gateway.data / "loopway.db")

    def rows(self) -> list[tuple[Any, ...]]:
        """(trace id, outcome, input tokens, cost) of every row."""
        return ask(self.place, "SELECT trace_id, outcome, input_tokens, cost FROM usage")

    def missing(self) -> set[str]:
        """What the upstream saw and the ledger has not."""
        return set(self.upstream.seen) - {str(row[0]) for row in self.rows()}

    def journals(self) -> int:
        """Files with rows that wait for the store."""
        return len(list((self.gateway.data / "run" / "ledger").glob("*")))

    def duplicates(self) -> int:
        """Rows of requests that have one already."""
        return sum(count - 1 for count in Counter(row[0] for row in self.rows()).values())

    def counter(self, name: str) -> float:
        """A gateway's counter by its name."""
        lines = self.gateway.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


async def kills(
    folder: Path, requests: int, times: int, rate: float, store: str | None = None, *, strict: bool = False
) -> dict[str, Any]:
    """SIGKILL, again and again, to one worker after the other, under load; in the end a graceful stop."""
    async with Upstream() as upstream:
        scene = Scene(folder, upstream, store, ledger="strict" if strict else "batched")
        async with scene.gateway as gateway:
            load = Load(gateway.url, requests, rate)
            running = asyncio.create_task(load.run())
            killed: list[float] = []
            ends = monotonic() + requests / rate
            while not running.done() and len(killed) < times:
                # So that all of them come in the time there is, also where each takes a while.
                await asyncio.sleep(random.uniform(0.5, 1.4) * (ends - monotonic()) / (times - len(killed) + 1))
                workers = gateway.workers()
                if workers:
                    os.kill(random.choice(workers), signal.SIGKILL)
                    killed.append(monotonic())
            await running
        waiting = scene.journals()
        if waiting:
            # Who was killed last, with nobody alive who could take it over before the end: the next start does.
            async with scene.gateway:
                pass
        missing = scene.missing()
        # How long before a kill each missing one was seen: what was seen earlier should have been written. A request
        # whose answer is on its way has no row yet, however long a busy machine takes for that; so the same for when
        # its client had it. Both are noted when this loop comes to it, so that may be after the kill of its worker.
        ages, waits = (
            sorted(
                min((max(0.0, at - seen[id]) for at in killed if at >= seen[id] - _BEHIND), default=99.0)
                for id in missing & seen.keys()
            )
            for seen in (upstream.seen, load.answered)
        )
        return {
            "requests": requests,
            "seen upstream": len(upstream.seen),
            "kills": len(killed),
            "answered": load.statuses[200],
            "missing": len(missing),
            "missing, seen more than a second before a kill": sum(1 for age in ages if age > 1.0),
            "the oldest of them, seconds before a kill": round(ages[-1], 2) if ages else 0,
            "missing, answered more than a second before a kill": sum(1 for age in waits if age > 1.0),
            "missing for each kill": round(len(missing) / max(1, len(killed)), 2),
            "requests a second": rate,
            "duplicates": scene.duplicates(),
            "pending": sum(1 for row in scene.rows() if row[1] == "pending"),
            "journals that waited for the next start": waiting,
            "journals left": scene.journals(),
        }


async def outage(folder: Path, seconds: float, rate: float, *, freeze: bool = False) -> dict[str, Any]:
    """PostgreSQL goes away under load and comes back: crashed, or frozen in the middle of everything."""
    server = await asyncio.to_thread(Postgres)
    try:
        async with Upstream() as upstream:
            scene = Scene(folder, upstream, await asyncio.to_thread(server.database))
            async with scene.gateway as gateway:
                lead = min(5.0, seconds)
                # A key that lives in the database that goes away, not in the file.
                made = gateway.admin("POST", "/v1/api-keys/workspace/service", {"name": "k", "scopes": ["inference"]})
                key = made.json()["key"]
                await _known(gateway, key)
                load = Load(gateway.url, int(rate * (2 * lead + seconds)), rate, key)
                began = monotonic()
                running = asyncio.create_task(load.run())
                await asyncio.sleep(lead)
                down = monotonic()
                await asyncio.to_thread(server.freeze, True) if freeze else await asyncio.to_thread(
                    server.stop, signal.SIGQUIT
                )
                await asyncio.sleep(seconds / 2)
                await _until(lambda: _is(gateway.url, 503))
                unknown = await _unknown(gateway.url)
                admin = await asyncio.to_thread(lambda: gateway.admin("GET", "/v1/api-keys").status_code)
                await asyncio.sleep(max(0.0, down + seconds - monotonic()))
                await asyncio.to_thread(server.freeze, False) if freeze else await asyncio.to_thread(server.start)
                up = monotonic()
                recovered = await _until(lambda: _is(gateway.url, 401))
                await running
                await _until(lambda: _nothing(scene))
                lost = scene.counter("loopway_ledger_dropped_total")
            before = [took for at, took in load.took if at < down and at > began + 1]
            during = [took for at, took in load.took if down <= at < up]
            return {
                "seconds": seconds,
                "requests": sum(load.statuses.values()),
                "not answered with 200": sum(load.statuses.values()) - load.statuses[200],
                "statuses": dict(load.statuses),
                "an unknown key got": unknown,
                "administration got": admin,
                "seconds until unknown keys got 401 again": round(recovered - up, 2),
                "p50 before, during (ms)": [round(1000 * statistics.median(part), 2) for part in (before, during)],
                "p99 before, during (ms)": [round(1000 * _p99(part), 2) for part in (before, during)],
                "missing": len(scene.missing()),
                "duplicates": scene.duplicates(),
                "dropped": lost,
            }
    finally:
        await asyncio.to_thread(server.close)


async def full_disk(folder: Path, requests: int, rate: float) -> dict[str, Any]:
    """No file may grow any more, neither the database nor the journals; later they may again."""
    async with Upstream() as upstream:
        scene = Scene(folder, upstream, None)
        async with scene.gateway as gateway:
            load = Load(gateway.url, requests, rate)
            running = asyncio.create_task(load.run())
            await asyncio.sleep(requests / rate / 4)
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            for pid in gateway.workers():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            await asyncio.sleep(requests / rate / 2)
            waited = len(scene.missing())
            for pid in gateway.workers():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
            await running
            await _until(lambda: _nothing(scene))
        return {
            "requests": requests,
            "not answered with 200": requests - load.statuses[200],
            "waiting while the disk was full": waited,
            "missing": len(scene.missing()),
            "duplicates": scene.duplicates(),
            "database": ask(scene.place, "PRAGMA integrity_check")[0][0],
        }


async def _is(url: str, status: int) -> bool:
    return await _unknown(url) == status


async def _known(gateway: Gateway, key: str) -> None:
    """Waits until each worker knows a key: asks one while the others stand still, for one alone may take all
    connections."""
    for pid in gateway.workers():
        others = [other for other in gateway.workers() if other != pid]
        try:
            for other in others:
                os.kill(other, signal.SIGSTOP)
            await _until(lambda: _is_not(gateway.url, key, 401))
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)


async def _is_not(url: str, key: str, status: int) -> bool:
    return await _unknown(url, key) != status


async def _unknown(url: str, key: str = "lw-nobody-knows") -> int:
    async with aiohttp.ClientSession() as session:
        headers = {"x-portkey-api-key": key}
        async with session.post(f"{url}/v1/chat/completions", json={}, headers=headers) as answer:
            return answer.status


async def _nothing(scene: Scene) -> bool:
    return not await asyncio.to_thread(scene.missing)


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> float:
    """Waits for a condition, and gives the moment when it held first or the time was over."""
    ends = monotonic() + seconds
    while not await condition() and monotonic() < ends:
        await asyncio.sleep(0.05)
    return monotonic()


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def main() -> None:
    """Runs one scene and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", choices=["kills", "outage", "full_disk"])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if given.scene == "outage":
            figures = asyncio.run(outage(path, given.seconds, given.rate, freeze=given.freeze))
        elif given.scene == "full_disk":
            figures = asyncio.run(full_disk(path, given.requests, given.rate))
        else:
            server = Postgres() if given.postgres else None
            try:
                url = None if server is None else server.database()
                figures = asyncio.run(kills(path, given.requests, given.kills, given.rate, url, strict=given.strict))
            finally:
                if server is not None:
                    server.close()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
