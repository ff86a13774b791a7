"""What is kept of a request until it is written, and how much of it may wait."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from adapters.errors import Kind
from adapters.types import Dialect, Usage
from proxy import usage
from proxy.errors import StoreError
from proxy.exchange import Attempt, Exchange
from proxy.usage import Ledger, line_of, record_of, settled
from proxy.usage_columns import COLUMNS


def exchange(**fields: Any) -> Exchange:
    x = Exchange(None, None, "POST", "/v1/chat/completions", "", {}, (), "r1", "r1", 100.0)  # type: ignore[arg-type]
    x.at, x.status, x.dialect, x.model = 1_700_000_000.25, 200, Dialect.OPENAI_CHAT, "gpt-4o"
    for name, value in fields.items():
        setattr(x, name, value)
    return x


def row(**fields: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, record_of(settled(exchange(**fields), 101.5)), strict=True))


def test_a_row_has_every_column() -> None:
    attempts = [Attempt("a", "config", 500, Kind.BAD_UPSTREAM, 0.1), Attempt("a", "config", 200, None, 0.1)]
    found = row(usage=Usage(9, 7, 3, 2, 1), attempts=attempts, streamed=True, first_byte=100.5)
    assert found == {
        "request_id": "r1",
        "at": 1_700_000_000_250,
        "api_key": None,
        "virtual_key": None,
        "provider": None,
        "model": "gpt-4o",
        "dialect": "openai.chat",
        "operation": "/v1/chat/completions",
        "status": 200,
        "input_tokens": 9,
        "output_tokens": 7,
        "cached_tokens": 3,
        "cache_write_tokens": 2,
        "reasoning_tokens": 1,
        "attempts": 2,
        "streamed": 1,
        "duration_us": 1_500_000,
        "ttfb_us": 500_000,
        "outcome": "ok",
    }


def test_what_is_not_known_is_empty_and_not_nought() -> None:
    found = row(kind=Kind.CANCELLED, status=499, model=None)
    assert found["outcome"] == "cancelled"
    assert [found[name] for name in ("input_tokens", "output_tokens", "ttfb_us", "model")] == [None] * 4


def test_a_line_leaves_out_what_is_not_there() -> None:
    line = json.loads(msgspec.json.encode(line_of(settled(exchange(), 101.5))))
    assert set(line) - {"attempts"} == {"time", "request_id", "method", "path", "status", "duration_ms", "model"}
    assert line["duration_ms"] == 1500
    assert "trace_id" in json.loads(msgspec.json.encode(line_of(settled(exchange(trace_id="t"), 101.5))))


class Store:
    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.fails = False

    async def append(self, rows: list[Any]) -> None:
        if self.fails:
            raise StoreError("full")
        self.rows += rows


async def test_rows_are_written_once_and_in_their_order() -> None:
    store = Store()
    ledger = Ledger(store.append, None)
    for n in range(250):
        ledger.put(exchange(request_id=f"r{n}"), 101.5)
        if n % 100 == 0:
            await ledger.flush()
    await ledger.flush()
    await ledger.flush()
    assert [each[0] for each in store.rows] == [f"r{n}" for n in range(250)]


async def test_what_waits_for_a_store_that_fails_is_bounded_and_what_is_lost_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage, "_KEPT", 5)
    store = Store()
    store.fails = True
    ledger = Ledger(store.append, None)
    for n in range(12):
        ledger.put(exchange(request_id=f"r{n}"), 101.5)
        await ledger.flush()
    store.fails = False
    await ledger.flush()
    written = [each[0] for each in store.rows]
    assert len(written) <= 5
    assert written[-1] == "r11"
    assert ledger.dropped == 12 - len(written)


async def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError("no space left")

    store = Store()
    ledger = Ledger(store.append, Full())
    ledger.put(exchange(), 101.5)
    await ledger.flush()
    assert len(store.rows) == 1
    assert ledger.dropped == 1
