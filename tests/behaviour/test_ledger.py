"""What is written down of each request: one row in the ledger, one line in the log, and the counters."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest

from proxy import metrics as counters
from proxy.config.settings import StoreSettings
from proxy.errors import StoreError
from proxy.store import migrate, open_store
from proxy.usage_columns import COLUMNS
from proxy.vault import Vault
from tests.behaviour.client import ask, request
from tests.behaviour.rig import CHAT, MESSAGES, MemoryStore, Rig
from tests.fakes.provider import Provider, steered


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A migrated SQLite file."""
    path = tmp_path / "loopway.db"
    migrate(path)
    return path


def rows_in(path: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM usage ORDER BY at, rowid").fetchall()
    connection.close()
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "whole": ("/v1/chat/completions", CHAT, "openai", {"provider": "openai", "dialect": "openai.chat"}),
    "streamed": (
        "/v1/chat/completions",
        {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
        "openai",
        {"streamed": 1},
    ),
    "translated": ("/v1/chat/completions", CHAT, "anthropic", {"provider": "anthropic", "dialect": "openai.chat"}),
    "translated and streamed": ("/v1/chat/completions", {**CHAT, "stream": True}, "anthropic", {"streamed": 1}),
    "messages": ("/v1/messages", MESSAGES, "anthropic", {"dialect": "anthropic.messages"}),
    "messages streamed": ("/v1/messages", {**MESSAGES, "stream": True}, "anthropic", {"streamed": 1}),
    "messages to openai": ("/v1/messages", MESSAGES, "openai", {"provider": "openai"}),
    "messages to openai streamed": ("/v1/messages", {**MESSAGES, "stream": True}, "openai", {"streamed": 1}),
    "completions": (
        "/v1/completions",
        {"model": "claude-sonnet-4-5", "prompt": "Hi", "max_tokens": 9},
        "anthropic",
        {"dialect": "openai.completions"},
    ),
    "embeddings": (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "Hi"},
        "openai",
        {"dialect": "openai.embeddings"},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_row_says_whose_request_it_was_where_it_went_and_what_it_took(
    provider: Provider, database: Path, case: str
) -> None:
    path, body, slug, expected = CASES[case]
    store = open_store(database, Vault.open(database.parent, {}))
    before = int(time() * 1000) - 1
    async with Rig(openai=provider.url, anthropic=provider.url, store=store) as rig:
        answer = await rig.post(path, body, vk=slug)
        assert answer.status == 200
    (row,) = rows_in(database)
    common = {"api_key": "test", "virtual_key": slug, "operation": path, "status": 200, "attempts": 1, "outcome": "ok"}
    assert row.items() >= {**common, "model": body["model"], **expected}.items()
    assert before <= row["at"] <= time() * 1000 + 1
    assert 0 < row["ttfb_us"] <= row["duration_us"] < 60_000_000
    assert row["request_id"] == answer.headers["x-portkey-trace-id"]
    assert row["input_tokens"] > 0
    assert (row["output_tokens"] or 0) > 0 or case == "embeddings"
    if case in ("whole", "messages"):
        usage = answer.json()["usage"]
        told = (
            usage.get("prompt_tokens", usage.get("input_tokens")),
            usage.get("completion_tokens", usage.get("output_tokens")),
        )
        assert (row["input_tokens"], row["output_tokens"]) == told


@pytest.mark.parametrize("slug", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("mode", "status", "outcome"),
    [
        ({"status": 500}, 500, "bad_upstream"),
        ({"status": 429}, 429, "rate_limited"),
        ({"reset_after": 0}, 502, "unreachable"),
        ({"fin_after": 600}, 200, "bad_upstream"),
        ({"truncate_events": 2}, 200, "bad_upstream"),
    ],
)
async def test_a_row_says_how_it_went_wrong(
    provider: Provider, slug: str, mode: dict[str, object], status: int, outcome: str
) -> None:
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        model = "gpt-4o" if slug == "openai" else "claude-sonnet-4-5"
        body = {**CHAT, "stream": True, "model": steered(model, **mode)}
        await rig.post("/v1/chat/completions", body, vk=slug)
        (row,) = await rig.usage()
        assert (row["status"], row["outcome"], row["streamed"], row["virtual_key"]) == (status, outcome, 1, slug)


@pytest.mark.parametrize(("mode", "status"), [({"latency": 600_000}, 499), ({"stall_after": 1100}, 200)])
async def test_a_row_says_that_the_client_left(provider: Provider, mode: dict[str, object], status: int) -> None:
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        for slug, model in (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5")):
            body = {**CHAT, "stream": True, "model": steered(model, **mode)}
            line = await rig.open("/v1/chat/completions", body, vk=slug)
            if status == 200:
                await line.receive(b"data: ")
            else:
                await provider.until(lambda stats: stats["open"] == 1)
            line.leave()
            await rig.until(lambda: rig.quiet)
        assert [(row["status"], row["outcome"]) for row in await rig.usage()] == [(status, "cancelled")] * 2


STREAMS = [
    ("/v1/chat/completions", CHAT, "openai", "gpt-4o"),
    ("/v1/chat/completions", CHAT, "anthropic", "claude-sonnet-4-5"),
    ("/v1/messages", MESSAGES, "anthropic", "claude-sonnet-4-5"),
    ("/v1/messages", MESSAGES, "openai", "gpt-4o"),
]


@pytest.mark.parametrize(("path", "body", "slug", "model"), STREAMS)
async def test_a_stream_that_its_client_leaves_counts_what_was_delivered(
    provider: Provider, path: str, body: dict[str, Any], slug: str, model: str
) -> None:
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        asked = {**body, "stream": True, "model": steered(model, chunks=400, gap=5)}
        line = await rig.open(path, asked, vk=slug)
        received = b""
        while received.count(b"\n\n") < 30:
            received += await line.receive(b"\n\n")
        line.leave()
        await rig.until(lambda: rig.quiet)
        (row,) = await rig.usage()
    assert (row["outcome"], row["estimated"]) == ("cancelled", 1)
    # Some events say nothing; those on their way when the client left may have been counted.
    assert 20 <= row["output_tokens"] <= 400
    assert row["input_tokens"] > 0


async def test_a_stream_that_nobody_counted_is_guessed_and_marked(provider: Provider) -> None:
    body = {**CHAT, "stream": True, "messages": [{"role": "user", "content": "some more words " * 100}]}
    async with Rig(openai=provider.url) as rig:
        for options in ({}, {"stream_options": {"include_usage": True}}):
            await rig.post("/v1/chat/completions", {**body, **options})
        guessed, counted = await rig.usage()
    assert (guessed["estimated"], counted["estimated"]) == (1, 0)
    assert 0.5 < guessed["output_tokens"] / counted["output_tokens"] < 2
    assert 0.3 < guessed["input_tokens"] / counted["input_tokens"] < 3


async def test_streams_are_counted_where_the_operator_wants_it(provider: Provider) -> None:
    bare = {"model": CHAT["model"], "messages": CHAT["messages"], "stream": True}
    async with Rig(openai=provider.url, timeouts={"count_streams": True}) as rig:
        for options in ({}, {"stream_options": {"x": 1}}, {"stream_options": None}):
            await rig.post("/v1/chat/completions", {**bare, **options})
        await rig.chat()
        assert [row["estimated"] for row in await rig.usage()] == [0, 0, 0, 0]
    assert [json.loads(record.body) for record in provider.requests()[:3]] == [
        {**bare, "stream_options": {"include_usage": True}},
        {**bare, "stream_options": {"x": 1, "include_usage": True}},
        {**bare, "stream_options": {"include_usage": True}},
    ]


async def test_old_rows_are_deleted_where_the_operator_wants_it(provider: Provider, database: Path) -> None:
    store = open_store(database, Vault.open(database.parent, {}))
    async with Rig(openai=provider.url, store=store) as rig:
        await rig.chat()
        await rig.gateway.ledger.flush()
        await rig.gateway.chores.upkeep.forget_old()
        assert len(rows_in(database)) == 1
        settings = StoreSettings(retention=0.0)
        rig.gateway.live.file = msgspec.structs.replace(rig.gateway.live.file, store=settings)
        await rig.gateway.chores.upkeep.forget_old()
        assert rows_in(database) == []


async def test_a_request_has_its_cost_its_metadata_and_its_config(provider: Provider) -> None:
    config = {"targets": [{"virtual_key": "openai", "override_params": {"model": "gpt-4o-mini"}}]}
    async with Rig(openai=provider.url, configs={"pc-a": config}) as rig:
        headers = {"config": "pc-a", "x-portkey-metadata": '{"team": "blue"}'}
        await rig.post("/v1/chat/completions", {**CHAT, "user": "u1"}, **headers)
        (row,) = await rig.usage()
    assert row["cost"] == pytest.approx((row["input_tokens"] * 0.15 + row["output_tokens"] * 0.6) / 1e6)
    assert row["price"].endswith(":openai/gpt-4o-mini")
    assert (row["model"], row["asked_model"], row["config"]) == ("gpt-4o-mini", CHAT["model"], "pc-a")
    assert json.loads(row["metadata"]) == {"team": "blue", "_user": "u1"}


async def test_refused_requests_have_rows_with_a_time_too(provider: Provider) -> None:
    async with Rig(openai=provider.url) as rig:
        await rig.post("/v1/chat/completions", CHAT, x_portkey_api_key="wrong")
        await rig.post("/v1/chat/completions", b"{")
        await rig.post("/v1/chat/completions", CHAT, vk="unknown")
        rows = await rig.usage()
        assert [(row["status"], row["api_key"]) for row in rows] == [(401, None), (400, "test"), (400, "test")]
        assert all(time() * 1000 - 60_000 < row["at"] <= time() * 1000 for row in rows)


# -- the log


async def test_what_of_an_answer_a_client_is_not_told_is_named(provider: Provider) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {**CHAT, "model": "claude-3-7-sonnet", "max_tokens": 4096, "thinking": thinking}
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        log = io.BytesIO()
        rig.gateway.ledger._log = log
        whole = await rig.post("/v1/chat/completions", asked, vk="anthropic")
        await rig.post("/v1/chat/completions", {**asked, "stream": True}, vk="anthropic")
        shown = await rig.post(
            "/v1/chat/completions", asked, vk="anthropic", x_portkey_strict_open_ai_compliance="false"
        )
        await rig.gateway.ledger.flush()
    assert whole.headers["x-loopway-dropped-fields"] == "content[].thinking"
    assert "x-loopway-dropped-fields" not in shown.headers
    named = [json.loads(line).get("dropped") for line in log.getvalue().splitlines()]
    assert named == [["answer.content[].thinking"], ["answer.content_block.thinking"], None]


async def test_each_request_is_one_line_of_json_without_secrets(provider: Provider) -> None:
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        log = io.BytesIO()
        rig.gateway.ledger._log = log
        await rig.post("/v1/chat/completions", CHAT, vk="openai", x_portkey_trace_id="trace-1")
        await rig.post("/v1/messages", {**MESSAGES, "stream": True}, vk="openai")
        await rig.post(
            "/v1/chat/completions?key=sk-canary", {**CHAT, "model": steered("gpt-4o", status=503)}, vk="openai"
        )
        await rig.post("/v1/chat/completions", CHAT, x_portkey_api_key="lw-canary")
        await rig.gateway.ledger.flush()
    text = log.getvalue().decode()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["status"] for line in lines] == [200, 200, 503, 401]
    assert (
        lines[0].items()
        >= {
            "method": "POST",
            "path": "/v1/chat/completions",
            "key": "test",
            "target": "openai",
            "provider": "openai",
            "model": "gpt-4o",
            "trace_id": "trace-1",
            "attempts": 1,
        }.items()
    )
    assert lines[1]["stream"] is True
    assert lines[1]["output_tokens"] > 0
    assert lines[2]["error"] == "overloaded"
    assert lines[3]["error"] == "unauthenticated"
    for line in lines:
        assert line["duration_ms"] > 0
        assert abs(line["time"] - time()) < 60
    for secret in ("lw-test", "sk-openai", "canary", "Hello there"):
        assert secret not in text


async def test_line_ends_in_what_clients_send_do_not_break_the_log(provider: Provider) -> None:
    async with Rig(openai=provider.url) as rig:
        log = io.BytesIO()
        rig.gateway.ledger._log = log
        await rig.post(
            "/v1/chat/completions", {**CHAT, "model": 'a\n{"status":200}\r\u2028'}, x_portkey_trace_id="caf\u00e9"
        )
        await rig.gateway.ledger.flush()
    (line,) = log.getvalue().split(b"\n")[:-1]
    assert json.loads(line)["model"] == 'a\n{"status":200}\r\u2028'


async def test_a_store_that_fails_loses_no_row(provider: Provider) -> None:
    class Failing(MemoryStore):
        fails = True

        async def append_usage(self, rows: list[tuple[object, ...]]) -> None:
            if self.fails:
                raise StoreError("the disk is full")
            await super().append_usage(rows)

    store = Failing()
    async with Rig(openai=provider.url, store=store) as rig:
        for _ in range(3):
            assert (await rig.chat()).status == 200
            await rig.gateway.ledger.flush()
        assert store.usage == []
        store.fails = False
        await rig.gateway.ledger.flush()
        assert len(store.usage) == 3
        assert rig.gateway.ledger.dropped == 0


# -- the counters

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+-]+|\+Inf|NaN)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Prometheus' text format, by its rules. Raises AssertionError where a scraper would refuse it."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            assert kind in ("counter", "gauge", "histogram")
            kinds[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in kinds or kinds.get(base) == "histogram", name
            pairs = tuple(_LABEL.findall(labels or ""))
            assert "".join(f'{key}="{text}",' for key, text in pairs).rstrip(",") == (labels or "").rstrip(",")
            assert (name, pairs) not in found
            found[(name, pairs)] = float(value)
    return found


def total(found: dict[Any, float], name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (each, pairs), value in found.items() if each == name and wanted <= set(pairs))


async def test_the_metrics_page_is_prometheus_text_and_counts_what_happened(provider: Provider) -> None:
    async with Rig(openai=provider.url, anthropic=provider.url) as rig:
        for _ in range(3):
            await rig.post("/v1/chat/completions", CHAT, vk="openai")
        await rig.post("/v1/chat/completions", {**CHAT, "stream": True}, vk="anthropic")
        await rig.post("/v1/chat/completions", {**CHAT, "model": steered("gpt-4o", status=500)}, vk="openai")
        await rig.post("/v1/chat/completions", b"{", vk="openai")
        line = await rig.open(
            "/v1/chat/completions", {**CHAT, "model": steered("gpt-4o", latency=600_000)}, vk="openai"
        )
        await rig.until(lambda: rig.in_flight == 1)
        page = await ask(rig.port, request("/metrics", method="GET", key=""))
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = parse(page.body.decode())
        assert total(found, "loopway_requests_total", status="200", provider="openai", dialect="openai.chat") == 3
        assert total(found, "loopway_requests_total", status="200", provider="anthropic") == 1
        assert total(found, "loopway_requests_total", status="500") == 1
        assert total(found, "loopway_requests_total", status="400") == 1
        assert total(found, "loopway_request_seconds_count") == 6
        assert total(found, "loopway_request_seconds_bucket", le="+Inf") == 6
        assert total(found, "loopway_attempts_total", outcome="ok") == 4
        assert total(found, "loopway_tokens_total", direction="output", provider="anthropic") > 0
        assert total(found, "loopway_in_flight") == 1
        for provider in ("openai", "anthropic", "none"):
            mine = ("provider", provider)
            buckets = [
                value
                for (name, pairs), value in found.items()
                if name == "loopway_request_seconds_bucket" and mine in pairs
            ]
            assert buckets
            assert buckets == sorted(buckets)
        line.leave()


async def test_the_metrics_page_adds_up_all_workers(provider: Provider) -> None:
    async with Rig(openai=provider.url) as rig:
        await rig.chat()
        other = {
            'loopway_requests_total{provider="openai",dialect="openai.chat",status="200"}': 41,
            "loopway_in_flight": 2,
        }
        (rig.run / "metrics-1.json").write_text(json.dumps(other))
        (rig.run / "metrics-2.json").write_text('{"half a fi')
        found = parse(counters.merged(rig.gateway.samples(), rig.run, f"metrics-{os.getpid()}.json"))
        assert total(found, "loopway_requests_total", status="200") == 42
