"""The request log: searched and shown over HTTP and in a terminal; entries and feedback by the Portkey SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Make
from tests.fakes.gateway import (
    ADMIN_KEY,
    MASTER_KEY,
    OPENAI_SLUG,
    ROOT,
    SEED_KEY,
    Gateway,
    Launch,
    Upstream,
    clean_environment,
    standard,
)  # fmt: skip
from tests.fakes.provider import HELLO

LOGS_KEY = "lw-logs-of-the-tests"
OTHER_KEY = "lw-other-of-the-tests"
CANARY = "canary-in-a-prompt-1f2e"


STORES = ("sqlite", "postgresql")


def keeping(request: pytest.FixtureRequest, upstream: Upstream) -> dict[str, Any]:
    """The configuration of a gateway that keeps bodies, on the store that the fixture's parameter names."""
    config = standard(upstream.url)
    config["api_keys"] += [
        {"name": "logs", "key": LOGS_KEY, "scopes": ["logs"]},
        {"name": "other", "key": OTHER_KEY, "scopes": ["inference"]},
    ]
    config["logs"] = {"bodies": True, "body_size": "2KiB", "redact": ["secret-[0-9]+"]}
    if request.param == "postgresql":
        config["store"] = {"url": request.getfixturevalue("postgres").database()}
    return config


@pytest.fixture(params=STORES)
def logged(request: pytest.FixtureRequest, launch: Launch, upstream: Upstream) -> Gateway:
    """A gateway whose log is empty."""
    return launch(keeping(request, upstream))


@pytest.fixture(scope="module", params=STORES)
def shared(
    request: pytest.FixtureRequest, session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One for the tests that look for nothing but what they put there."""
    with Gateway(tmp_path_factory.mktemp("logs"), keeping(request, session_upstream)) as running:
        yield running


def chat(gateway: Gateway, **headers: str) -> httpx.Response:
    messages = [{"role": "user", "content": f"{CANARY} secret-4711 {'long ' * 1000}"}]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("x-portkey-api-key", SEED_KEY)
    body = {"model": f"@{OPENAI_SLUG}/gpt-4o", "messages": messages}
    return gateway.post("/v1/chat/completions", body, headers=named)


def found(gateway: Gateway, **query: str) -> list[dict[str, Any]]:
    answer = gateway.get("/v1/logs", key=LOGS_KEY, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def eventually(gateway: Gateway, condition: Callable[[], Any]) -> Any:
    return gateway.until(condition, "the log has it")


def test_requests_are_found_by_what_they_were(logged: Gateway) -> None:
    chat(logged, x_portkey_trace_id="trace-a", x_portkey_metadata=json.dumps({"team": "a_b", "env": "100%"}))
    chat(logged, x_portkey_trace_id="trace-b", x_portkey_api_key=OTHER_KEY)
    refused = logged.post("/v1/chat/completions", {"model": "@openai-overloaded/gpt-4o", "messages": HELLO})
    assert refused.status_code == 503
    eventually(logged, lambda: len(found(logged)) == 3)
    (first,) = found(logged, trace_id="trace-a")
    assert first["is_success"]
    assert (first["ai_org"], first["ai_model"], first["virtual_key"]) == ("openai", "gpt-4o", OPENAI_SLUG)
    assert first["metadata"] == {"team": "a_b", "env": "100%"}
    assert first["total_units"] == first["req_units"] + first["res_units"] > 0
    assert [row["trace_id"] for row in found(logged, key="other")] == ["trace-b"]
    assert [row["response_status_code"] for row in found(logged, status="5xx,429")] == [503]
    assert len(found(logged, model="gpt-4*")) == 3
    assert found(logged, model="gpt-4") == []
    assert len(found(logged, virtual_keys="openai-overloaded", status_code="503")) == 1
    assert len(found(logged, metadata=json.dumps({"team": "a_b"}))) == 1
    assert found(logged, metadata=json.dumps({"team": "aXb"})) == []
    assert found(logged, metadata=json.dumps({"env": "1%"})) == []
    assert found(logged, until=str(int(time.time()) - 60)) == []
    assert len(found(logged, since=str(int(time.time()) - 60))) == 3
    assert len(found(logged, page_size="2")) == 2
    assert len(found(logged, page_size="2", current_page="1")) == 1
    for bad in ("status=ok", "since=yesterday", "metadata=%7B", "page_size=0x", "nonsense=1"):
        assert logged.get(f"/v1/logs?{bad}", key=LOGS_KEY).status_code == 400, bad


def test_one_request_is_shown_with_its_bodies_redacted_and_no_longer_than_said(shared: Gateway) -> None:
    id = chat(shared).headers["x-portkey-trace-id"]

    def shown() -> Any:
        answer = shared.get(f"/v1/logs/{id}", key=LOGS_KEY)
        return answer.status_code == 200 and "request" in answer.json()["data"] and answer.json()["data"]

    record = eventually(shared, shown)
    kept = record["request"]["body"]
    assert CANARY in kept
    assert "secret-4711" not in kept
    assert "[redacted]" in kept
    assert len(kept) <= 2048
    assert json.loads(record["response"]["body"])["object"] == "chat.completion"
    # A request may ask for none to be kept; it is in the log all the same.
    silent = chat(shared, x_portkey_debug="false").headers["x-portkey-trace-id"]
    eventually(shared, lambda: shared.get(f"/v1/logs/{silent}", key=LOGS_KEY).status_code == 200)
    later = chat(shared).headers["x-portkey-trace-id"]
    eventually(shared, lambda: "request" in shared.get(f"/v1/logs/{later}", key=LOGS_KEY).json().get("data", {}))
    assert "body" not in shared.get(f"/v1/logs/{silent}", key=LOGS_KEY).json()["data"].get("request", {})
    assert shared.get("/v1/logs/unknown", key=LOGS_KEY).status_code == 404
    assert CANARY not in shared.log()
    for path in shared.data.glob("loopway.db*"):
        assert CANARY.encode() not in path.read_bytes(), "bodies are encrypted at rest"


def test_a_requests_method_is_its_own(logged: Gateway) -> None:
    slug = {"x-portkey-virtual-key": OPENAI_SLUG}
    chat(logged)
    logged.get("/v1/files/file-1", headers=slug)
    logged.request("DELETE", "/v1/files/file-1", headers=slug)
    rows = eventually(logged, lambda: len(rows := found(logged)) == 3 and rows)
    assert sorted((row["request_method"], row["request_url"]) for row in rows) == [
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1"),
        ("POST", "/v1/chat/completions"),
    ]


def test_only_who_may_reads_the_log(shared: Gateway) -> None:
    chat(shared)
    for key in (SEED_KEY, OTHER_KEY, ADMIN_KEY):
        assert shared.get("/v1/logs", key=key).status_code == 403
        assert shared.get("/v1/logs/any", key=key).status_code == 403
    assert shared.post("/v1/logs", {"request": {}, "response": {}}, key=SEED_KEY).status_code == 403


def test_a_client_of_the_sdk_gives_feedback_and_entries(shared: Gateway, portkey: Make) -> None:
    answer = chat(shared, x_portkey_trace_id="rated")
    assert answer.status_code == 200
    client = portkey(base_url=shared.v1, api_key=SEED_KEY)
    given = client.feedback.create(trace_id="rated", value=5, weight=0.5, metadata={"why": "good"})
    assert given.status == "success"
    (id,) = given.feedback_ids
    assert client.feedback.update(feedback_id=id, value=-3).feedback_ids == [id]
    many = client.feedback.bulk_create(feedbacks=[{"trace_id": "rated", "value": 1}, {"trace_id": "x", "value": 0}])
    assert len(many.feedback_ids) == 2
    stranger = portkey(base_url=shared.v1, api_key=OTHER_KEY)
    with pytest.raises(Exception, match="no feedback"):
        stranger.feedback.update(feedback_id=id, value=10)
    with pytest.raises(Exception, match="-10 to 10"):
        client.feedback.create(trace_id="rated", value=11)
    (row,) = eventually(shared, lambda: found(shared, trace_id="rated"))
    shown = shared.get(f"/v1/logs/{row['id']}", key=LOGS_KEY).json()["data"]["feedback"]
    assert [(each["value"], each["weight"]) for each in shown] == [(-3, 0.5), (1, 1.0)]
    assert shown[0]["metadata"] == {"why": "good"}

    writer = portkey(base_url=shared.v1, api_key=LOGS_KEY)
    entry = {"url": "https://elsewhere.example/v1", "method": "POST", "headers": {}, "body": {"a": 1}}
    made = writer.logs.create(request=entry, response={"status": 200, "body": {}}, metadata={"trace_id": "elsewhere"})
    kept = shared.post("/v1/logs", [{"request": entry, "response": {"status": 500}}], key=LOGS_KEY).json()
    assert "200" in str(made)
    inserted = shared.get(f"/v1/logs/{kept['log_ids'][0]}", key=LOGS_KEY).json()["data"]
    assert inserted["request"] == entry


# The terminal


def run(gateway: Gateway, *arguments: str) -> str:
    command = [sys.executable, "-m", "proxy", "logs", "--data", str(gateway.data), *arguments]
    more = {"LOOPWAY_MASTER_KEY": MASTER_KEY}
    ran = subprocess.run(command, env=clean_environment() | more, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_terminal_shows_and_finds_requests(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url) | {"logs": {"bodies": True}})
    id = chat(gateway).headers["x-portkey-trace-id"]
    chat(gateway, x_portkey_metadata='{"team": "b"}')
    eventually(gateway, lambda: len(run(gateway).splitlines()) == 2)
    assert f"{OPENAI_SLUG}/gpt-4o" in run(gateway, "--since", "1h")
    assert len(run(gateway, "--metadata", "team=b").splitlines()) == 1
    assert run(gateway, "--status", "5xx") == ""
    assert json.loads(run(gateway, "--json", "--limit", "1"))["metadata"] == {"team": "b"}
    eventually(
        gateway, lambda: CANARY in json.loads(run(gateway, "--show", id)).get("request", "")
    )  # bodies come later


def test_followed_the_terminal_shows_what_is_open_and_then_how_it_ended(
    launch: Launch, upstream: Upstream, tmp_path: Path
) -> None:
    gateway = launch(standard(upstream.url))
    chat(gateway)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "proxy", "logs", "--data", str(gateway.data), "--follow", "--limit", "1"]
    environment = clean_environment() | {"LOOPWAY_MASTER_KEY": MASTER_KEY}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = ""

    def comes(text: str) -> bool:
        nonlocal seen
        try:
            seen += os.read(ours, 65536).decode(errors="replace")
        except BlockingIOError:
            pass
        return text in seen

    try:
        body = {"model": f"@{OPENAI_SLUG}/gpt-4o::gap=100,chunks=600", "messages": HELLO, "stream": True}
        headers = {"x-portkey-api-key": SEED_KEY}
        url = f"{gateway.v1}/chat/completions"
        with (
            httpx.Client(trust_env=False, timeout=30) as client,
            client.stream("POST", url, json=body, headers=headers) as answer,
        ):
            id = answer.headers["x-portkey-trace-id"]
            gateway.until(lambda: comes("stream ▪") or comes("▪"), "the open stream is shown")
            assert id not in seen, "not before it has ended"
        gateway.until(lambda: comes(id), "its end is shown")
    finally:
        process.terminate()
        process.wait(30)
        os.close(ours)
