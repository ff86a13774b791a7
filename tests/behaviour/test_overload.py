"""A worker with too much to do refuses early and cheaply, and does what it has taken on well."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtests.micro import rig as micro
from loadtests.micro.count import bytecodes_of
from proxy.app import overload
from proxy.app.container import Container
from proxy.config.settings import OverloadSettings
from tests.behaviour.client import ask, request
from tests.behaviour.overload import good, provider, steps
from tests.behaviour.rig import CHAT, MESSAGES, Rig, api_key
from tests.fakes.upstream import SSE_HEAD, Scripted, chunk, ok

EVENT = chunk(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
STREAM = {**CHAT, "stream": True}
ADMIN = api_key("admin", "lw-admin", scopes=("admin",))


def rig_of(url: str, **settings: Any) -> Rig:
    return Rig(openai=url, keys=(ADMIN,), server={"overload": OverloadSettings(**settings)})


async def test_more_requests_at_once_than_allowed_are_refused_before_their_body_is_read() -> None:
    async with Scripted([]) as upstream, rig_of(upstream.url, in_flight=2) as rig:
        lines = []
        for count in (1, 2):
            lines.append(await rig.open("/v1/chat/completions", STREAM))
            await upstream.until(lambda u, count=count: len(u.requests) == count)
            upstream.connections[-1].write(SSE_HEAD + EVENT)
            await lines[-1].receive(b"data: ")

        refused = await rig.chat()
        assert refused.status == 503
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert refused.headers["x-portkey-trace-id"]
        assert refused.json()["error"]["code"] == "gateway_overloaded"
        assert "connection" not in refused.headers
        other = await rig.post("/v1/messages", MESSAGES)
        assert (other.status, other.json()["error"]["type"]) == (503, "overloaded_error")
        # A large body is not waited for, nor asked for.
        large = {"content-length": "90000000", "expect": "100-continue"}
        early = await ask(rig.port, request("/v1/chat/completions", headers=large))
        assert (early.status, early.headers["connection"]) == (503, "close")
        # Who has no key learns nothing; probes and administration go on.
        assert (await ask(rig.port, request("/v1/chat/completions", b"{}", key="lw-no"))).status == 401
        for path, key in (("/healthz", ""), ("/readyz", ""), ("/metrics", ""), ("/v1/virtual-keys", "lw-admin")):
            assert (await ask(rig.port, request(path, method="GET", key=key))).status == 200
        metrics = rig.gateway.metrics_text() or ""
        assert 'loopway_shed_total{reason="in_flight"} 3\n' in metrics
        assert "loopway_keys_refused_total 1\n" in metrics
        assert len(upstream.requests) == 2
        assert len(await rig.usage()) == 0

        upstream.connections[0].write(END)
        await lines[0].until(lambda: lines[0].data.endswith(b"0\r\n\r\n"))
        fourth = await rig.open("/v1/chat/completions", CHAT)
        await upstream.until(lambda u: len(u.requests) == 3)
        upstream.connections[0].write(ok(b"{}"))
        await fourth.receive(b"{}")


async def test_nothing_is_put_before_the_desk_while_there_is_room() -> None:
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream, rig_of(upstream.url, in_flight=2) as rig:
        assert (await rig.chat()).status == 200
        assert not rig.gateway.shedder.guarding
        lines = [await rig.open("/v1/chat/completions", CHAT) for _ in range(3)]
        await asyncio.gather(*(line.receive(b"{}") for line in lines))
        assert rig.gateway.shedder.guarding  # more connections than requests are allowed: now they are counted
        assert not any(rig.gateway.metrics.shed.values())
        for line in lines:
            assert line.transport is not None
            line.transport.close()
        await rig.until(lambda: not rig.gateway.shedder.guarding)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Turn:
    """The loop, of which a turn ends when the test says so."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def end(self) -> None:
        while self.soon:
            self.soon.pop()()


async def test_a_loop_that_is_late_for_seconds_takes_what_it_can_do_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turn = Clock(), Turn()
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream, rig_of(upstream.url, lag=1.0) as rig:
        shedder = rig.gateway.shedder
        rig.gateway._pulse.stop()
        monkeypatch.setattr(overload, "monotonic", clock)
        monkeypatch.setattr(overload, "thread_time", clock)
        monkeypatch.setattr(shedder, "_loop", turn)
        for late in (60.0, 0.0, 1.5, 1.5):  # a machine that stood still, and a burst
            shedder.beat(late)
            clock.now += 1.0
            assert not shedder.guarding
        shedder.beat(1.5)
        assert shedder.guarding

        assert (await rig.chat()).status == 200
        clock.now += 0.4
        assert (await rig.chat()).status == 200
        clock.now += 0.2
        refused = await rig.chat()
        assert (refused.status, refused.json()["error"]["code"]) == (503, "gateway_overloaded")
        turn.end()
        assert (await rig.chat()).status == 200
        assert rig.gateway.metrics.shed["lag"] == 1
        clock.now += 3.0
        shedder.beat(0.0)
        assert not shedder.guarding


class Full:
    """A container, as full as the test says."""

    share = own_share = 0.0

    def used(self) -> float:
        return self.share

    def own(self) -> float:
        return self.own_share

    def close(self) -> None:
        pass


async def test_a_full_container_takes_one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Full()
    monkeypatch.setattr(Container, "find", lambda: full)
    async with Scripted(play=lambda asked: []) as upstream, rig_of(upstream.url, memory=0.9) as rig:
        shedder = rig.gateway.shedder
        full.share = 0.97
        for _ in range(3):
            shedder.beat(0.0)
        assert not shedder.guarding  # somebody else fills it
        full.own_share = 0.8
        await rig.until(lambda: shedder.guarding)
        line = await rig.open("/v1/chat/completions", CHAT)
        await upstream.until(lambda u: len(u.requests) == 1)
        assert (await rig.chat()).status == 503
        upstream.connections[0].write(ok(b"{}"))
        await line.receive(b"{}")
        assert rig.gateway.metrics.shed["memory"] == 1
        full.share = 0.5
        await rig.until(lambda: not shedder.guarding)


UNKNOWN = micro.request("openai", "gpt-4o-mini").replace(micro.TOKEN.encode(), b"lw-nobody")
LIMITED = "limits: {concurrency: 1}"
# In bytecodes, which are not time: a served request has more in the kernel. What leaves a row and a line may cost most.
REFUSED: dict[str, tuple[str, bytes, bytes, float]] = {
    "a full key": (LIMITED, micro.request("openai", "gpt-4o-mini"), b"api_key_concurrency_limit", 0.6),
    "an unknown key": ("", UNKNOWN, b"Invalid API Key", 0.29),
    "a used up rate": ("limits: {requests: {per_day: 1}}", micro.request("openai", "gpt-4o-mini"), b"Rate limit", 0.6),
    "too much to do": ("", micro.request("openai", "gpt-4o-mini"), b"gateway_overloaded", 0.29),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_one_of_many_refusals_costs_a_part_of_a_served_request(name: str) -> None:
    limits, sent, code, part = REFUSED[name]
    ample = await micro.Rig.start()
    asked, answer = micro.request("openai", "gpt-4o-mini"), micro.answer("openai")
    served = await bytecodes_of(lambda: ample.exchange(asked, answer), 64)
    await ample.stop()
    rig = await micro.Rig.start(
        micro.CONFIG.replace("[inference], limits: {concurrency: 8192}", f"[inference], {limits}")
    )

    async def refused() -> None:
        rig.door.data_received(sent)
        for _ in range(3):
            await asyncio.sleep(0)

    if name == "a used up rate":
        await rig.exchange(sent, micro.answer("openai"))
    (key,) = rig.gateway.live.snapshot.keys.values()
    if name == "a full key":
        assert key.limiter is not None
        rig.gateway.host.memory.u32[key.limiter.gate.row.my_used] += 1
    if name == "too much to do":
        rig.gateway.edge.handle = rig.gateway.shedder.handle
        rig.gateway.shedder._tight, rig.gateway.metrics.in_flight = True, 1
    for _ in range(40):
        await refused()
    assert await bytecodes_of(refused, 64) < part * served
    assert code in rig.down.written[-1]
    await rig.stop()


def test_as_many_requests_as_descriptors_allow_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 4096))
    assert overload.most(OverloadSettings()) == 480
    assert overload.most(OverloadSettings(in_flight=7)) == 7
    assert overload.most(OverloadSettings(in_flight=0)) == 0
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert overload.most(OverloadSettings()) == 0


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "4:memory:/pods/x\n0::/")
V2 = ("memory.max", "memory.current", "inactive_file", "0::/pods/x")


@pytest.mark.parametrize("names", [V1, V2], ids=["version 1", "version 2"])
@pytest.mark.parametrize("where", ["", "pods", "pods/x"], ids=["the root", "its parent", "its own"])
def test_the_innermost_limit_of_a_container_holds(tmp_path: Path, names: tuple[str, ...], where: str) -> None:
    limit, usage, kept, said = names
    (tmp_path / "said").write_text(said)
    folder = tmp_path / ("memory" if names is V1 else "") / where
    folder.mkdir(parents=True, exist_ok=True)
    assert Container.find(tmp_path, tmp_path / "said") is None
    (folder / limit).write_text("max\n" if names is V2 else "9223372036854771712\n")
    assert Container.find(tmp_path, tmp_path / "said") is None
    (folder / limit).write_text("1000000000\n")
    (folder / usage).write_text("900000000\n")
    (folder / "memory.stat").write_text(f"anon 1\n{kept} 100000000\nfile 7\n")
    found = Container.find(tmp_path, tmp_path / "said")
    assert found is not None
    assert found.used() == pytest.approx(0.8)
    assert 0 < found.own() < 1
    found.close()


def test_where_nothing_says_which_container_there_is_none(tmp_path: Path) -> None:
    assert Container.find(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize("by", ["key", "worker"])
async def test_three_times_what_fits_is_served_as_far_as_it_fits_and_nothing_is_left(by: str) -> None:
    async with provider() as upstream:
        found = await steps(upstream, by, 0.4, places=8, connections=32)
    assert good(found, by), found
    assert found["3x"]["statuses"][200] > 0
    assert sum(found["3x"]["statuses"].values()) > found["3x"]["statuses"][200]
    assert found["3x"]["memory_mb"] < found["1x"]["memory_mb"] + 32
