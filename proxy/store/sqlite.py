"""The embedded database: SQLite in write-ahead mode.

Every transaction that writes takes the write lock at its start and waits for it; running into another process is never
an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from proxy.errors import StoreError, UnfitError
from proxy.store.engine import UNFIT, Connection, Cursor, Parameters

_BUSY_SECONDS = 5
_BUSY_TRIES = 6


class SqliteConnection:
    """`proxy.store.engine.Connection` on one SQLite connection."""

    kind: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def execute(self, statement: str, parameters: Parameters = ()) -> Cursor:
        """Runs one statement."""
        return self.raw.execute(statement, parameters)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction that sees one moment."""
        self.raw.execute("BEGIN")
        try:
            yield
        finally:
            self.raw.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that may write."""
        self.raw.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.raw.execute("COMMIT")
        except BaseException:
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
            raise

    def abort(self) -> None:
        """Breaks off what runs, from another thread."""
        self.raw.interrupt()

    def close(self) -> None:
        """Closes it."""
        try:
            self.raw.close()
        except sqlite3.Error:
            pass


_MEANINGS = {
    "SQLITE_NOTADB": "that file is no SQLite database, or is damaged: put a backup in its place",
    "SQLITE_CORRUPT": "that file is damaged: put a backup in its place",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "this user cannot write that file, or its directory",
    "SQLITE_CANTOPEN": "this user cannot open that file, or its directory",
}
"""What the common ones of SQLite's names mean to an operator."""


class SqliteEngine:
    """`proxy.store.engine.Engine` on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def connect(self, durable: bool, patience: float) -> SqliteConnection:
        """Opens an existing database file."""
        try:
            raw = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            raw.row_factory = sqlite3.Row
            raw.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute("PRAGMA journal_size_limit = 67108864")
            return SqliteConnection(raw)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def name(self, error: Exception) -> StoreError | None:
        """SQLite's messages may quote values, so only the error's name is passed on."""
        return self._named(error) if isinstance(error, (sqlite3.Error, *UNFIT)) else None

    def _named(self, error: Exception) -> StoreError:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        kind = UnfitError if isinstance(error, (sqlite3.DataError, *UNFIT)) else StoreError
        known = _MEANINGS.get("_".join(name.split("_")[:2]))
        return kind(f"the store {self.label} failed: {name}{f' ({known})' if known else ''}")

    def again(self, connection: Connection, error: Exception, tries: int) -> bool:
        """A transaction that never got the write lock did nothing."""
        code = getattr(error, "sqlite_errorcode", 0)
        return (
            isinstance(error, sqlite3.OperationalError) and code & 0xFF == sqlite3.SQLITE_BUSY and tries < _BUSY_TRIES
        )

    def lost(self, connection: Connection) -> bool:
        """A file does not hang up."""
        return False
