"""What is old goes little by little, and neither the database's file nor its log grow without end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app.upkeep import _FEWEST, _MOST, Upkeep
from proxy.errors import StoreError
from proxy.store import ledger, logs, migrate, wal
from proxy.store.engine import Connection, Lane
from proxy.store.store import engine_of
from tests.proxy.stored import ask
from tests.proxy.test_bulk import row

START = 1_700_000_000_000


def batch(first: int, count: int, **more: Any) -> list[tuple[Any, ...]]:
    return [row(f"{n * 7919 % 10007:05d}-{n}", at=START + n, status=200, **more) for n in range(first, first + count)]


class Store:
    """A store whose jobs take so long and delete as many rows as they may; the numbers they were asked for."""

    def __init__(self, took: float, rows: int) -> None:
        self.took = took
        self.rows = rows
        self.asked: list[int] = []

    async def run(self, lane: str, timed: Callable[..., Any], job: Any, before: int, most: int) -> tuple[int, float]:
        self.asked.append(most)
        gone = min(most, self.rows)
        self.rows -= gone
        return gone, self.took


def upkeep(store: Any) -> Upkeep:
    file = SimpleNamespace(store=SimpleNamespace(retention=60.0, sums_retention=None))
    return Upkeep(SimpleNamespace(file=file), store)  # type: ignore[arg-type]


async def test_rows_are_deleted_until_none_is_left_as_many_at_once_as_take_little_time() -> None:
    store = Store(took=0.0, rows=40_000)
    await upkeep(store).forget_old()
    assert store.rows == 0
    assert store.asked[:4] == [500, 1000, 2000, 4000]
    assert max(store.asked) == _MOST


async def test_where_deleting_takes_long_fewer_rows_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.app.upkeep._AT_A_TIME", 0.01)
    store = Store(took=0.11, rows=10**9)
    chore = upkeep(store)
    for _ in range(3):
        await chore.forget_old()
    assert store.asked[:3] == [500, 250, 125]
    assert store.asked[-1] == _FEWEST


async def test_a_store_that_is_away_is_asked_again_later() -> None:
    class Away:
        async def run(self, *_: Any) -> None:
            raise StoreError("away")

    chore = upkeep(Away())
    await chore.forget_old()
    await chore.forget_old()
    assert chore._forget_at > 0


def test_a_file_whose_old_rows_go_stays_as_large_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "loopway.db"
    migrate(place)
    lane, sizes = Lane(engine_of(place), "test"), []
    bodies = "x" * 3000
    for turn in range(8):
        first = turn * 1000
        lane.now(ledger.append, batch(first, 1000))
        lane.now(logs.add_bodies, [(f"b{n}", START + n, bodies, bodies) for n in range(first, first + 200)])
        for delete in (ledger.forget, logs.purge):
            while lane.now(delete, START + first):
                pass
        lane.now(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        sizes.append(place.stat().st_size)
    lane.close_now()
    assert ask(str(place), "SELECT COUNT(*) FROM usage") == [(1000,)]
    assert sizes[-1] < 1.3 * sizes[2]


def test_a_log_that_somebody_always_reads_is_shortened_when_the_last_of_them_has_ended(tmp_path: Path) -> None:
    place = tmp_path / "loopway.db"
    migrate(place)
    log = place.with_name("loopway.db-wal")
    writer, upkeeper = (Lane(engine_of(place), name) for name in ("writer", "upkeep"))
    readers = [engine_of(place).connect(False, 5.0) for _ in range(2)]

    def read(reader: Connection) -> None:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) AS n FROM usage").fetchone()

    read(readers[0])
    for turn in range(16):  # there is no moment without a reader
        writer.now(ledger.append, batch(turn * 300, 300, tries="x" * 1500))
        read(readers[(turn + 1) % 2])
        readers[turn % 2].execute("COMMIT")
    grown = log.stat().st_size
    assert grown > 5_000_000
    assert not upkeeper.now(wal.shorten, 2 * grown)

    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(upkeeper.now(wal.shorten, grown // 2)))
    thread.start()
    thread.join(0.2)
    readers[0].execute("COMMIT")
    thread.join(30)
    assert done == [True]
    assert log.stat().st_size == 0
    writer.now(ledger.append, batch(10_000, 1))
    for each in (writer, upkeeper):
        each.close_now()
    for reader in readers:
        reader.close()


async def test_two_hosts_delete_at_once_without_waiting_for_each_other(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)
    one, other = (Lane(engine_of(postgres_url), name) for name in ("one", "other"))
    await one.run(ledger.append, batch(0, 90))
    may_end, begun = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> int:
        class Held:
            kind = connection.kind
            writing = connection.writing

            def execute(self, *asked: Any) -> Any:
                done = connection.execute(*asked)
                begun.set()
                may_end.wait(30)
                return done

        return ledger.forget(Held(), START + 1000, 60)  # type: ignore[arg-type]

    first = asyncio.create_task(one.run(slowly))
    await asyncio.to_thread(begun.wait, 30)
    assert await other.run(ledger.forget, START + 1000, 60) == 30
    may_end.set()
    assert await first == 60
    for lane in (one, other):
        await lane.close()
