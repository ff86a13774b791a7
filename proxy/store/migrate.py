"""The schema, brought up to date: plain SQL files applied in order by yoyo-migrations.

A schema that is current costs one query; yoyo is not even imported. Otherwise a lock lets one process at a time in, on
whatever host, and goes with the process that holds it, however that ends: an advisory lock on a file beside an SQLite
database, one of PostgreSQL's own there. A file is read by both databases, but for what only one of them should: names
end in `.sqlite.sql` or `.postgresql.sql` then.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.errors import StartupError, StoreError
from proxy.store import records
from proxy.store.engine import Connection, Engine, Lane
from proxy.store.location import is_postgres, label, sqlite_path

_MIGRATIONS = Path(__file__).parent / "migrations"
_TABLE = "_yoyo_migration"
_LOCK = 0x6C6F6F70776179  # "loopway": the number of PostgreSQL's advisory lock
_PATIENCE = 600.0  # seconds that one statement of a migration may take


def migrate(url_or_path: str | os.PathLike[str]) -> None:
    """Creates the store where there is none and applies the migrations it lacks.

    Call it before workers start; several processes may call it at once. An SQLite file's directory is made for its
    owner only (0700), the file likewise (0600). Raises `StartupError`.
    """
    if is_postgres(url_or_path):
        _migrate_postgres(os.fspath(url_or_path))
    else:
        _migrate_sqlite(sqlite_path(url_or_path))


def files(kind: str) -> list[Path]:
    """The migrations for one kind of database, in their order."""
    return sorted(file for file in _MIGRATIONS.glob("*.sql") if file.suffixes[:-1] in ([], [f".{kind}"]))


# SQLite


def _migrate_sqlite(path: Path) -> None:
    from proxy.store.sqlite import SqliteEngine

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if _current(SqliteEngine(path)):
            return
        with _locked(path.with_name(path.name + ".lock")):
            if not _current(SqliteEngine(path)):
                with closing(sqlite3.connect(path, timeout=30)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")
                types = sqlite3.PARSE_DECLTYPES
                _apply("sqlite", lambda: sqlite3.connect(path, timeout=30, isolation_level=None, detect_types=types))
    except OSError as error:
        raise StartupError(f"cannot open the store {path}: {error.strerror}") from error
    except (sqlite3.Error, StoreError) as error:
        raise StartupError(f"cannot bring the store {path} up to date: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# PostgreSQL


def _migrate_postgres(url: str) -> None:
    import psycopg

    from proxy.store.postgres import PostgresEngine

    engine = PostgresEngine(url)
    try:
        if _current(engine):
            return
        # The lock is the session's: it goes when this connection does.
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as session:
            session.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            if not _current(engine):
                _apply("postgresql", lambda: psycopg.connect(url, autocommit=True, connect_timeout=10))
    except StoreError as error:
        raise StartupError(str(error)) from error
    except psycopg.Error as error:
        # The server's message may quote the URL's user, but no value: a migration has none.
        raise StartupError(f"cannot bring the store {label(url)} up to date: {type(error).__name__}") from error


# Both


def _current(engine: Engine) -> bool:
    """Whether every migration has been applied, by the table in which yoyo notes them. Raises StoreError."""
    lane = Lane(engine, "migrate", patience=_PATIENCE)
    try:
        return lane.now(_all_applied)
    finally:
        lane.close_now()


def _all_applied(connection: Connection) -> bool:
    if connection.execute(records.FIND_TABLE[connection.kind], {"name": _TABLE}).fetchone() is None:
        return False
    applied = connection.execute(f"SELECT migration_id FROM {_TABLE}").fetchall()  # noqa: S608
    return {file.stem for file in files(connection.kind)} <= {row["migration_id"] for row in applied}


def _apply(kind: str, connect: Any) -> None:
    # Costs a sixth of a second, which only the first start pays.
    from yoyo import read_migrations
    from yoyo.backends import get_backend_class
    from yoyo.connections import parse_uri
    from yoyo.migrations import MigrationList

    scheme = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[kind]
    base: Any = get_backend_class(scheme)

    class Backend(base):  # type: ignore[misc]
        """Yoyo's, with a plain connection, and a log that asks neither DNS for a name nor the system for a user."""

        def connect(self, dburi: object) -> object:
            return connect()

        def get_log_data(self, migration: object = None, operation: str = "apply") -> dict[str, object]:
            return {
                "id": str(uuid.uuid4()),
                "migration_id": getattr(migration, "id", None),
                "migration_hash": getattr(migration, "hash", None),
                "username": "loopway",
                "hostname": "",
                "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
                "operation": operation,
            }

    backend = Backend(parse_uri(f"{scheme}:///loopway"), _TABLE)
    with backend:
        backend.init_database()
        # Nobody else is in here, so a lock row can only be what a killed process left.
        backend.break_lock()
        with backend.lock():
            wanted = {file.stem for file in files(kind)}
            found = MigrationList([each for each in read_migrations(str(_MIGRATIONS)) if each.id in wanted])
            backend.apply_migrations(backend.to_apply(found))
