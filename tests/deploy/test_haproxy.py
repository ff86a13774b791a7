"""The load balancer's configuration as it is shipped, in front of two real gateways on one PostgreSQL and one Redis."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.behaviour.client import connect, request
from tests.behaviour.rolling import HELLO, MODEL, Load, body, until
from tests.fakes.gateway import SEED_KEY, Gateway, Upstream, standard
from tests.fakes.redis_server import RedisServer, free_port

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
CHAT = {"model": MODEL, "messages": HELLO}
LIMIT = 4


class Balancer:
    """HAProxy with the configuration that is shipped."""

    def __init__(self, directory: Path, gateways: list[Gateway]) -> None:
        self.port, self._stats = free_port(), free_port()
        addresses = {f"GATEWAY_{number}": f"127.0.0.1:{each.port}" for number, each in enumerate(gateways, 1)}
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "haproxy is missing; tests/services.sh installs it"
        self.output = directory / "haproxy.txt"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "-db", "-f", str(CONFIG)],
                env=os.environ | addresses | {"BIND": f"127.0.0.1:{self.port}", "STATS": f"127.0.0.1:{self._stats}"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def up(self) -> set[str]:
        """The gateways that it sends requests to."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self._stats}/metrics", trust_env=False).text
        except httpx.TransportError:
            return set()
        found = re.findall(r'haproxy_server_status\{proxy="gateways",server="([\w-]+)",state="UP"\} 1', page)
        return set(found)

    def post(self, body: Any, key: str = SEED_KEY) -> httpx.Response:
        """One chat on a connection of its own."""
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        return httpx.post(url, json=body, headers={"x-portkey-api-key": key}, timeout=30, trust_env=False)

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(10)


class Site:
    """Two gateways, and what stands in front of and behind them."""

    def __init__(self, start: Callable[[int, int], Gateway], gateways: list[Gateway], balancer: Balancer) -> None:
        self.start = start
        self.gateways = gateways
        self.balancer = balancer

    async def both(self) -> None:
        """Waits until the balancer uses both."""
        await until(lambda: len(self.balancer.up()) == 2, "both gateways are up")


@pytest.fixture
def site(tmp_path: Path, upstream: Upstream, postgres_url: str) -> Iterator[Site]:
    config = standard(upstream.url)
    config["api_keys"].append({"name": "limited", "key": "lw-limited", "limits": {"concurrency": LIMIT}})
    config["server"] = {"drain_delay": "3s", "drain_idle": "500ms"}
    config["store"] = {"url": postgres_url}
    running: list[Gateway] = []
    with RedisServer(tmp_path) as redis:
        config["redis"] = {"url": redis.url}

        def start(number: int, port: int = 0) -> Gateway:
            place = tmp_path / f"gateway-{number}-{len(running)}"
            gateway = Gateway(place, config, workers=2, port=port).__enter__()
            running.append(gateway)
            return gateway

        gateways: list[Gateway] = []
        balancer = None
        try:
            gateways += [start(1), start(2)]
            balancer = Balancer(tmp_path, gateways)
            yield Site(start, gateways, balancer)
        finally:
            if balancer is not None:
                balancer.close()
            for gateway in running:
                gateway.kill()


def asked(gateway: Gateway) -> int:
    """How many chats an instance has answered."""
    found = re.findall(r'^loopway_requests_total\{.*status="200"\} (\d+)', gateway.get("/metrics").text, re.MULTILINE)
    return sum(map(int, found))


async def test_both_serve_and_know_what_one_of_them_was_told(site: Site) -> None:
    await site.both()
    for _ in range(30):
        assert (await asyncio.to_thread(site.balancer.post, CHAT)).status_code == 200
    await until(lambda: sum(map(asked, site.gateways)) == 30, "all are counted")
    assert min(map(asked, site.gateways)) >= 5
    hidden = httpx.get(f"http://127.0.0.1:{site.balancer.port}/metrics", trust_env=False)
    assert hidden.status_code == 404

    first, second = site.gateways
    made = first.admin("POST", "/v1/api-keys/workspace/service", {"name": "n", "scopes": ["completions.write"]})
    assert made.status_code == 200, made.text
    key = made.json()["key"]
    await until(lambda: second.post("/v1/chat/completions", CHAT, key=key).status_code == 200, "the other knows it", 5)


async def test_an_instance_that_ends_and_comes_back_costs_no_request(site: Site) -> None:
    await site.both()
    load = Load(site.balancer.port, 50, 10, gap=50, chunks=20)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0.5)
    first = site.gateways[0]
    port = first.port
    first.send(signal.SIGTERM)
    await until(lambda: site.balancer.up() == {"gateway-2"}, "the balancer knows")
    assert await asyncio.to_thread(first.wait) == 0
    site.gateways[0] = await asyncio.to_thread(site.start, 1, port)
    await site.both()
    await asyncio.sleep(0.5)
    load.stop()
    await running
    assert load.report()["failures"] == {}
    assert load.done > 100


async def test_an_instance_that_is_killed_takes_only_its_own_requests_along(site: Site) -> None:
    await site.both()
    load = Load(site.balancer.port, 50, 10, gap=50, chunks=20)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0.5)
    in_flight = len(load._tasks)
    await asyncio.to_thread(site.gateways[0].kill)
    await until(lambda: site.balancer.up() == {"gateway-2"}, "the balancer knows")
    settled = load.report()["failed"]
    await asyncio.sleep(1)
    load.stop()
    await running
    found = load.report()
    assert found["failed"] == settled, f"requests failed after the balancer knew: {found['failures']}"
    assert found["failed"] <= in_flight, found["failures"]


async def test_a_limit_holds_over_both(site: Site) -> None:
    await site.both()
    raw = body(True, gap=30, chunks=1000).replace(SEED_KEY.encode(), b"lw-limited")
    lines = []
    statuses = []
    for _ in range(3 * LIMIT):
        line = await connect(site.balancer.port)
        lines.append(line)
        line.send(raw)
        statuses.append((await line.head())[0])
    assert sorted(statuses) == [200] * LIMIT + [429] * 2 * LIMIT
    for line in lines:
        line.leave()
    began = time.monotonic()

    async def free() -> bool:
        line = await connect(site.balancer.port)
        line.send(raw)
        status = (await line.head())[0]
        line.leave()
        return status == 200

    while not await free():
        assert time.monotonic() < began + 5, "permits of clients that left never came back"
        await asyncio.sleep(0.05)


async def test_events_pass_one_by_one(site: Site) -> None:
    await site.both()
    line = await connect(site.balancer.port)
    steered = {"model": f"{MODEL}::gap=150,chunks=8", "messages": HELLO, "stream": True}
    line.send(request("/v1/chat/completions", httpx.Request("POST", "http://a", json=steered).content, key=SEED_KEY))
    await line.head()
    times = []
    for _ in range(5):
        await line.receive(b"\n\n")
        times.append(time.monotonic())
    line.leave()
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(times[1:]))
