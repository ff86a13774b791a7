"""What one worker learns, all know within a second; measured on a gateway of several."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from typing import Any

import httpx

from tests.behaviour.client import ask, request
from tests.behaviour.test_ledger import parse, total
from tests.fakes.gateway import Gateway, Launch, Upstream, standard, virtual_key
from tests.fakes.provider import HELLO

ENOUGH = 2000
"""So many connections of their own reach every worker."""


async def statuses(gateway: Gateway, key: str, model: str) -> set[int]:
    """What this key gets for this model, from each worker: the first half of a trace id is the worker's own."""
    body = json.dumps({"model": model, "messages": HELLO}).encode()
    raw = request("/v1/chat/completions", body, {"connection": "close"}, key=key)
    found: dict[str, int] = {}
    for _ in range(ENOUGH):
        answer = await ask(gateway.port, raw)
        found[answer.headers["x-portkey-trace-id"][:16]] = answer.status
        if len(found) == len(gateway.workers()):
            return set(found.values())
    raise AssertionError(f"only {len(found)} workers answered {ENOUGH} requests")


async def soon(what: str, gateway: Gateway, key: str, model: str, status: int) -> None:
    """Waits until every worker answers so, and prints how long that took: a second at most, where there are cores
    enough. Raises AssertionError where they never do."""
    began = time.monotonic()
    while await statuses(gateway, key, model) != {status}:
        assert time.monotonic() < began + 60, what
    print(f"{what}: {time.monotonic() - began:.2f} s")


async def test_what_administration_changes_shows_in_all_workers_within_a_second(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(standard(upstream.url), workers=3)
    assert len(gateway.workers()) == 3
    made = gateway.admin(
        "POST",
        "/v1/virtual-keys",
        {"name": "fresh", "provider": "openai", "key": "sk-fresh", "note": "", "custom_host": f"{upstream.url}/v1"},
    )
    assert made.status_code == 200, made.text
    slug = made.json().get("slug") or made.json()["data"]["slug"]
    await soon("a new virtual key", gateway, gateway.api_key, f"@{slug}/gpt-4o", 200)
    made = gateway.admin("POST", "/v1/api-keys/workspace/service", {"name": "fresh", "scopes": ["completions.write"]})
    assert made.status_code == 200, made.text
    key, identity = made.json()["key"], made.json()["id"]
    await soon("a new API key", gateway, key, f"@{slug}/gpt-4o", 200)
    assert gateway.admin("DELETE", f"/v1/api-keys/{identity}").status_code == 200
    await soon("a deleted API key", gateway, key, f"@{slug}/gpt-4o", 401)
    assert gateway.admin("DELETE", f"/v1/virtual-keys/{slug}").status_code == 200
    await soon("a deleted virtual key", gateway, gateway.api_key, f"@{slug}/gpt-4o", 400)


async def test_an_edited_file_shows_in_all_workers_within_a_second_and_a_bad_one_in_none(
    launch: Launch, upstream: Upstream
) -> None:
    config = standard(upstream.url)
    gateway = launch(config, workers=3)
    config["virtual_keys"].append(virtual_key("openai-added", "openai", upstream.url))
    config["api_keys"] = [each for each in config["api_keys"] if each["name"] != "both"]
    gateway.write(config)
    await soon("an edited file", gateway, gateway.api_key, "@openai-added/gpt-4o", 200)
    await soon("a key gone from the file", gateway, "lw-both", "@openai-added/gpt-4o", 401)
    gateway.write("virtual_keys: [\n")
    gateway.until(lambda: gateway.log().count("cannot be used; the old one stays") == 3, "all workers have said so")
    assert await statuses(gateway, gateway.api_key, "@openai-added/gpt-4o") == {200}
    assert "loopway.yaml:" in gateway.log()


def test_counters_rows_and_lines_are_those_of_all_workers(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=3)
    count = 60
    for _ in range(count):
        assert gateway.post(
            "/v1/chat/completions", {"model": "@open-ai-key-6317bc/gpt-4o", "messages": HELLO}
        ).is_success

    def counted() -> bool:
        page = httpx.get(f"{gateway.url}/metrics", trust_env=False)
        return total(parse(page.text), "loopway_requests_total", status="200") == count

    gateway.until(counted, "the counters agree")
    # Each worker says the same, for each adds up all.
    gateway.until(lambda: all(counted() for _ in range(24)), "every worker says so")

    def rows() -> int:
        with sqlite3.connect(gateway.data / "loopway.db") as connection:
            (found,) = connection.execute("SELECT count(*) FROM usage").fetchone()
        connection.close()
        return int(found)

    gateway.until(lambda: rows() == count, "the ledger has every row")
    lines: list[str] = []

    def logged() -> bool:
        lines[:] = [line for line in gateway.log().splitlines() if line.startswith('{"time"')]
        return len(lines) == count

    gateway.until(logged, "the log has every line")
    assert len({json.loads(line)["request_id"] for line in lines}) == count


def test_a_store_that_cannot_be_read_keeps_everything_going(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=1)
    database = gateway.data / "loopway.db"
    model: dict[str, Any] = {"model": "@open-ai-key-6317bc/gpt-4o", "messages": HELLO}
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        for _ in range(20):
            assert gateway.post("/v1/chat/completions", model).status_code == 200
    finally:
        lock.execute("ROLLBACK")
        lock.close()


async def test_a_worker_that_replaces_a_killed_one_knows_the_edited_file(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url)
    gateway = launch(config, workers=2)
    config["virtual_keys"].append(virtual_key("openai-added", "openai", upstream.url))
    gateway.write(config)
    await soon("an edited file", gateway, gateway.api_key, "@openai-added/gpt-4o", 200)
    before = gateway.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    gateway.until(lambda: len(set(gateway.workers()) - set(before)) == 2, "both are replaced")
    await soon("replaced workers", gateway, gateway.api_key, "@openai-added/gpt-4o", 200)
    for _ in range(5):
        assert await statuses(gateway, gateway.api_key, "@openai-added/gpt-4o") == {200}


async def test_a_circuit_that_opens_in_one_worker_is_open_in_all_within_a_second(
    launch: Launch, upstream: Upstream
) -> None:
    config = standard(upstream.url)
    strategy = {"mode": "fallback", "cb_config": {"failure_threshold": 20}}
    targets = [{"virtual_key": "openai-overloaded"}, {"virtual_key": "openai-small"}]
    config["configs"].append({"slug": "pc-guard", "config": {"strategy": strategy, "targets": targets}})
    gateway = launch(config, workers=3)
    body = json.dumps({"model": "gpt-4o-mini", "messages": HELLO}).encode()
    headers = {"connection": "close", "x-portkey-config": "pc-guard"}
    raw = request("/v1/chat/completions", body, headers, key=gateway.api_key)
    seen: dict[int, str] = {}

    async def look() -> None:
        answer = await ask(
            gateway.port,
            f"GET /v1/health/targets HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"x-portkey-api-key: {gateway.admin_key}\r\n\r\n".encode(),
        )
        for target in answer.json()["data"]:
            if target["target"] == "openai-overloaded":
                seen[answer.json()["worker"]] = target["circuits"][0]["state"]

    for _ in range(ENOUGH):
        assert (await ask(gateway.port, raw)).status == 200
        await look()
        if "open" in seen.values():
            break
    began = time.monotonic()
    while len(seen) < 3 or set(seen.values()) != {"open"}:
        assert time.monotonic() < began + 60, seen
        if len(seen) < 3:
            await ask(gateway.port, raw)  # a worker knows nothing of a target that nobody asked it for
        await look()
    print(f"a circuit: {time.monotonic() - began:.2f} s")
