"""Lines of the access log for what is no inference."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.behaviour.client import ask, request
from tests.fakes.gateway import ADMIN_KEY, Gateway, Launch, Upstream, standard


def notes(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    """Those of one kind so far."""
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith('{"time"')]
    return [line for line in lines if line.get("kind") == kind]


def test_administration_leaves_a_line_that_says_who_and_what(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    answer = gateway.admin("GET", "/v1/configs?secret=canary-in-a-query")
    (line,) = gateway.until(lambda: notes(gateway, "admin"), "the line is there")
    assert (line["method"], line["path"], line["status"], line["key"]) == ("GET", "/v1/configs", 200, "admin")
    assert line["request_id"] == answer.headers["x-portkey-trace-id"]
    assert "canary" not in gateway.log()
    assert ADMIN_KEY not in gateway.log()


def test_probes_leave_lines_only_while_debugging(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    gateway.get("/healthz")
    gateway.admin("GET", "/v1/configs")
    gateway.until(lambda: notes(gateway, "admin"), "that is there")
    assert not notes(gateway, "probe")
    gateway.send(signal.SIGUSR1)
    gateway.until(lambda: gateway.get("/healthz") and notes(gateway, "probe"), "and now they do")


async def test_what_is_refused_at_the_edge_leaves_lines_but_not_without_end(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    for _ in range(150):
        answer = await ask(gateway.port, b"GET /a//b HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert answer.status == 400
    seen = notes(gateway, "malformed")
    assert 10 <= len(seen) < 150
    assert seen[0]["error"].startswith("The path is malformed.")
    assert seen[0]["request_id"]
    await ask(gateway.port, request("/v1/unknown/", method="GET", key="lw-not-a-key"))
