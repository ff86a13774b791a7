"""The embedded store's files: who may read them, what is in them, and when they are full, broken or busy."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.errors import StartupError, StoreError
from proxy.store import SqlStore, default_url, migrate, open_store
from proxy.store.engine import Connection
from proxy.store.location import sqlite_path
from proxy.vault import Vault
from tests.proxy.stored import CANARY, CONFIG, KEY, VIRTUAL_KEY, replaced, usage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "loopway.db"


@pytest.fixture
def vault(folder: Path) -> Vault:
    return Vault.open(folder, {})


@pytest.fixture
async def store(path: Path, vault: Vault) -> AsyncIterator[SqlStore]:
    migrate(path)
    opened = open_store(path, vault)
    yield opened
    await opened.close()


async def test_no_credential_is_in_any_file_of_the_store(folder: Path, path: Path, store: SqlStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_config(CONFIG)
    await store.edit_config(CONFIG.slug, lambda row: replaced(row, config={"api_key": f"{CANARY}-2"}, version_id="2"))
    await store.delete_virtual_key(VIRTUAL_KEY.slug)
    names = {file.name for file in folder.iterdir()}
    assert {"loopway.db", "loopway.db-wal"} <= names
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes(), file.name


async def test_files_are_for_their_owner_only(folder: Path, store: SqlStore) -> None:
    await store.insert_api_key(KEY)
    await store.append_usage([usage("a")])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["plain", "with space", "per%41cent", "quer?y", "ha#sh", "ümlaut"])
async def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "loopway.db"
    migrate(path)
    store = open_store(path, Vault.open(tmp_path, {}))
    await store.insert_api_key(KEY)
    await store.close()
    assert path.stat().st_size > 0


def test_the_store_is_where_the_url_or_the_data_directory_says() -> None:
    assert default_url("data", {}) == os.path.join("data", "loopway.db")
    assert default_url("data", {"LOOPWAY_DATABASE_URL": "sqlite:////var/x.db"}) == "sqlite:////var/x.db"
    assert sqlite_path("sqlite:////var/x%20y.db") == Path("/var/x y.db")
    assert sqlite_path("sqlite:///x.db") == Path("x.db")


@pytest.mark.parametrize("url", ["mysql://user:hunter2@x", "redis://x", "sqlite://x.db", "sqlite:///"])
def test_a_store_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StartupError, match="LOOPWAY_DATABASE_URL") as caught:
        migrate(url)
    assert "hunter2" not in str(caught.value)


async def test_a_store_that_was_never_migrated_is_not_served(path: Path, vault: Vault) -> None:
    path.touch()
    with pytest.raises(StoreError, match="never migrated"):
        open_store(path, vault)


def test_a_file_that_is_no_database_is_named(path: Path, folder: Path, vault: Vault) -> None:
    path.write_bytes(b"x" * 4096)
    with pytest.raises(StartupError, match=r"loopway\.db"):
        migrate(path)
    with pytest.raises(StoreError, match="SQLITE_NOTADB"):
        open_store(path, vault)


async def test_a_disk_that_is_full_is_an_error_of_the_store_and_passes(path: Path, store: SqlStore) -> None:
    await store.insert_api_key(KEY)

    def pages(connection: Connection, limit: int = 0) -> None:
        limit = limit or connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {limit}")

    await store.run("keys", pages)
    with pytest.raises(StoreError, match="SQLITE_FULL"):
        await store.insert_virtual_key(replaced(VIRTUAL_KEY, note="x" * 100_000))
    await store.run("keys", pages, 1_000_000)
    await store.insert_virtual_key(VIRTUAL_KEY)
    assert len((await store.rows()).virtual_keys) == 1


async def test_a_long_write_of_another_process_is_waited_for(path: Path, store: SqlStore) -> None:
    loop = asyncio.get_running_loop()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.insert_api_key(KEY))
        assert await loop.run_in_executor(None, other.execute, "SELECT seq FROM changes") is not None
        assert not waiting.done()
        other.execute("COMMIT")
        await waiting
    assert await store.seq() == 1
