"""PostgreSQL that restarts, hangs and refuses: what the store says, how soon, and that it goes on afterwards."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from proxy.errors import StartupError, StoreError
from proxy.store import SqlStore, migrate, open_store
from proxy.store.engine import Connection, Lane
from proxy.store.location import label
from proxy.store.postgres import PostgresEngine, _translated
from proxy.vault import Vault
from tests.fakes.postgres import Postgres
from tests.proxy.stored import KEY, replaced, usage
from tests.proxy.test_store import MASTER


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[SqlStore]:
    migrate(postgres_url)
    opened = open_store(postgres_url, Vault.open("unused", MASTER))
    yield opened
    await opened.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_was_restarted_is_used_again_without_an_error(
    postgres: Postgres, store: SqlStore, how: signal.Signals
) -> None:
    await store.insert_api_key(KEY)
    await store.append_usage([usage("a")])
    await asyncio.to_thread(postgres.stop, how)
    await asyncio.to_thread(postgres.start)
    assert await store.seq() == 1
    await store.insert_api_key(replaced(KEY, id="key-2", digest="f" * 64, previous_digest=None))
    await store.append_usage([usage("a"), usage("b")])
    assert len((await store.rows()).api_keys) == 2


async def test_a_server_that_is_away_is_an_error_at_once(postgres: Postgres, store: SqlStore) -> None:
    await store.seq()
    await asyncio.to_thread(postgres.stop)
    try:
        began = monotonic()
        for _ in range(20):
            with pytest.raises(StoreError) as caught:
                await store.seq()
        assert monotonic() - began < 20
        assert "hunter2" not in str(caught.value)
    finally:
        await asyncio.to_thread(postgres.start)
    async with asyncio.timeout(30):
        while True:
            try:
                assert await store.seq() == 0
                break
            except StoreError:
                await asyncio.sleep(0.05)


async def test_a_server_that_hangs_is_left_after_a_while(postgres: Postgres, postgres_url: str) -> None:
    lane = Lane(PostgresEngine(postgres_url), "test", patience=0.2)
    one = "SELECT 1 AS one"
    assert (await lane.run(lambda connection: connection.execute(one).fetchone()))["one"] == 1
    await asyncio.to_thread(postgres.freeze, True)
    try:
        began = monotonic()
        with pytest.raises(StoreError):
            # A write: what was only read would be asked once more.
            await lane.run(_writing)
        assert monotonic() - began < 30
    finally:
        await asyncio.to_thread(postgres.freeze, False)
    async with asyncio.timeout(30):
        while True:
            try:
                assert (await lane.run(lambda connection: connection.execute(one).fetchone()))["one"] == 1
                break
            except StoreError:
                await asyncio.sleep(0.05)
    await lane.close()


def _writing(connection: Connection) -> None:
    with connection.writing():
        connection.execute("SELECT 1 AS one")


async def test_a_statement_that_takes_too_long_is_ended(postgres_url: str) -> None:
    lane = Lane(PostgresEngine(postgres_url), "test", patience=0.3)
    began = monotonic()
    with pytest.raises(StoreError, match="QueryCanceled"):
        await lane.run(lambda connection: connection.execute("SELECT pg_sleep(60) AS slept"))
    assert monotonic() - began < 30
    await lane.close()


async def test_errors_name_no_value_and_no_password(store: SqlStore) -> None:
    def refused(connection: Connection) -> None:
        connection.execute("INSERT INTO meta (name, value) VALUES (:name, NULL)", {"name": "sk-canary"})

    with pytest.raises(StoreError, match="NotNullViolation") as caught:
        await store.run("keys", refused)
    assert "canary" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@db.internal:6543/loopway?sslmode=require", "postgresql://db.internal:6543/loopway"),
        ("postgres://db/x", "postgresql://db:5432/x"),
        ("postgresql:///x?host=/run/pg&password=hunter2", "postgresql:///run/pg:5432/x"),
    ],
)
def test_a_store_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert label(url) == shown


def test_a_server_that_cannot_be_reached_stops_the_start_with_one_line() -> None:
    with pytest.raises(StartupError, match="cannot be reached") as caught:
        migrate("postgresql://loopway:hunter2@127.0.0.1:1/nowhere")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_statements_are_written_once_for_all_databases() -> None:
    assert _translated("SELECT a % 2 FROM t WHERE b = :name AND c = ?") == (
        "SELECT a %% 2 FROM t WHERE b = %(name)s AND c = %s"
    )
