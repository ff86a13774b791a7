"""The embedded store: SQLite in write-ahead mode, one dedicated thread for each of its two connections.

Keys and configs are written with full synchronisation: what was acknowledged survives a power cut. The ledger has a
connection of its own with normal synchronisation, so that its batches wait for no disk and delay no administrator.
Every write takes the write lock at its start and waits for it; running into another process is never an error.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from adapters.errors import Kind
from proxy.errors import Refused, StartupError, StoreError
from proxy.ports import ApiKeyRow, ConfigRow, Rows, VirtualKeyRow
from proxy.store import records
from proxy.store.location import sqlite_path
from proxy.vault import VARIABLE, Vault

T = TypeVar("T")

_BUSY_SECONDS = 5
_BUSY_TRIES = 6
_ROWS_A_STATEMENT = 100
_ADD_ONE = records.add_usage(1)
_ADD_MANY = records.add_usage(_ROWS_A_STATEMENT)
_CHECK = {"table": "meta", "row": "vault_check", "column": "value"}
_CHECK_TEXT = "loopway"


def open_store(url_or_path: str | os.PathLike[str], vault: Vault) -> SqliteStore:
    """Opens a migrated store. Blocking; call it before the event loop serves.

    Raises `StartupError` when the vault's master key is not the one the store was encrypted under, `StoreError` when
    the file cannot be opened or was never migrated.
    """
    path = sqlite_path(url_or_path)
    connection = _connect(path, "FULL")
    try:
        with _named(path):
            _verify(connection, vault, path)
            if vault.rotating:
                _reseal(connection, vault)
    except BaseException:
        connection.close()
        raise
    return SqliteStore(path, connection, vault)


class SqliteStore:
    """`proxy.ports.Store` on one SQLite file. Made by `open_store`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, vault: Vault) -> None:
        self._path = path
        self._connection = connection
        self._vault = vault
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._ledger: sqlite3.Connection | None = None
        self._ledger_thread: ThreadPoolExecutor | None = None
        self._closed = False

    async def seq(self) -> int:
        """The number of the last change."""
        return await self._run(self._seq)

    async def rows(self) -> Rows:
        """All rows as of one moment, decrypted."""
        return await self._run(self._rows)

    async def insert_api_key(self, row: ApiKeyRow) -> None:
        """Adds a key. Raises `Refused` (409) when its id or its token is taken."""
        await self._run(self._insert_api_key, row)

    async def update_api_key(self, row: ApiKeyRow) -> None:
        """Writes all of a key's columns. Raises `Refused` (404) when it is gone."""
        await self.edit_api_key(row.id, lambda _: row)

    async def edit_api_key(self, id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow:
        """Changes a key in one transaction and returns it. Raises `Refused` (404, 409)."""
        return await self._run(self._edit_api_key, id, change)

    async def delete_api_key(self, id: str) -> None:
        """Removes a key. Raises `Refused` (404)."""
        await self._run(self._delete, "API key", (records.DELETE_API_KEY,), id)

    async def insert_virtual_key(self, row: VirtualKeyRow) -> None:
        """Adds a virtual key. Raises `Refused` (409) when its slug is taken."""
        await self._run(self._insert_virtual_key, row)

    async def update_virtual_key(self, row: VirtualKeyRow) -> None:
        """Writes all of a virtual key's columns. Raises `Refused` (404)."""
        await self.edit_virtual_key(row.slug, lambda _: row)

    async def edit_virtual_key(self, slug: str, change: Callable[[VirtualKeyRow], VirtualKeyRow]) -> VirtualKeyRow:
        """Changes a virtual key in one transaction and returns it. Raises `Refused` (404)."""
        return await self._run(self._edit_virtual_key, slug, change)

    async def delete_virtual_key(self, slug: str) -> None:
        """Removes a virtual key. Raises `Refused` (404)."""
        await self._run(self._delete, "virtual key", (records.DELETE_VIRTUAL_KEY,), slug)

    async def insert_config(self, row: ConfigRow) -> None:
        """Adds a config with its first version. Raises `Refused` (409) when its slug is taken."""
        await self._run(self._insert_config, row)

    async def update_config(self, row: ConfigRow) -> None:
        """Writes a config; a changed config object makes a new version. Raises `Refused` (404)."""
        await self.edit_config(row.slug, lambda _: row)

    async def edit_config(self, slug: str, change: Callable[[ConfigRow], ConfigRow]) -> ConfigRow:
        """Changes a config in one transaction and returns it; a changed config object makes a new version.

        The version's number is counted here; its `version_id` is taken from the changed row. Raises `Refused` (404).
        """
        return await self._run(self._edit_config, slug, change)

    async def delete_config(self, slug: str) -> None:
        """Removes a config and its versions. Raises `Refused` (404)."""
        await self._run(self._delete, "config", (records.DELETE_VERSIONS, records.DELETE_CONFIG), slug)

    async def config_versions(self, slug: str) -> tuple[ConfigRow, ...]:
        """All versions of one config, newest first; none when there is no such config."""
        return await self._run(self._config_versions, slug)

    async def append_usage(self, rows: list[tuple[object, ...]]) -> None:
        """Adds ledger rows, in the order of `proxy.usage_columns.COLUMNS`; a request id already there is skipped."""
        if not rows:
            return
        if self._ledger_thread is None:
            self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        await self._on(self._ledger_thread, self._append_usage, rows)

    async def close(self) -> None:
        """Waits for what was begun and closes the file. Calling it again does nothing."""
        if self._closed:
            return
        await self._run(self._connection.close)
        if self._ledger_thread is not None:
            await self._on(self._ledger_thread, self._close_ledger)
            self._ledger_thread.shutdown(wait=False)
        self._closed = True
        self._thread.shutdown(wait=False)

    async def _run(self, job: Callable[..., T], *arguments: Any) -> T:
        return await self._on(self._thread, job, *arguments)

    async def _on(self, thread: ThreadPoolExecutor, job: Callable[..., T], *arguments: Any) -> T:
        if self._closed:
            raise StoreError(f"the store {self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(thread, self._patiently, job, arguments)

    def _patiently(self, job: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        """Runs a job in its thread. A transaction that never got the write lock did nothing and is tried again."""
        with _named(self._path):
            for _ in range(_BUSY_TRIES - 1):
                try:
                    return job(*arguments)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
            return job(*arguments)

    def _seq(self) -> int:
        return int(self._connection.execute(records.READ_SEQ).fetchone()[0])

    def _rows(self) -> Rows:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            seq = self._seq()
            api_keys = connection.execute(records.READ_API_KEYS).fetchall()
            virtual_keys = connection.execute(records.READ_VIRTUAL_KEYS).fetchall()
            configs = connection.execute(records.READ_CONFIGS).fetchall()
        finally:
            connection.execute("COMMIT")
        return Rows(
            seq=seq,
            api_keys=tuple(records.api_key_row(record) for record in api_keys),
            virtual_keys=tuple(records.virtual_key_row(record, self._vault) for record in virtual_keys),
            configs=tuple(records.config_row(record, self._vault) for record in configs),
        )

    def _insert_api_key(self, row: ApiKeyRow) -> None:
        record = records.api_key_record(row)
        with _writing(self._connection) as connection:
            if _one(connection, records.READ_API_KEY, row.id) is not None:
                raise _taken(f"there is an API key with the id '{row.id}' already")
            self._refuse_shared_token(record)
            connection.execute(records.ADD_API_KEY, record)

    def _edit_api_key(self, id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow:
        with _writing(self._connection) as connection:
            row = change(records.api_key_row(_found(connection, records.READ_API_KEY, "API key", id)))
            record = records.api_key_record(row)
            self._refuse_shared_token(record)
            connection.execute(records.WRITE_API_KEY, record)
        return row

    def _refuse_shared_token(self, record: Mapping[str, Any]) -> None:
        if self._connection.execute(records.FIND_SHARED_DIGEST, record).fetchone() is not None:
            raise _taken("another API key has this key text already", "key")

    def _insert_virtual_key(self, row: VirtualKeyRow) -> None:
        record = records.virtual_key_record(row, self._vault)
        with _writing(self._connection) as connection:
            if _one(connection, records.READ_VIRTUAL_KEY, row.slug) is not None:
                raise _taken(f"there is a virtual key '{row.slug}' already", "slug")
            connection.execute(records.ADD_VIRTUAL_KEY, record)

    def _edit_virtual_key(self, slug: str, change: Callable[[VirtualKeyRow], VirtualKeyRow]) -> VirtualKeyRow:
        with _writing(self._connection) as connection:
            record = _found(connection, records.READ_VIRTUAL_KEY, "virtual key", slug)
            row = change(records.virtual_key_row(record, self._vault))
            connection.execute(records.WRITE_VIRTUAL_KEY, records.virtual_key_record(row, self._vault))
        return row

    def _insert_config(self, row: ConfigRow) -> None:
        head, version = records.config_records(row, self._vault)
        with _writing(self._connection) as connection:
            if _one(connection, records.READ_CONFIG, row.slug) is not None:
                raise _taken(f"there is a config '{row.slug}' already", "slug")
            if row.is_default:
                connection.execute(records.CLEAR_DEFAULTS, head)
            connection.execute(records.ADD_CONFIG, head)
            connection.execute(records.ADD_VERSION, version)

    def _edit_config(self, slug: str, change: Callable[[ConfigRow], ConfigRow]) -> ConfigRow:
        with _writing(self._connection) as connection:
            old = records.config_row(_found(connection, records.READ_CONFIG, "config", slug), self._vault)
            new = change(old)
            changed = new.config != old.config
            if changed:
                new = msgspec.structs.replace(new, version=old.version + 1)
            else:
                new = msgspec.structs.replace(new, version=old.version, version_id=old.version_id)
            head, version = records.config_records(new, self._vault)
            if new.is_default:
                connection.execute(records.CLEAR_DEFAULTS, head)
            connection.execute(records.WRITE_CONFIG, head)
            if changed:
                connection.execute(records.ADD_VERSION, version)
        return new

    def _config_versions(self, slug: str) -> tuple[ConfigRow, ...]:
        found = self._connection.execute(records.READ_VERSIONS, {"key": slug}).fetchall()
        return tuple(records.config_row(record, self._vault) for record in found)

    def _delete(self, what: str, statements: tuple[str, ...], key: str) -> None:
        with _writing(self._connection) as connection:
            gone = 0
            for statement in statements:
                gone += connection.execute(statement, {"key": key}).rowcount
            if not gone:
                raise _missing(what, key)

    def _append_usage(self, rows: list[tuple[object, ...]]) -> None:
        if self._ledger is None:
            self._ledger = _connect(self._path, "NORMAL")
        whole = len(rows) - len(rows) % _ROWS_A_STATEMENT
        with _locked(self._ledger) as connection:
            # One statement is one release of the interpreter's lock, which a busy event loop gives back late: rows go
            # in by the hundred, not one by one.
            for start in range(0, whole, _ROWS_A_STATEMENT):
                batch = rows[start : start + _ROWS_A_STATEMENT]
                connection.execute(_ADD_MANY, [value for row in batch for value in row])
            connection.executemany(_ADD_ONE, rows[whole:])

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """Opens an existing database file. The connection is then used by one thread at a time."""
    with _named(path):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Renames SQLite's errors. Its messages may quote values, so only the error's name is passed on."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StoreError(f"the store {path} failed: {name}") from error


@contextmanager
def _locked(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One transaction that raises the change number."""
    with _locked(connection):
        yield connection
        connection.execute(records.RAISE_SEQ)


def _one(connection: sqlite3.Connection, statement: str, key: str) -> Mapping[str, Any] | None:
    record: Mapping[str, Any] | None = connection.execute(statement, {"key": key}).fetchone()
    return record


def _found(connection: sqlite3.Connection, statement: str, what: str, key: str) -> Mapping[str, Any]:
    record = _one(connection, statement, key)
    if record is None:
        raise _missing(what, key)
    return record


def _missing(what: str, key: str) -> Refused:
    return Refused(Kind.NOT_FOUND, f"there is no {what} '{key}'")


def _taken(message: str, param: str | None = None) -> Refused:
    return Refused(Kind.CONFLICT, message, param=param)


def _verify(connection: sqlite3.Connection, vault: Vault, path: Path) -> None:
    """Refuses to go on with a master key that is not the store's."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone() is None:
        raise StoreError(f"the store {path} has no tables; it was never migrated")
    name = {"name": _CHECK["row"]}
    found = connection.execute(records.READ_META, name).fetchone()
    if found is None:
        with _locked(connection):
            connection.execute(records.ADD_META, {**name, "value": vault.seal(_CHECK_TEXT, **_CHECK)})
        found = connection.execute(records.READ_META, name).fetchone()
    try:
        vault.unseal(found["value"], **_CHECK)
    except StoreError as error:
        raise StartupError(
            f"the store {path} was encrypted under another master key than the one in {vault.origin}; "
            f"set {VARIABLE} to the right one, or put the file master.key back"
        ) from error


def _reseal(connection: sqlite3.Connection, vault: Vault) -> None:
    """Seals everything under the vault's first key that is sealed under an older one. One transaction."""
    with _locked(connection):
        changed = 0
        for record in connection.execute(records.READ_VIRTUAL_KEYS).fetchall():
            if not all(_fresh(vault, record[column]) for column in records.SEALED_VIRTUAL_KEY_COLUMNS):
                row = records.virtual_key_row(record, vault)
                changed += connection.execute(
                    records.WRITE_VIRTUAL_KEY, records.virtual_key_record(row, vault)
                ).rowcount
        for record in connection.execute(records.READ_SEALED_VERSIONS).fetchall():
            if not _fresh(vault, record["config"]):
                place = records.version_place(record["slug"], record["version"])
                sealed = vault.seal(vault.unseal(record["config"], **place), **place)
                changed += connection.execute(records.WRITE_VERSION, {**dict(record), "config": sealed}).rowcount
        connection.execute(records.WRITE_META, {"name": _CHECK["row"], "value": vault.seal(_CHECK_TEXT, **_CHECK)})
        if changed:
            connection.execute(records.RAISE_SEQ)


def _fresh(vault: Vault, sealed: str) -> bool:
    return not sealed or vault.sealed_by_current(sealed)
