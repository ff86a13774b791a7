"""What both load balancers owe to streams, and nginx in front of two gateways."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.config.file import FileConfig
from tests.behaviour.client import connect, request
from tests.behaviour.rolling import HELLO, MODEL, Load, until
from tests.deploy.balancers import DEPLOY, Balancer, HAProxy, Nginx
from tests.fakes.gateway import SEED_KEY, Gateway, Launch, Upstream, standard

CHAT = {"model": MODEL, "messages": HELLO}
KINDS: tuple[tuple[type[HAProxy] | type[Nginx], dict[str, str]], ...] = (
    # Everything that is not a timeout of a stream's silence is made shorter than the silence below.
    (
        HAProxy,
        {"http-request 10s": "http-request 300ms", "keep-alive 60s": "keep-alive 300ms", "queue 5s": "queue 300ms"},
    ),
    (
        Nginx,
        {
            "header_timeout 10s": "header_timeout 300ms",
            "body_timeout 30s": "body_timeout 300ms",
            "send_timeout 60s": "send_timeout 300ms",
            "keepalive_timeout 60s": "keepalive_timeout 300ms",
        },
    ),
)
SILENCE = 600


@pytest.fixture
def gateways(launch: Launch, upstream: Upstream) -> list[Gateway]:
    config = standard(upstream.url) | {"server": {"drain_delay": "0s", "drain_idle": "2s"}}
    return [launch(config), launch(config)]


@pytest.fixture
def impatient(tmp_path: Path, gateways: list[Gateway]) -> Iterator[list[Balancer]]:
    balancers: list[Balancer] = [make(tmp_path, gateways, swap) for make, swap in KINDS]
    yield balancers
    for balancer in balancers:
        balancer.close()


@pytest.fixture
def nginx(tmp_path: Path, gateways: list[Gateway]) -> Iterator[Nginx]:
    balancer = Nginx(tmp_path, gateways)
    yield balancer
    balancer.close()


def stream(gap: int, chunks: int) -> bytes:
    """A streamed chat whose events come `gap` milliseconds apart."""
    steered = {"model": f"{MODEL}::gap={gap},chunks={chunks}", "messages": HELLO, "stream": True}
    return request("/v1/chat/completions", httpx.Request("POST", "http://a", json=steered).content, key=SEED_KEY)


async def test_each_event_passes_as_it_comes_and_silence_is_borne(impatient: list[Balancer]) -> None:
    async def read(balancer: Balancer) -> list[float]:
        await until(lambda: balancer.get("/readyz") == 200, "it is there")
        line = await connect(balancer.port)
        line.send(stream(SILENCE, 2))
        assert (await line.head())[0] == 200
        times = []
        while b"data: [DONE]" not in await line.receive(b"\n\n"):
            times.append(time.monotonic())
        line.leave()
        return times

    for times in await asyncio.gather(*map(read, impatient)):
        assert len(times) > 3
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert sum(wait > SILENCE / 2000 for wait in waits) >= 2, f"events came together: {waits}"


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]


def test_their_patience_is_longer_than_the_gateways_own() -> None:
    haproxy = dict(
        re.findall(r"^ +timeout (\S+) +(\w+)", (DEPLOY / "haproxy" / "haproxy.cfg").read_text(), re.MULTILINE)
    )
    nginx = dict(re.findall(r"^ +(\w+_timeout) +(\w+);", (DEPLOY / "nginx" / "loopway.conf").read_text(), re.MULTILINE))
    plain = FileConfig().server
    for patience in (haproxy["client"], haproxy["server"], nginx["proxy_read_timeout"]):
        assert seconds(patience) > plain.upstream.first_byte_timeout
    for kept in (haproxy["http-keep-alive"], nginx["keepalive_timeout"]):
        assert seconds(kept) < plain.keepalive_timeout


def serves(gateway: Gateway) -> bool:
    """Whether a chat came to this gateway yet."""
    return 'loopway_requests_total{provider="openai"' in gateway.get("/metrics").text


async def test_nginx_serves_with_both_and_with_the_one_that_is_left(nginx: Nginx, gateways: list[Gateway]) -> None:
    await until(lambda: nginx.get("/readyz") == 200, "it is there")
    assert nginx.get("/metrics") == 404
    load = Load(nginx.port, 50, 8, gap=50, chunks=20)
    running = asyncio.create_task(load.run())
    first, second = gateways
    await until(lambda: all(map(serves, gateways)), "both serve")
    await asyncio.to_thread(first.stop, signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert load.report()["failures"] == {}, "one that ends takes nothing along"
    load.stop()
    await running
    assert load.report()["failures"] == {}
    await asyncio.to_thread(second.kill)
    assert nginx.get("/readyz") == 502
