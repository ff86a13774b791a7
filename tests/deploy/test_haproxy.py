"""The load balancer's configuration as it is shipped, in front of two real gateways on one PostgreSQL and one Redis."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.behaviour.client import connect
from tests.behaviour.rolling import HELLO, MODEL, Load, body, until
from tests.deploy.balancers import HAProxy
from tests.fakes.gateway import SEED_KEY, Gateway, Upstream, standard
from tests.fakes.postgres import Postgres
from tests.fakes.redis_server import RedisServer

CHAT = {"model": MODEL, "messages": HELLO}
LIMIT = 4


class Site:
    """Two gateways, and what stands in front of and behind them."""

    def __init__(self, start: Callable[[int, int], Gateway], gateways: list[Gateway], balancer: HAProxy) -> None:
        self.start = start
        self.gateways = gateways
        self.balancer = balancer

    async def both(self) -> None:
        """Waits until the balancer uses both."""
        await until(lambda: len(self.balancer.up()) == 2, "both gateways are up")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, session_upstream: Upstream, postgres: Postgres) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    config = standard(session_upstream.url)
    config["api_keys"].append({"name": "limited", "key": "lw-limited", "limits": {"concurrency": LIMIT}})
    config["server"] = {"drain_delay": "3s", "drain_idle": "500ms"}
    config["store"] = {"url": postgres.database()}
    running: list[Gateway] = []
    with RedisServer(folder) as redis:
        config["redis"] = {"url": redis.url}

        def start(number: int, port: int = 0) -> Gateway:
            place = folder / f"gateway-{number}-{len(running)}"
            gateway = Gateway(place, config, workers=2, port=port).__enter__()
            running.append(gateway)
            return gateway

        gateways: list[Gateway] = []
        balancer = None
        try:
            gateways += [start(1), start(2)]
            balancer = HAProxy(folder, gateways)
            yield Site(start, gateways, balancer)
        finally:
            if balancer is not None:
                balancer.close()
            for gateway in running:
                gateway.kill()


@pytest.fixture
def site(shared: Site, upstream: Upstream) -> Site:
    """Both gateways run, whatever became of them in the test before."""
    for number, gateway in enumerate(shared.gateways):
        if not gateway.runs():
            shared.gateways[number] = shared.start(number + 1, gateway.port)
    return shared


def asked(gateway: Gateway) -> int:
    """How many chats an instance has answered."""
    found = re.findall(r'^loopway_requests_total\{.*status="200"\} (\d+)', gateway.get("/metrics").text, re.MULTILINE)
    return sum(map(int, found))


async def test_both_serve_and_know_what_one_of_them_was_told(site: Site) -> None:
    await site.both()
    before = [asked(each) for each in site.gateways]
    for _ in range(30):
        assert (await asyncio.to_thread(site.balancer.post, CHAT)).status_code == 200
    await until(lambda: sum(map(asked, site.gateways)) == sum(before) + 30, "all are counted")
    assert all(asked(each) >= had + 5 for each, had in zip(site.gateways, before, strict=True))
    assert site.balancer.get("/metrics") == 404

    first, second = site.gateways
    made = first.admin("POST", "/v1/api-keys/workspace/service", {"name": "n", "scopes": ["completions.write"]})
    assert made.status_code == 200, made.text
    key = made.json()["key"]
    await until(lambda: second.post("/v1/chat/completions", CHAT, key=key).status_code == 200, "the other knows it")


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
    await asyncio.sleep(0.3)  # what had failed by then was told to its clients
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
        assert time.monotonic() < began + 30, "permits of clients that left never came back"
        await asyncio.sleep(0.05)
