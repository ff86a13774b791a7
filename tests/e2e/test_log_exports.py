"""Exports of the request log by the Portkey SDK: described, started, downloaded as JSON lines."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import httpx
import pytest

from proxy.store import ledger
from proxy.store.engine import Lane
from proxy.store.store import engine_of
from proxy.usage_columns import COLUMNS, flat, folded
from tests.e2e.conftest import Make
from tests.fakes.gateway import OPENAI_SLUG, SEED_KEY, Gateway, Launch, Upstream, standard
from tests.fakes.provider import HELLO
from tests.fakes.raw import request
from tests.proxy.stored import usage

LOGS_KEY = "lw-logs-of-the-tests"
SECOND_KEY = "lw-logs-of-others"
EXPORT_KEY = "lw-exports-only"
CANARY = "canary-in-an-exported-prompt"


@pytest.fixture(params=["sqlite", "postgresql"])
def logged(request: pytest.FixtureRequest, launch: Launch, upstream: Upstream) -> Gateway:
    """A gateway that keeps bodies, on either store."""
    config = standard(upstream.url)
    config["api_keys"] += [
        {"name": "logs", "key": LOGS_KEY, "scopes": ["logs"]},
        {"name": "others", "key": SECOND_KEY, "scopes": ["logs"]},
        {"name": "exports", "key": EXPORT_KEY, "scopes": ["logs.export"]},
    ]
    config["logs"] = {"bodies": True}
    if request.param == "postgresql":
        config["store"] = {"url": request.getfixturevalue("postgres_url")}
    return launch(config)


def chat(gateway: Gateway, text: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-portkey-api-key": SEED_KEY}
    body = {"model": f"@{OPENAI_SLUG}/gpt-4o", "messages": [{"role": "user", "content": text}]}
    return gateway.post("/v1/chat/completions", body, headers=named)


def lines(gateway: Gateway, url: str, key: str = LOGS_KEY) -> list[dict[str, Any]]:
    with httpx.Client(trust_env=False) as client:
        answer = client.get(url, headers={"x-portkey-api-key": key})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_sdk_makes_starts_and_downloads_an_export(logged: Gateway, portkey: Make) -> None:
    chat(logged, CANARY, x_portkey_trace_id="one", x_portkey_metadata='{"team": "blue"}')
    chat(logged, "other", x_portkey_trace_id="two")
    logged.post("/v1/chat/completions", {"model": "@openai-overloaded/gpt-4o", "messages": HELLO})
    exports = portkey(base_url=logged.v1, api_key=LOGS_KEY).logs.exports

    made = exports.create(
        filters={"metadata": {"team": "blue"}, "status_code": [200]},
        workspace_id="w",
        description="blue",
        requested_data=["id", "trace_id", "request", "response", "ai_model", "mode"],
    )
    assert made.object == "export"
    shown = exports.retrieve(export_id=made.id)
    assert (shown.status, shown.description, shown.workspace_id) == ("draft", "blue", "w")
    assert shown.filters == {"metadata": {"team": "blue"}, "status_code": [200]}
    with pytest.raises(Exception, match="draft: start it"):
        exports.download(export_id=made.id)

    def counted() -> bool:
        exports.update(export_id=made.id, filters={"ai_org_model": "openai__gpt-4o"}, requested_data=["id"])
        return bool(exports.retrieve(export_id=made.id).total_records == 3)

    logged.until(counted, "the ledger has all three", 10)
    wanted = ["trace_id", "request", "response", "ai_model", "mode"]
    exports.update(export_id=made.id, filters={"metadata": {"team": "blue"}}, requested_data=wanted)
    logged.until(
        lambda: "request" in logged.get("/v1/logs", key=LOGS_KEY, params={"trace_id": "one"}).text, "it is in the log"
    )
    exports.start(export_id=made.id)
    assert exports.retrieve(export_id=made.id).status == "success"
    assert exports.list(workspace_id="w").total == 1
    assert exports.list(workspace_id="elsewhere").total == 0
    url = exports.download(export_id=made.id).signed_url
    assert url.startswith(logged.url)

    def whole() -> Any:
        (record,) = lines(logged, url)
        return record["request"] and record

    record = logged.until(whole, "the bodies are kept", 10)
    assert list(record) == wanted
    assert (record["trace_id"], record["ai_model"], record["mode"]) == ("one", "gpt-4o", None)
    assert record["request"]["messages"][0]["content"] == CANARY
    assert record["response"]["object"] == "chat.completion"
    with pytest.raises(Exception, match="not started"):
        exports.update(export_id=made.id, filters={})
    assert exports.cancel(export_id=made.id).object == "export"
    assert exports.retrieve(export_id=made.id).status == "stopped"
    assert httpx.get(url, headers={"x-portkey-api-key": LOGS_KEY}, trust_env=False).status_code == 409
    again = exports.create()
    exports.start(export_id=again.id)
    assert len(lines(logged, exports.download(export_id=again.id).signed_url)) == 3
    assert lines(logged, exports.download(export_id=again.id).signed_url)[0]["cost_currency"] == "USD"


def test_an_export_is_its_keys_alone_and_shows_no_more_than_the_key_may_see(logged: Gateway, portkey: Make) -> None:
    chat(logged, CANARY)
    ours = portkey(base_url=logged.v1, api_key=LOGS_KEY).logs.exports
    made = ours.create(requested_data=["id", "request"])
    ours.start(export_id=made.id)
    path = f"/v1/logs/exports/{made.id}"
    for key in (SECOND_KEY, EXPORT_KEY):
        for method, end in (("GET", ""), ("PUT", ""), ("POST", "/start"), ("POST", "/cancel"), ("GET", "/download"),
                            ("GET", "/file")):  # fmt: skip
            assert logged.request(method, path + end, {} if method != "GET" else None, key=key).status_code == 404
        assert logged.get("/v1/logs/exports", key=key).json()["total"] == 0
    for end in ("/download", "/file"):
        assert logged.get(path + end, key="wrong").status_code == 401
        assert logged.get(path + end, key=SEED_KEY).status_code == 403
    refused = logged.post("/v1/logs/exports", {"requested_data": ["request"]}, key=EXPORT_KEY)
    assert refused.status_code == 403
    assert "logs.view" in refused.json()["error"]["message"]
    for bad in ({"requested_data": ["requests"]}, {"filters": {"nonsense": 1}}, {"filters": {"cost_min": "x"}},
                {"filters": {"trace_id": True}}, {"filter": {}}, {"filters": []}):  # fmt: skip
        assert logged.post("/v1/logs/exports", bad, key=LOGS_KEY).status_code == 400, bad
    assert CANARY not in logged.log()


def fill(place: str, count: int) -> None:
    """Puts that many requests into the ledger, several in each millisecond."""
    row = dict(zip(COLUMNS, flat(usage("x")), strict=True)) | {"outcome": "ok", "provider": "openai"}
    rows = [
        folded([*(row | {"request_id": f"r{number:06}", "at": 1_700_000_000_000 + number // 7}).values()])
        for number in range(count)
    ]
    lane = Lane(engine_of(place), "fill")
    lane.now(ledger.append, rows)
    lane.close_now()


def test_a_long_export_is_whole_in_order_and_waits_for_a_slow_reader(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url)
    config["api_keys"] += [{"name": "logs", "key": LOGS_KEY, "scopes": ["logs"]}]
    gateway = launch(config)
    fill(os.fspath(gateway.data / "loopway.db"), 1203)
    filters = {"time_of_generation_min": "1700000000", "time_of_generation_max": "1700000100"}
    id = gateway.post("/v1/logs/exports", {"filters": filters}, key=LOGS_KEY).json()["id"]
    gateway.post(f"/v1/logs/exports/{id}/start", {}, key=LOGS_KEY)
    file = f"/v1/logs/exports/{id}/file"
    found = [row["id"] for row in lines(gateway, gateway.url + file)]
    assert found == [f"r{number:06}" for number in range(1203)]
    with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.sendall(request("GET", file, x_portkey_api_key=LOGS_KEY, Connection="close"))
        assert slow.recv(1) == b"H"
        assert gateway.get("/v1/health").status_code == 200, "who reads slowly keeps nobody waiting"
        got = b""
        while part := slow.recv(65536):
            got += part
    assert got.count(b'"object"') == 0
    assert got.count(b'"id":"r') == 1203
    part = gateway.post(
        "/v1/logs/exports", {"filters": filters | {"page_size": 100, "current_page": 2}}, key=LOGS_KEY
    ).json()
    assert part["total"] == 100
    gateway.post(f"/v1/logs/exports/{part['id']}/start", {}, key=LOGS_KEY)
    found = [row["id"] for row in lines(gateway, f"{gateway.url}/v1/logs/exports/{part['id']}/file")]
    assert found == [f"r{number:06}" for number in range(200, 300)]
    head = gateway.request("HEAD", file, key=LOGS_KEY)
    assert (head.status_code, head.content) == (200, b"")
