"""Restarts, upgrades and crashes under load; the long form is `python -m tests.behaviour.rolling`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.behaviour.client import connect, request
from tests.behaviour.rolling import HELLO, MODEL, Load, body, drive, until
from tests.fakes.gateway import SEED_KEY, Gateway, Launch, Upstream, standard

CHAT = {"model": MODEL, "messages": HELLO}


def quick(upstream: Upstream, **server: Any) -> dict[str, Any]:
    """The usual configuration, whose unused connections do not hold up a restart for long."""
    return standard(upstream.url) | {"server": {"drain_idle": "500ms", **server}, "logs": {"access": False}}


@pytest.mark.parametrize("how", ["HUP", "USR2"])
async def test_no_request_notices_that_workers_or_programs_are_replaced(
    how: str, launch: Launch, upstream: Upstream
) -> None:
    gateway = await asyncio.to_thread(launch, quick(upstream), workers=2)
    # As clients should, these let go of a connection before it is closed under a request on its way.
    load = Load(gateway.port, 100, 20, gap=20, chunks=20, idle=0.25)
    found = await drive(gateway, how, 3, 0.5, 2, load)
    assert found["failures"] == {}
    assert found["requests"] > 100


async def test_a_killed_worker_takes_only_its_own_requests_along_and_another_serves_soon(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = await asyncio.to_thread(launch, quick(upstream), workers=2)
    load = Load(gateway.port, 100, 20, gap=20, chunks=20)
    found = await drive(gateway, "KILL", 3, 0.5, 2, load)
    assert found["failed"] <= found["in_flight"]
    assert len(load.failed_on) <= 3, "others than the victims' requests failed"
    assert max(found["recovered_ms"]) < 15_000, "a fifth of a second, on a machine that does nothing else"
    assert not [what for what in found["failures"] if "Error" in what or "status" in what]


async def test_the_old_program_goes_on_where_the_new_one_cannot_start(launch: Launch, upstream: Upstream) -> None:
    gateway = await asyncio.to_thread(launch, quick(upstream), workers=1)
    before = gateway.workers()
    gateway.write("virtual_keys: [")
    gateway.send(signal.SIGUSR2)
    await until(lambda: gateway.log().count("loopway.yaml:") >= 2, "worker and new program say why")
    await until(lambda: gateway.workers() == before, "it is gone")
    assert (await asyncio.to_thread(gateway.get, "/readyz")).status_code == 200
    gateway.write(quick(upstream))
    await asyncio.to_thread(gateway.upgrade)
    assert (await asyncio.to_thread(gateway.get, "/readyz")).status_code == 200


def test_an_upgrade_keeps_what_was_counted(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(quick(upstream))
    for _ in range(5):
        assert gateway.post("/v1/chat/completions", CHAT).is_success
    gateway.upgrade()
    gateway.until(lambda: 'status="200"} 5' in gateway.get("/metrics").text, "the five are still there")


# Draining


def told(gateway: Gateway) -> int:
    """What `/readyz` answers on a fresh connection; 0 if nobody does."""
    try:
        return gateway.get("/readyz").status_code
    except httpx.TransportError:
        return 0


def test_workers_that_began_to_serve_are_counted(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(quick(upstream), workers=2)

    def counted(number: int) -> bool:
        return f"loopway_worker_starts_total {number}\n" in gateway.get("/metrics").text

    gateway.until(lambda: counted(2), "both are counted")
    os.kill(gateway.workers()[0], signal.SIGKILL)
    gateway.until(lambda: counted(3), "the one that was killed, too")
    gateway.send(signal.SIGHUP)
    gateway.until(lambda: counted(5), "a new generation")


def test_readiness_goes_before_the_listener_does(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(quick(upstream, drain_delay="60s"))
    gateway.send(signal.SIGTERM)
    gateway.until(lambda: told(gateway) == 503, "it says that it ends")
    answer = gateway.post("/v1/chat/completions", CHAT)
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    gateway.stop(signal.SIGQUIT)  # without the minute
    assert told(gateway) == 0


def test_a_new_generation_leaves_readiness_alone(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(quick(upstream, drain_delay="30s"))
    (old,) = gateway.workers()
    gateway.send(signal.SIGHUP)
    seen = set()

    def gone() -> bool:
        seen.add(told(gateway))
        return old not in gateway.workers()

    gateway.until(gone, "the old worker is gone", 25)
    assert seen == {200}
    gateway.stop(signal.SIGQUIT)  # without the thirty seconds


async def test_a_kept_connection_is_answered_once_more_and_told_to_close(launch: Launch, upstream: Upstream) -> None:
    gateway = await asyncio.to_thread(launch, quick(upstream, drain_idle="5s"))
    used, silent = await connect(gateway.port), await connect(gateway.port)
    used.send(request("/healthz", method="GET"))
    assert (await used.answer()).headers.get("connection") is None
    gateway.send(signal.SIGTERM)
    # The listener is closed by the worker once it drains.
    await until(lambda: told(gateway) == 0, "nobody new is let in")
    assert not used.over
    used.send(body(False))
    answer = await used.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await used.until(lambda: used.over)
    silent.leave()
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_unused_connections_close_soon(launch: Launch, upstream: Upstream) -> None:
    gateway = await asyncio.to_thread(launch, quick(upstream))
    idle = await connect(gateway.port)
    began = time.monotonic()
    gateway.send(signal.SIGTERM)
    await idle.until(lambda: idle.over)
    assert await asyncio.to_thread(gateway.wait) == 0
    assert time.monotonic() - began < 20, "not for as long as a stream may take"


# A worker that cannot start; a port of its own


def test_workers_that_cannot_start_are_not_started_without_end(tmp_path: Path, upstream: Upstream) -> None:
    gateway = Gateway(tmp_path, quick(upstream))
    with gateway:
        database = gateway.data / "loopway.db"
        keep = database.read_bytes()
        (victim,) = gateway.workers()
        for path in gateway.data.glob("loopway.db*"):
            path.unlink()
        database.mkdir()
        os.kill(victim, signal.SIGKILL)
        gateway.until(lambda: gateway.log().count("exited with code") >= 2, "two have failed to start")
        time.sleep(1)
        assert gateway.log().count("exited with code") <= 3
        database.rmdir()
        database.write_bytes(keep)
        gateway.until(lambda: told(gateway) == 200, "one could start again")


def test_metrics_have_a_port_of_their_own_and_nothing_else_is_there(launch: Launch, upstream: Upstream) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gateway = launch(quick(upstream) | {"telemetry": {"metrics_port": port}}, workers=2)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert "loopway_in_flight" in client.get("/metrics").text
        assert client.get("/readyz").status_code == 200
        key = {"x-portkey-api-key": SEED_KEY}
        assert client.get("/metrics", headers=key).status_code == 200
        for path in ("/v1/models", "/v1/api-keys", "/openapi.json"):
            assert client.get(path, headers=key).status_code == 404
            assert client.get(path).status_code == 401
        assert client.post("/v1/chat/completions", headers=key, json={}).status_code == 404
    gateway.upgrade()
    assert httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).status_code == 200


def test_a_signal_switches_debug_logging_on_and_off_everywhere(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    for level, count in (("debug", 3), ("info", 3)):
        gateway.send(signal.SIGUSR1)
        gateway.until(
            lambda level=level, count=count: gateway.log().count(f"logging at level {level}") == count,
            "supervisor and workers say so",
        )
    config = standard(upstream.url) | {"logs": {"level": "error"}}
    gateway.write(config)
    gateway.until(lambda: gateway.log().count("logging at level error") == 2, "workers follow the file")
