"""The embedded store on real files: several processes at once, nothing secret on disk, nothing lost."""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.errors import Kind
from proxy.errors import Refused, StartupError, StoreError
from proxy.ports import ApiKeyRow, Budget, ConfigRow, Limits, Queue, Rates, Secret, VirtualKeyRow
from proxy.store import SqliteStore, default_url, migrate, open_store
from proxy.store.location import sqlite_path
from proxy.usage_columns import COLUMNS
from proxy.vault import VARIABLE, Vault

CANARY = "sk-canary-4fd1c0de"

KEY = ApiKeyRow(
    id="key-1",
    name="team-a",
    digest="d" * 64,
    scopes=("inference", "logs"),
    virtual_keys=("openai-prod",),
    models=("gpt-5*",),
    config="pc-default",
    allow_config_override=False,
    metadata={"team": "ä"},
    limits=Limits(
        concurrency=8, queue=Queue(2, 0.5), requests=Rates(per_minute=60), budget=Budget(usd=5.5, window="30d")
    ),
    description="what",
    type="organisation",
    sub_type="user",
    expires_at=2_000_000_000,
    previous_digest="e" * 64,
    previous_expires_at=1_900_000_000,
    created_at=1,
    updated_at=2,
    extra={"alert_emails": ["a@example.com"]},
)
VIRTUAL_KEY = VirtualKeyRow(
    slug="openai-prod",
    name="OpenAI",
    provider="openai",
    key=Secret(f"{CANARY}-credential"),
    custom_host="http://10.0.0.1:8000/v1",
    models=("gpt-5*",),
    aliases={"fast": "gpt-5-mini"},
    default_model="gpt-5",
    completions_mode="legacy",
    custom_headers={"x-team": f"{CANARY}-header"},
    fields={"aws_secret_access_key": f"{CANARY}-field", "deployments": [{"alias": "a"}]},
    limits=Limits(concurrency=64),
    note="n",
    expires_at=2_000_000_000,
    created_at=1,
    updated_at=2,
    extra={"workspace_id": "w"},
)
CONFIG = ConfigRow(
    slug="pc-default",
    name="default",
    config={"provider": "openai", "api_key": f"{CANARY}-config", "weight": 123456789012345678901234567890},
    id="config-1",
    version_id="version-1",
    is_default=True,
    created_at=1,
    updated_at=2,
)


def replaced(row: Any, **values: Any) -> Any:
    return msgspec.structs.replace(row, **values)


def usage(request_id: str) -> tuple[object, ...]:
    known: dict[str, object] = {"request_id": request_id, "at": 1_700_000_000_000, "status": 200, "streamed": 1}
    return tuple(known.get(column) for column in COLUMNS)


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
async def store(path: Path, vault: Vault) -> AsyncIterator[SqliteStore]:
    migrate(path)
    opened = open_store(path, vault)
    yield opened
    await opened.close()


# Rows


async def test_rows_come_back_as_they_went_in(store: SqliteStore) -> None:
    await store.insert_api_key(KEY)
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_config(CONFIG)
    rows = await store.rows()
    assert rows.api_keys == (KEY,)
    assert rows.virtual_keys == (VIRTUAL_KEY,)
    assert rows.configs == (CONFIG,)
    assert rows.seq == await store.seq() == 3


async def test_every_change_raises_the_change_number_and_reading_does_not(store: SqliteStore) -> None:
    seen = [await store.seq()]
    for change in (
        store.insert_api_key(KEY),
        store.update_api_key(replaced(KEY, name="other")),
        store.delete_api_key(KEY.id),
        store.insert_config(CONFIG),
        store.delete_config(CONFIG.slug),
    ):
        await change
        await store.rows()
        seen.append(await store.seq())
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_a_refused_change_changes_nothing(store: SqliteStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    before = await store.rows()

    def change(row: VirtualKeyRow) -> VirtualKeyRow:
        raise Refused(Kind.INVALID_REQUEST, "no")

    with pytest.raises(Refused, match="no"):
        await store.edit_virtual_key(VIRTUAL_KEY.slug, change)
    with pytest.raises(Refused, match="already"):
        await store.insert_virtual_key(VIRTUAL_KEY)
    assert await store.rows() == before


async def test_what_is_not_there_is_said_to_be_missing(store: SqliteStore) -> None:
    for attempt in (
        store.update_api_key(KEY),
        store.delete_api_key(KEY.id),
        store.update_virtual_key(VIRTUAL_KEY),
        store.delete_virtual_key(VIRTUAL_KEY.slug),
        store.update_config(CONFIG),
        store.delete_config(CONFIG.slug),
    ):
        with pytest.raises(Refused) as caught:
            await attempt
        assert caught.value.status == 404
    assert await store.config_versions("pc-default") == ()


async def test_an_edit_of_a_deleted_row_does_not_bring_it_back(store: SqliteStore) -> None:
    await store.insert_api_key(KEY)
    await store.delete_api_key(KEY.id)
    with pytest.raises(Refused):
        await store.edit_api_key(KEY.id, lambda row: replaced(row, name="again"))
    assert (await store.rows()).api_keys == ()


async def test_edits_at_once_never_undo_each_other(path: Path, vault: Vault, store: SqliteStore) -> None:
    await store.insert_api_key(replaced(KEY, metadata={}))
    other = open_store(path, vault)

    def adding(name: str) -> Any:
        return lambda row: replaced(row, metadata={**row.metadata, name: "1"})

    await asyncio.gather(
        *(one.edit_api_key(KEY.id, adding(f"{index}")) for index in range(20) for one in (store, other)),
        *(other.edit_api_key(KEY.id, adding(f"o{index}")) for index in range(20)),
    )
    await other.close()
    assert len((await store.rows()).api_keys[0].metadata) == 40


@pytest.mark.parametrize(
    ("digest", "previous"), [("d" * 64, None), ("e" * 64, None), ("f" * 64, "d" * 64), ("f" * 64, "e" * 64)]
)
async def test_no_two_keys_share_a_token_not_even_one_being_rotated(
    store: SqliteStore, digest: str, previous: str | None
) -> None:
    await store.insert_api_key(KEY)
    other = replaced(KEY, id="key-2", digest=digest, previous_digest=previous)
    with pytest.raises(Refused) as caught:
        await store.insert_api_key(other)
    assert caught.value.status == 409
    assert digest not in caught.value.message


async def test_a_changed_config_is_a_new_version_and_a_renamed_one_is_not(store: SqliteStore) -> None:
    await store.insert_config(CONFIG)
    await store.update_config(replaced(CONFIG, name="renamed", version_id="unused", updated_at=3))
    changed = await store.edit_config(
        CONFIG.slug, lambda row: replaced(row, config={"retry": {"attempts": 1}}, version_id="version-2", updated_at=4)
    )
    assert (changed.version, changed.version_id) == (2, "version-2")
    versions = await store.config_versions(CONFIG.slug)
    assert [(row.version, row.version_id, row.name) for row in versions] == [
        (2, "version-2", "renamed"),
        (1, "version-1", "renamed"),
    ]
    assert versions[1].config == CONFIG.config
    await store.delete_config(CONFIG.slug)
    assert await store.config_versions(CONFIG.slug) == ()


async def test_one_config_at_most_is_the_default(store: SqliteStore) -> None:
    await store.insert_config(CONFIG)
    await store.insert_config(replaced(CONFIG, slug="pc-other", id="config-2"))
    assert {row.slug: row.is_default for row in (await store.rows()).configs} == {"pc-default": False, "pc-other": True}
    await store.edit_config("pc-default", lambda row: replaced(row, is_default=True))
    assert {row.slug: row.is_default for row in (await store.rows()).configs} == {"pc-default": True, "pc-other": False}


# The ledger


async def test_a_request_id_is_charged_once(path: Path, store: SqliteStore) -> None:
    await store.append_usage([usage("a"), usage("b"), usage("a")])
    await store.append_usage([usage("b"), usage("c")])
    await store.append_usage([])
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT request_id, status, input_tokens FROM usage ORDER BY 1").fetchall()
    assert found == [("a", 200, None), ("b", 200, None), ("c", 200, None)]
    assert await store.seq() == 0


async def test_every_column_of_the_ledger_has_a_name_in_the_table(path: Path, store: SqliteStore) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert tuple(row[1] for row in connection.execute("PRAGMA table_info(usage)")) == COLUMNS


# Secrets


async def test_no_credential_is_in_any_file_of_the_store(folder: Path, path: Path, store: SqliteStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_config(CONFIG)
    await store.edit_config(CONFIG.slug, lambda row: replaced(row, config={"api_key": f"{CANARY}-2"}, version_id="2"))
    await store.delete_virtual_key(VIRTUAL_KEY.slug)
    names = {file.name for file in folder.iterdir()}
    assert {"loopway.db", "loopway.db-wal"} <= names
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes(), file.name


async def test_a_ciphertext_copied_to_another_row_does_not_open(path: Path, vault: Vault, store: SqliteStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_virtual_key(replaced(VIRTUAL_KEY, slug="mine", key=Secret("mine")))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE virtual_keys SET credential = "
            "(SELECT credential FROM virtual_keys WHERE slug = 'openai-prod') WHERE slug = 'mine'"
        )
    with pytest.raises(StoreError, match="'mine', credential: does not decrypt") as caught:
        await store.rows()
    assert CANARY not in str(caught.value)


async def test_a_config_version_cannot_be_swapped_for_another(path: Path, store: SqliteStore) -> None:
    await store.insert_config(CONFIG)
    await store.edit_config(CONFIG.slug, lambda row: replaced(row, config={"cache": "simple"}, version_id="2"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "UPDATE config_versions SET config = (SELECT config FROM config_versions WHERE version = 1) "
            "WHERE version = 2"
        )
    with pytest.raises(StoreError, match="damaged or belongs to another row"):
        await store.rows()


async def test_a_wrong_master_key_stops_the_start_with_one_line(path: Path, store: SqliteStore) -> None:
    wrong = Vault.open("unused", {VARIABLE: base64.b64encode(b"x" * 32).decode()})
    with pytest.raises(StartupError, match="encrypted under another master key") as caught:
        open_store(path, wrong)
    assert "\n" not in str(caught.value)
    assert VARIABLE in str(caught.value)


async def test_a_new_master_key_takes_over_every_row(path: Path, folder: Path) -> None:
    old, new = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
    migrate(path)
    first = open_store(path, Vault.open(folder, {VARIABLE: old}))
    await first.insert_virtual_key(VIRTUAL_KEY)
    await first.insert_config(CONFIG)
    await first.edit_config(CONFIG.slug, lambda row: replaced(row, config={"retry": {"attempts": 2}}, version_id="2"))
    seq = await first.seq()
    await first.close()

    both = open_store(path, Vault.open(folder, {VARIABLE: f"{new},{old}"}))
    assert await both.seq() == seq + 1
    await both.close()

    last = open_store(path, Vault.open(folder, {VARIABLE: new}))
    rows = await last.rows()
    assert rows.virtual_keys == (VIRTUAL_KEY,)
    assert [row.version for row in await last.config_versions(CONFIG.slug)] == [2, 1]
    await last.close()
    with pytest.raises(StartupError):
        open_store(path, Vault.open(folder, {VARIABLE: old}))


# Files


async def test_files_are_for_their_owner_only(folder: Path, store: SqliteStore) -> None:
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


@pytest.mark.parametrize("url", ["postgresql://user:hunter2@host/db", "mysql://x", "sqlite://x.db", "sqlite:///"])
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


async def test_a_closed_store_says_so(store: SqliteStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        await store.seq()


async def test_a_disk_that_is_full_is_an_error_of_the_store_and_passes(path: Path, store: SqliteStore) -> None:
    await store.insert_api_key(KEY)
    connection = store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="SQLITE_FULL"):
        await store.insert_virtual_key(replaced(VIRTUAL_KEY, note="x" * 100_000))
    connection.execute("PRAGMA max_page_count = 1000000")
    await store.insert_virtual_key(VIRTUAL_KEY)
    assert len((await store.rows()).virtual_keys) == 1


# Processes


def _migrate_and_read(path: str) -> int:
    migrate(path)
    store = open_store(path, Vault.open(Path(path).parent, {}))
    try:
        return asyncio.run(store.seq())
    finally:
        asyncio.run(store.close())


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    for attempt in range(3):
        path = tmp_path / str(attempt) / "loopway.db"
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            assert pool.map(_migrate_and_read, [str(path)] * 8, chunksize=1) == [0] * 8
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM _yoyo_migration").fetchone() == (1,)


def test_a_process_killed_while_migrating_leaves_no_lock_behind(path: Path, vault: Vault) -> None:
    migrate(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM _yoyo_migration")
        connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, '2020-01-01T00:00:00', 1)")
    migrate(path)
    assert _migrate_and_read(str(path)) == 0


def test_a_current_schema_is_recognised_without_the_migration_tool(path: Path) -> None:
    migrate(path)
    code = (
        "import sys; from proxy.store import migrate; migrate(sys.argv[1]); "
        "print([name for name in sys.modules if name.split('.')[0] in ('yoyo', 'sqlparse')])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WRITES = 150


def _write(arguments: tuple[str, int]) -> None:
    path, process = arguments

    async def writing() -> None:
        store = open_store(path, Vault.open(Path(path).parent, {}))
        for index in range(WRITES):
            name = f"{process}-{index}"
            key = replaced(KEY, id=name, digest=name, previous_digest=None)
            await asyncio.gather(
                store.insert_api_key(key),
                store.append_usage([usage(f"{name}-{row}") for row in range(10)]),
                store.rows() if index % 20 == 0 else store.seq(),
            )
        await store.close()

    asyncio.run(writing())


def test_processes_that_write_at_once_never_run_into_each_other(path: Path, vault: Vault) -> None:
    migrate(path)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_write, [(str(path), process) for process in range(4)], chunksize=1)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM api_keys").fetchone() == (4 * WRITES,)
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (4 * WRITES * 10,)
        assert connection.execute("SELECT seq FROM changes").fetchone() == (4 * WRITES,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_long_write_of_another_process_is_waited_for(path: Path, store: SqliteStore) -> None:
    loop = asyncio.get_running_loop()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.insert_api_key(KEY))
        assert await loop.run_in_executor(None, other.execute, "SELECT seq FROM changes") is not None
        assert not waiting.done()
        other.execute("COMMIT")
        await waiting
    assert await store.seq() == 1
