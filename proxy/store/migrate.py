"""The schema, brought up to date: plain SQL files applied in order by yoyo-migrations.

A schema that is current costs one query; yoyo is not even imported. Otherwise an advisory lock on a file beside the
database lets one process at a time in, and goes with the process that holds it, however that ends.
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

from proxy.errors import StartupError
from proxy.store.location import sqlite_path

_MIGRATIONS = Path(__file__).parent / "migrations"
_TABLE = "_yoyo_migration"


def migrate(url_or_path: str | os.PathLike[str]) -> None:
    """Creates the store where there is none and applies the migrations it lacks.

    Call it before workers start; several processes may call it at once. The directory is made for its owner only
    (0700), the file likewise (0600). Raises `StartupError`.
    """
    path = sqlite_path(url_or_path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if _current(path):
            return
        with _locked(path.with_name(path.name + ".lock")):
            if not _current(path):
                _apply(path)
    except OSError as error:
        raise StartupError(f"cannot open the store {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StartupError(f"cannot bring the store {path} up to date: {error}") from error


def _current(path: Path) -> bool:
    """Whether every migration has been applied, by the table in which yoyo notes them."""
    wanted = {file.stem for file in _MIGRATIONS.glob("*.sql")}
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        noted = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (_TABLE,)
        ).fetchone()
        if noted is None:
            return False
        return wanted <= {row[0] for row in connection.execute(f"SELECT migration_id FROM {_TABLE}")}  # noqa: S608


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _apply(path: Path) -> None:
    # Costs a sixth of a second, which only the first start pays.
    from yoyo import read_migrations
    from yoyo.backends.core.sqlite3 import SQLiteBackend
    from yoyo.connections import parse_uri

    class Backend(SQLiteBackend):  # type: ignore[misc]
        """Yoyo's, with a plain connection, and a log that asks neither DNS for a name nor the system for a user."""

        def connect(self, dburi: object) -> sqlite3.Connection:
            types = sqlite3.PARSE_DECLTYPES
            return sqlite3.connect(path, timeout=30, isolation_level=None, detect_types=types)

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

    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    backend = Backend(parse_uri("sqlite:///loopway"), _TABLE)
    with backend:
        backend.init_database()
        # Nobody else is in here, so a lock row can only be what a killed process left.
        backend.break_lock()
        with backend.lock():
            backend.apply_migrations(backend.to_apply(read_migrations(str(_MIGRATIONS))))
