"""The store on real databases, the same tests on each: many processes, nothing secret at rest, nothing lost."""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import Kind
from proxy.errors import Refused, StartupError, StoreError
from proxy.ports import Secret, VirtualKeyRow
from proxy.store import SqlStore, migrate, open_store
from proxy.store.migrate import files
from proxy.store.records import STORED, TRACED
from proxy.usage_columns import COLUMNS, flat, folded
from proxy.vault import VARIABLE, Vault
from tests.proxy.stored import CANARY, CONFIG, KEY, VIRTUAL_KEY, ask, replaced, usage

MASTER = {VARIABLE: base64.b64encode(b"m" * 32).decode()}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store may be, of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "data" / "loopway.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def vault() -> Vault:
    return Vault.open("unused", MASTER)


@pytest.fixture
async def store(place: str, vault: Vault) -> AsyncIterator[SqlStore]:
    migrate(place)
    opened = open_store(place, vault)
    yield opened
    await opened.close()


# Rows


async def test_rows_come_back_as_they_went_in(store: SqlStore) -> None:
    await store.insert_api_key(KEY)
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_config(CONFIG)
    rows = await store.rows()
    assert rows.api_keys == (KEY,)
    assert rows.virtual_keys == (VIRTUAL_KEY,)
    assert rows.configs == (CONFIG,)
    assert rows.seq == await store.seq() == 3


async def test_every_change_raises_the_change_number_and_reading_does_not(store: SqlStore) -> None:
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


async def test_a_refused_change_changes_nothing(store: SqlStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    before = await store.rows()

    def change(row: VirtualKeyRow) -> VirtualKeyRow:
        raise Refused(Kind.INVALID_REQUEST, "no")

    with pytest.raises(Refused, match="no"):
        await store.edit_virtual_key(VIRTUAL_KEY.slug, change)
    with pytest.raises(Refused, match="already"):
        await store.insert_virtual_key(VIRTUAL_KEY)
    assert await store.rows() == before


async def test_what_is_not_there_is_said_to_be_missing(store: SqlStore) -> None:
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


async def test_an_edit_of_a_deleted_row_does_not_bring_it_back(store: SqlStore) -> None:
    await store.insert_api_key(KEY)
    await store.delete_api_key(KEY.id)
    with pytest.raises(Refused):
        await store.edit_api_key(KEY.id, lambda row: replaced(row, name="again"))
    assert (await store.rows()).api_keys == ()


async def test_edits_at_once_never_undo_each_other(place: str, vault: Vault, store: SqlStore) -> None:
    await store.insert_api_key(replaced(KEY, metadata={}))
    other = open_store(place, vault)

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
    store: SqlStore, digest: str, previous: str | None
) -> None:
    await store.insert_api_key(KEY)
    other = replaced(KEY, id="key-2", digest=digest, previous_digest=previous)
    with pytest.raises(Refused) as caught:
        await store.insert_api_key(other)
    assert caught.value.status == 409
    assert digest not in caught.value.message


async def test_a_changed_config_is_a_new_version_and_a_renamed_one_is_not(store: SqlStore) -> None:
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


async def test_one_config_at_most_is_the_default(store: SqlStore) -> None:
    await store.insert_config(CONFIG)
    await store.insert_config(replaced(CONFIG, slug="pc-other", id="config-2"))
    assert {row.slug: row.is_default for row in (await store.rows()).configs} == {"pc-default": False, "pc-other": True}
    await store.edit_config("pc-default", lambda row: replaced(row, is_default=True))
    assert {row.slug: row.is_default for row in (await store.rows()).configs} == {"pc-default": True, "pc-other": False}


# The ledger


async def test_a_request_id_is_charged_once(place: str, store: SqlStore) -> None:
    await store.append_usage([usage("a"), usage("b"), usage("a")])
    await store.append_usage([usage("b"), usage("c")])
    await store.append_usage([])
    found = ask(place, "SELECT request_id, status, input_tokens FROM usage ORDER BY 1")
    assert found == [("a", 200, None), ("b", 200, None), ("c", 200, None)]
    assert await store.seq() == 0


async def test_many_rows_at_once_all_arrive(place: str, store: SqlStore) -> None:
    await store.append_usage([usage(f"r{n}") for n in range(1234)])
    assert ask(place, "SELECT count(*) FROM usage") == [(1234,)]


def entry(id: str, **values: object) -> tuple[object, ...]:
    """A row of the ledger."""
    known = dict(zip(COLUMNS, flat(usage(id)), strict=True)) | values
    return folded([known[name] for name in COLUMNS])


@pytest.mark.parametrize("took", [None, 1_000, 400_000])
async def test_new_known_and_pending_requests_of_one_batch_count_once_each(
    place: str, store: SqlStore, took: int | None
) -> None:
    def row(id: str, outcome: str, **values: object) -> tuple[object, ...]:
        duration = None if outcome == "pending" else took
        return entry(id, outcome=outcome, input_tokens=1, duration_us=duration, **values)

    await store.append_usage([row(f"r{n:03}", "pending" if n % 3 else "ok") for n in range(0, 300, 2)])
    batch = [row(f"r{n:03}", "ok", tries="[]" if n == 7 else None) for n in range(300)]
    await store.append_usage(batch)
    await store.append_usage(batch)
    assert ask(place, "SELECT count(*), sum(input_tokens) FROM usage WHERE outcome = 'ok'") == [(300, 300)]
    assert ask(place, "SELECT sum(requests) AS n, sum(input_tokens) AS used, sum(errors) AS bad FROM usage_days") == [
        (300, 300, 0)
    ]
    assert ask(place, "SELECT request_id FROM usage WHERE tries IS NOT NULL") == [("r007",)]


async def test_what_rows_of_a_batch_have_in_common_and_what_not_comes_back(place: str, store: SqlStore) -> None:
    rows = [
        entry(
            f"r{n:03}",
            at=n,
            duration_us=n % 7,
            trace_id="own" if n % 50 == 49 else f"r{n:03}",
            model="a" if n < 150 else f"m{n % 3}",
            asked_model="a",
            status=200 if n < 120 else 429,
            cached_tokens=0 if n < 210 else n,
            metadata='{"team":"x"}' if n == 205 else None,
            cost=None if n < 110 else n / 8,
            attempts=1,
        )
        for n in range(222)
    ]
    await store.append_usage(rows)
    assert ask(place, f"SELECT {', '.join(COLUMNS)} FROM usage ORDER BY request_id") == [flat(row) for row in rows]
    assert ask(place, "SELECT count(*) FROM usage WHERE faceted = 1") == [(222,)]


async def test_one_trace_is_found_whether_it_is_its_requests_id_or_its_own(place: str, store: SqlStore) -> None:
    trace = COLUMNS.index("trace_id")
    rows = [usage(id) for id in "abc"]
    traces = ("a", "t", "a")
    await store.append_usage([(*r[:trace], t, *r[trace + 1 :]) for r, t in zip(rows, traces, strict=True)])
    for wanted, found in (("a", ["a", "c"]), ("t", ["b"]), ("b", [])):
        statement = f"SELECT request_id FROM usage WHERE {TRACED} ORDER BY 1"
        assert [id for (id,) in ask(place, statement, {"trace_id": wanted})] == found
    if "://" not in place:
        plan = ask(place, f"EXPLAIN QUERY PLAN SELECT * FROM usage WHERE {TRACED}", {"trace_id": "a"})
        assert plan
        assert "SCAN" not in str(plan)


async def test_every_column_of_the_ledger_has_a_name_in_the_table(place: str, store: SqlStore) -> None:
    await store.append_usage([usage("a")])
    found = await store.run("keys", lambda connection: set(dict(connection.execute("SELECT * FROM usage").fetchone())))
    assert found == set(STORED)


# Secrets


async def test_a_ciphertext_copied_to_another_row_does_not_open(place: str, vault: Vault, store: SqlStore) -> None:
    await store.insert_virtual_key(VIRTUAL_KEY)
    await store.insert_virtual_key(replaced(VIRTUAL_KEY, slug="mine", key=Secret("mine")))
    ask(
        place,
        "UPDATE virtual_keys SET credential = "
        "(SELECT credential FROM virtual_keys WHERE slug = 'openai-prod') WHERE slug = 'mine'",
    )
    with pytest.raises(StoreError, match="'mine', credential: does not decrypt") as caught:
        await store.rows()
    assert CANARY not in str(caught.value)


async def test_a_config_version_cannot_be_swapped_for_another(place: str, store: SqlStore) -> None:
    await store.insert_config(CONFIG)
    await store.edit_config(CONFIG.slug, lambda row: replaced(row, config={"cache": "simple"}, version_id="2"))
    ask(
        place,
        "UPDATE config_versions SET config = (SELECT config FROM config_versions WHERE version = 1) WHERE version = 2",
    )
    with pytest.raises(StoreError, match="damaged or belongs to another row"):
        await store.rows()


async def test_a_wrong_master_key_stops_the_start_with_one_line(place: str, store: SqlStore) -> None:
    wrong = Vault.open("unused", {VARIABLE: base64.b64encode(b"x" * 32).decode()})
    with pytest.raises(StartupError, match="encrypted under another master key") as caught:
        open_store(place, wrong)
    assert "\n" not in str(caught.value)
    assert VARIABLE in str(caught.value)


async def test_a_new_master_key_takes_over_every_row(place: str) -> None:
    old, new = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
    migrate(place)
    first = open_store(place, Vault.open("unused", {VARIABLE: old}))
    await first.insert_virtual_key(VIRTUAL_KEY)
    await first.insert_config(CONFIG)
    await first.edit_config(CONFIG.slug, lambda row: replaced(row, config={"retry": {"attempts": 2}}, version_id="2"))
    seq = await first.seq()
    await first.close()

    both = open_store(place, Vault.open("unused", {VARIABLE: f"{new},{old}"}))
    assert await both.seq() == seq + 1
    await both.close()

    last = open_store(place, Vault.open("unused", {VARIABLE: new}))
    rows = await last.rows()
    assert rows.virtual_keys == (VIRTUAL_KEY,)
    assert [row.version for row in await last.config_versions(CONFIG.slug)] == [2, 1]
    await last.close()
    with pytest.raises(StartupError):
        open_store(place, Vault.open("unused", {VARIABLE: old}))


# Processes


def _migrate_and_read(place: str) -> int:
    migrate(place)
    store = open_store(place, Vault.open("unused", MASTER))
    try:
        return asyncio.run(store.seq())
    finally:
        asyncio.run(store.close())


def test_processes_that_start_together_migrate_once(place: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_migrate_and_read, [place] * 8, chunksize=1) == [0] * 8
    applied = [name for (name,) in ask(place, "SELECT migration_id FROM _yoyo_migration ORDER BY migration_id")]
    assert applied == [file.stem for file in files("sqlite" if place.startswith("/") else "postgresql")]


def test_a_process_killed_while_migrating_leaves_no_lock_behind(place: str) -> None:
    migrate(place)
    ask(place, "DELETE FROM _yoyo_migration WHERE migration_id = '0001-first'")
    ask(place, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, '2020-01-01T00:00:00', 1)")
    migrate(place)
    assert _migrate_and_read(place) == 0


def test_a_current_schema_is_recognised_without_the_migration_tool(place: str) -> None:
    migrate(place)
    code = (
        "import sys; from proxy.store import migrate; migrate(sys.argv[1]); "
        "print([name for name in sys.modules if name.split('.')[0] in ('yoyo', 'sqlparse')])"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WRITES = 100


def _write(arguments: tuple[str, int]) -> None:
    place, process = arguments

    async def writing() -> None:
        store = open_store(place, Vault.open("unused", MASTER))
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


def test_processes_that_write_at_once_never_run_into_each_other(place: str) -> None:
    migrate(place)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_write, [(place, process) for process in range(4)], chunksize=1)
    assert ask(place, "SELECT count(*) FROM api_keys") == [(4 * WRITES,)]
    assert ask(place, "SELECT count(*) FROM usage") == [(4 * WRITES * 10,)]
    assert ask(place, "SELECT seq FROM changes") == [(4 * WRITES,)]


async def test_a_closed_store_says_so(store: SqlStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="is closed"):
        await store.seq()
