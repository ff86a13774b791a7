"""What is kept of a request until it is written, where it waits, and what it says."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.errors import Kind
from adapters.types import Dialect, Usage
from proxy.config.access import Access, provider_row
from proxy.config.leaf import Leaf
from proxy.config.snapshot import Key, Snapshot
from proxy.config.target import Target
from proxy.errors import StoreError
from proxy.exchange import Attempt, Exchange
from proxy.journal import Journal
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, Rows
from proxy.prices import Entry, Prices, table_of
from proxy.usage import Ledger, Settled, ledger, lines_of, pending_of, settled
from proxy.usage_columns import COLUMNS, PENDING, SHARED, flat

PRICES = Prices(
    (table_of("v1", [("openai", "gpt-4o-mini", Entry(input=1, output=2)), ("openai", "gpt-4o", Entry(input=10))]),)
)
LEAF = Leaf(
    Target(Access(provider_row("openai"), "secret", slug="prod"), prices=PRICES.of("openai")), "config.targets[0]"
)


@cache
def snapshot() -> Snapshot:
    """One for all: each would keep a piece of shared memory open."""
    return Snapshot(Rows(), Limiters(), prices=PRICES)


def exchange(**fields: Any) -> Exchange:
    x = Exchange(None, snapshot(), "POST", "/v1/chat/completions", "", {}, (), "r1", "r1", 100.0)  # type: ignore[arg-type]
    x.at, x.status, x.dialect, x.model, x.ended = 1_700_000_000.25, 200, Dialect.OPENAI_CHAT, "fast", 101.5
    for name, value in fields.items():
        setattr(x, name, value)
    return x


def tried(status: int = 200, kind: Kind | None = None, **more: Any) -> Attempt:
    known = {"provider": "openai", "model": "gpt-4o-mini", **more}
    return Attempt("prod", "config.targets[0]", status, kind, 0.1, **known)


def row(**fields: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, flat(settled(exchange(**fields), 101.5).row), strict=True))


# Rows


def test_a_row_has_every_column() -> None:
    attempts = [tried(500, Kind.BAD_UPSTREAM), tried(reason="retry", wait=1.0)]
    usage = Usage(1000, 500, 0, 0, 100, tier="flex")
    found = row(
        usage=usage, attempts=attempts, streamed=True, first_byte=100.5, leaf=LEAF, config="pc-a", tags={"team": "ä"}
    )
    tries = found.pop("tries")
    assert found == {
        "request_id": "r1",
        "at": 1_700_000_000_250,
        "api_key": None,
        "virtual_key": "prod",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "dialect": "openai.chat",
        "operation": "/v1/chat/completions",
        "status": 200,
        "input_tokens": 1000,
        "output_tokens": 500,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 100,
        "attempts": 2,
        "streamed": 1,
        "duration_us": 1_500_000,
        "ttfb_us": 500_000,
        "outcome": "ok",
        "trace_id": "r1",
        "asked_model": "fast",
        "config": "pc-a",
        "target": "config.targets[0]",
        "metadata": '{"team":"ä"}',
        "cache": None,
        "cost": 0.002,
        "price": "v1:openai/gpt-4o-mini",
        "wasted": None,
        "saved": None,
        "details": '{"tier":"flex"}',
        "estimated": 0,
    }
    first, second = json.loads(tries)
    assert first == {
        "target": "prod",
        "where": "config.targets[0]",
        "status": 500,
        "duration": 100.0,
        "model": "gpt-4o-mini",
        "error": "bad_upstream",
    }
    assert (second["reason"], second["wait"]) == ("retry", 1000.0)


def test_what_is_not_known_is_empty_and_not_nought() -> None:
    found = row(kind=Kind.CANCELLED, status=499, model=None)
    assert found["outcome"] == "cancelled"
    for name in ("input_tokens", "output_tokens", "ttfb_us", "model", "cost", "price", "tries", "metadata", "details"):
        assert found[name] is None


def test_a_model_without_a_price_has_no_cost() -> None:
    found = row(usage=Usage(9, 9), attempts=[tried(model="gpt-from-next-year")], leaf=LEAF)
    assert (found["input_tokens"], found["cost"], found["price"]) == (9, None, None)


def test_what_failed_attempts_cost_is_counted_apart() -> None:
    lost = tried(502, Kind.BAD_UPSTREAM, model="gpt-4o", usage=Usage(1000, 0))
    found = row(usage=Usage(1000, 0), attempts=[lost, tried()], leaf=LEAF)
    assert (found["cost"], found["wasted"]) == (0.001, 0.01)
    assert json.loads(found["tries"])[0]["cost"] == 0.01


def test_an_answer_from_the_cache_cost_nothing_and_says_what_it_saved() -> None:
    found = row(saved=Usage(1000, 500), cache="HIT", leaf=LEAF, model="gpt-4o-mini", attempts=[])
    assert (found["cost"], found["cache"], found["input_tokens"]) == (0.0, "HIT", None)


def test_what_a_leaf_remembers_of_one_request_tells_nothing_wrong_about_another() -> None:
    """Each differs from the first in one thing, and is what it would be if nobody had come before it."""
    differences: list[dict[str, Any]] = [
        {},
        {"model": "slow"},
        {"path": "/v1/responses"},
        {"method": "PUT"},
        {"status": 201},
        {"dialect": Dialect.ANTHROPIC_MESSAGES},
        {"kind": Kind.CANCELLED},
        {"streamed": True},
        {"config": "pc-b"},
        {"cache": "MISS"},
        {"tags": {"team": "a"}},
        {"tags": {"team": "b"}},
        {"user": b'"u"'},
        {"usage": None},
        {"usage": Usage(10, 20)},
        {"usage": Usage(10, 20, cached=5, reasoning=3)},
        {"usage": Usage(10, 20, tier="flex")},
        {"usage": Usage(0, 0)},
        {"usage": Usage(3, 0, estimated=True)},
        {"saved": Usage(7, 7), "attempts": []},
        {"attempts": [tried(model="gpt-4o")]},
        {"attempts": [tried(500, Kind.BAD_UPSTREAM)]},
        {"attempts": [tried(500, Kind.BAD_UPSTREAM), tried()]},
    ]

    def alone() -> Leaf:
        return Leaf(LEAF.target, LEAF.where)

    one, common = alone(), {"usage": Usage(1000, 500), "attempts": [tried()]}
    for more in differences * 2:
        known, fresh = (settled(exchange(**(common | more), leaf=leaf), 101.5) for leaf in (one, alone()))
        assert known.row == fresh.row, more
        assert msgspec.structs.asdict(known.alike) == msgspec.structs.asdict(fresh.alike) | {
            "price": known.alike.price
        }, more


def test_a_leaf_remembers_a_bounded_number_of_kinds() -> None:
    leaf = Leaf(LEAF.target, LEAF.where)
    rows = [settled(exchange(leaf=leaf, model=f"m{n}"), 101.5).row for n in range(1000)]
    assert len(leaf.alike) < 100
    assert [flat(each)[COLUMNS.index("asked_model")] for each in rows] == [f"m{n}" for n in range(1000)]


def test_a_key_remembers_a_bounded_number_of_kinds_of_what_came_to_no_leaf() -> None:
    row = ApiKeyRow(id="k", name="mine", digest="00", origin="file", metadata={"team": "red"})
    x = exchange(leaf=None, status=429, kind=Kind.RATE_LIMITED)
    key = Key(row, None, None)
    for n in range(200):
        found = []
        for each in (key, key, Key(row, None, None)):
            x.model, x.key, x.tags = f"m{n}", each, None
            found.append(settled(x, 101.5))
        first, again, fresh = found
        assert again.alike is first.alike
        assert first.row == again.row == fresh.row
    assert key.alike is not None
    assert len(key.alike) < 100


def test_a_pending_row_has_every_column_too() -> None:
    found = dict(zip(COLUMNS, flat(pending_of(exchange(leaf=LEAF, config="pc-a"))), strict=True))
    known = {"request_id": "r1", "virtual_key": "prod", "outcome": PENDING, "config": "pc-a", "status": None}
    assert found.items() >= known.items()
    assert found["cost"] is None


def test_a_line_leaves_out_what_is_not_there() -> None:
    line = json.loads(lines_of([settled(exchange(), 101.5)]))
    assert set(line) - {"attempts"} == {"time", "request_id", "method", "path", "status", "duration_ms", "model"}
    assert line["duration_ms"] == 1500
    assert "trace_id" in json.loads(lines_of([settled(exchange(trace_id="t"), 101.5)]))


def test_lines_of_several_kinds_stay_in_their_order_and_whole() -> None:
    models = ("a}\n", "b", "a}\n", 'c"')
    batch = [settled(exchange(model=model, dropped=(model,)), 101.5) for model in models]
    lines = [json.loads(line) for line in lines_of(batch).splitlines()]
    assert [(line["model"], line["dropped"]) for line in lines] == [(model, [model]) for model in models]


# The ledger


class Store:
    """Keeps the last row of each request, but for what is pending after its end, as a real one does."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.batches = 0
        self.fails = False
        self.once = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def append(self, rows: list[Any]) -> None:
        self.batches += 1
        await self.answers.wait()
        if self.fails:
            self.fails = not self.once
            raise StoreError("full")
        for each in rows:
            known = self.rows.get(each[0])
            if known is None or known[-1][SHARED.index("outcome")] == PENDING:
                self.rows[each[0]] = each


def put(ledger: Ledger, first: int, last: int) -> None:
    for n in range(first, last):
        ledger.put(exchange(request_id=f"r{n}"), 101.5)


def ids(first: int, last: int) -> set[str]:
    return {f"r{n}" for n in range(first, last)}


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[..., Journal]:
    def open_journal(name: str = "one", limit: int = 1 << 20) -> Journal:
        return Journal(tmp_path / "ledger", name, limit)

    return open_journal


Open = Callable[..., Journal]


async def test_rows_are_written_once_and_in_their_order() -> None:
    store = Store()
    ledger = Ledger(store.append, None)
    for start in range(0, 250, 50):
        put(ledger, start, start + 50)
        await ledger.flush()
    await ledger.flush()
    assert list(store.rows) == [f"r{n}" for n in range(250)]
    assert (ledger.written, ledger.dropped, ledger.waiting) == (250, 0, 0)


async def test_what_has_ended_is_counted_by_the_dozen_and_keeps_no_prompt() -> None:
    counted: list[str] = []
    ledger = Ledger(Store().append, None, [lambda batch: counted.extend(kept.request_id for kept in batch)])
    given = {b"x-portkey-metadata": b'{"team":"x"}'}
    prompts = [
        exchange(request_id=f"r{n}", body=b"a prompt", headers=given, raw_headers=((b"a", b"b"),)) for n in range(40)
    ]
    for x in prompts:
        ledger.put(x, 101.0)
    await asyncio.sleep(0)
    assert counted == [f"r{n}" for n in range(40)]
    assert {(x.body, x.raw_headers, x.metadata["team"]) for x in prompts} == {(b"", (), "x")}


async def test_who_is_told_of_what_has_ended_and_fails_costs_nobody_a_row() -> None:
    def fails(batch: list[Settled]) -> None:
        raise ValueError

    store, told = Store(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    ledger = Ledger(store.append, None, [fails])
    put(ledger, 0, 32)
    await asyncio.sleep(0)
    assert isinstance(told[0], ValueError)
    ledger.sinks.clear()
    put(ledger, 32, 64)
    await ledger.flush()
    assert list(store.rows) == [f"r{n}" for n in range(64)]


async def test_an_exchange_that_cannot_be_settled_costs_none_of_the_others_its_row() -> None:
    store, counted = Store(), []
    ledger = Ledger(store.append, None, [lambda batch: counted.extend(batch)])
    put(ledger, 0, 3)
    ledger.put(exchange(request_id="broken", attempts=[None]), 101.0)
    put(ledger, 3, 6)
    await ledger.flush()
    assert list(store.rows) == [f"r{n}" for n in range(6)]
    assert len(counted) == 6
    assert (ledger.written, ledger.dropped) == (6, 1)


async def test_rows_that_the_store_refuses_wait_on_disk_and_are_written_when_it_takes_them(
    open_journal: Open, tmp_path: Path
) -> None:
    store, journal = Store(), open_journal()
    ledger = Ledger(store.append, None, journal=journal)
    store.fails = True
    for start in range(0, 30, 10):
        put(ledger, start, start + 10)
        await ledger.flush()
    assert (ledger.failing, ledger.waiting, ledger.journaled) == (True, 0, 30)
    store.fails = False
    put(ledger, 30, 40)
    await ledger.flush()
    assert store.rows.keys() == ids(0, 40)
    assert (ledger.failing, ledger.dropped, journal.size) == (False, 0, 0)
    assert list((tmp_path / "ledger").iterdir()) == []


@pytest.mark.parametrize("kept", ["on disk", "in memory"])
async def test_an_error_that_nobody_thought_of_loses_no_row_and_is_told_once(
    open_journal: Open, caplog: pytest.LogCaptureFixture, kept: str
) -> None:
    store = Store()
    broken = True

    async def append(rows: list[Any]) -> None:
        if broken:
            raise ValueError("a bug")
        await store.append(rows)

    ledger = Ledger(append, None, journal=open_journal() if kept == "on disk" else None)
    for start in range(0, 30, 10):
        put(ledger, start, start + 10)
        await ledger.flush()
    assert (ledger.failing, ledger.dropped) == (True, 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    broken = False
    put(ledger, 30, 40)
    await ledger.flush()
    assert store.rows.keys() == ids(0, 40)
    assert (ledger.failing, ledger.dropped) == (False, 0)


async def test_a_store_that_does_not_answer_delays_nothing_and_loses_nothing(
    open_journal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PATIENCE", 0.01)
    store, journal = Store(), open_journal()
    kept = Ledger(store.append, None, journal=journal)
    store.answers.clear()
    for start in range(0, 30, 10):
        put(kept, start, start + 10)
        await kept.flush()
    assert (store.batches, kept.waiting) == (1, 0)
    assert len([row for segment in _closed(journal) for row in journal.read(segment)]) == 30
    store.answers.set()
    await asyncio.sleep(0)
    put(kept, 30, 40)
    await kept.flush(last=True)
    assert store.rows.keys() == ids(0, 40)
    assert journal.size == 0


def _closed(journal: Journal) -> list[str]:
    journal.close_segment()
    return journal.segments(foreign=False)


async def test_what_waits_is_bounded_and_what_is_lost_is_counted(
    open_journal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_KEPT", 5)
    store = Store()
    kept = Ledger(store.append, None, journal=open_journal(limit=2000))
    store.fails = True
    for n in range(40):
        put(kept, n, n + 1)
        await kept.flush()
    assert kept.waiting <= 5
    store.fails = False
    await kept.flush()
    await kept.flush()
    assert 5 < len(store.rows) < 40
    assert kept.dropped == 40 - len(store.rows)
    assert "r39" in store.rows


async def test_what_a_worker_left_behind_another_takes_up_once(open_journal: Open) -> None:
    store, left = Store(), open_journal("gone")
    store.fails = True
    first = Ledger(store.append, None, journal=left)
    put(first, 0, 10)
    await first.flush()
    left.close()
    store.fails = False
    others = [Ledger(store.append, None, journal=open_journal(f"other-{n}")) for n in range(3)]
    await asyncio.gather(*(other.flush(last=True) for other in others))
    assert store.rows.keys() == ids(0, 10)
    assert sorted(other.written for other in others) == [0, 0, 10]


async def test_the_journal_of_a_worker_that_lives_is_left_alone(open_journal: Open) -> None:
    store, mine = Store(), open_journal("mine")
    mine.add([settled(exchange(), 101.5).row])
    mine.close_segment()
    await Ledger(store.append, None, journal=open_journal("other")).flush(last=True)
    assert store.rows == {}


async def test_a_request_that_lasts_leaves_a_row_which_its_end_completes() -> None:
    store = Store()
    x = exchange(leaf=LEAF, ended=0.0, started=0.0)
    kept = Ledger(store.append, None, under_way=lambda: [x])
    await kept.flush()
    await kept.flush()
    outcome = SHARED.index("outcome")
    assert store.rows["r1"][-1][outcome] == PENDING
    assert store.batches == 1
    kept.put(x, 101.5)
    await kept.flush()
    assert store.rows["r1"][-1][outcome] == "ok"


async def test_in_strict_mode_a_killed_worker_loses_no_request(open_journal: Open) -> None:
    store, journal = Store(), open_journal("killed")
    under_way: list[Exchange] = []
    kept = Ledger(store.append, None, journal=journal, under_way=lambda: under_way, strict=True)
    for n in range(10):
        x = exchange(request_id=f"r{n}", ended=0.0)
        kept.reserve(x)
        under_way.append(x)
        if n % 2:
            kept.put(x, 101.5)
            under_way.remove(x)
        if n == 5:
            await kept.flush()
    journal.close()  # killed: nothing else is left of it
    await Ledger(store.append, None, journal=open_journal("next")).flush(last=True)
    outcomes = {id: each[-1][SHARED.index("outcome")] for id, each in store.rows.items()}
    assert outcomes == {f"r{n}": "ok" if n % 2 else PENDING for n in range(10)}


async def test_in_strict_mode_the_journal_goes_when_the_store_has_its_rows(open_journal: Open) -> None:
    store, journal = Store(), open_journal()
    kept = Ledger(store.append, None, journal=journal, under_way=list, strict=True)
    for fails in (False, True, False, False):
        store.fails = fails
        x = exchange(request_id=f"r{len(store.rows)}-{fails}", ended=0.0)
        kept.reserve(x)
        kept.put(x, 101.5)
        await kept.flush()
        assert (journal.size > 0) == fails
    assert len(store.rows) == 4
    assert {each[-1][SHARED.index("outcome")] for each in store.rows.values()} == {"ok"}


async def test_in_strict_mode_a_journal_that_was_taken_up_stays_until_the_store_has_it(open_journal: Open) -> None:
    store, left = Store(), open_journal("gone")
    gone = Ledger(store.append, None, journal=left, under_way=list, strict=True)
    put(gone, 0, 10)
    left.close()  # killed
    kept = Ledger(store.append, None, journal=open_journal("next"), under_way=list, strict=True)
    store.answers.clear()
    put(kept, 10, 11)
    await kept.flush()  # it does not wait for the store
    store.answers.set()  # which takes the first batch now; what was left behind comes next, and fails
    await until(lambda: "r10" in store.rows)
    store.answers.clear()
    await until(lambda: store.batches == 2)
    put(kept, 11, 300)  # so many that taking them needs several turns
    store.fails = store.once = True
    asyncio.get_running_loop().call_soon(store.answers.set)
    await kept.flush()
    put(kept, 300, 301)
    await kept.flush()
    await kept.flush(last=True)
    assert store.rows.keys() == ids(0, 301)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError("no space left")

    store = Store()
    kept = Ledger(store.append, Full())
    kept.put(exchange(), 101.5)
    await kept.flush()
    assert len(store.rows) == 1
    assert kept.dropped == 1
