"""PostgreSQL, for several hosts that share keys, configs and the ledger.

psycopg is loaded only when this is. A connection that was lost is made anew by the next job; while the server is away
every attempt fails at once but for one in a few hundred milliseconds, so nothing piles up behind it.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

from proxy.errors import StoreError, UnfitError
from proxy.store.engine import UNFIT, Connection, Cursor, Parameters
from proxy.store.location import label

_CONNECT_SECONDS = 2
_PAUSE = 0.2  # seconds between two attempts to reach a server that is away, and half as much again by chance
_NAMED = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_UNDONE = frozenset(("40001", "40P01"))  # serialisation failure, deadlock: rolled back, and worth another try


@lru_cache(512)
def _translated(statement: str) -> LiteralString:
    """A statement with psycopg's marks for parameters."""
    return _NAMED.sub(r"%(\1)s", statement.replace("%", "%%")).replace("?", "%s")


class PostgresConnection:
    """`proxy.store.engine.Connection` on one connection of psycopg."""

    kind: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(self, raw: psycopg.Connection[DictRow]) -> None:
        self.raw = raw
        self._writing = False
        self.wrote = False
        """Whether a transaction that has not ended well may have changed something."""

    def execute(self, statement: str, parameters: Parameters = ()) -> Cursor:
        """Runs one statement."""
        try:
            cursor = self.raw.execute(_translated(statement), parameters or None)
        except psycopg.DataError:
            # PostgreSQL's texts hold no NUL, and JSON's do: psycopg finds that before it sends anything.
            cleaned = _without_nul(parameters)
            if cleaned == parameters:
                raise
            cursor = self.raw.execute(_translated(statement), cleaned)
        self.wrote = self.wrote or self._writing
        return cursor

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction that sees one moment."""
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that may write."""
        with self._transaction("BEGIN"):
            self._writing = True
            try:
                yield
            finally:
                self._writing = False
        self.wrote = False

    @contextmanager
    def _transaction(self, begin: LiteralString) -> Iterator[None]:
        self.raw.execute(begin)
        try:
            yield
            self.raw.execute("COMMIT")
        except BaseException:
            if not self.raw.broken:
                try:
                    self.raw.execute("ROLLBACK")
                    self.wrote = False
                except psycopg.Error:
                    self.close()
            raise

    def abort(self) -> None:
        """Breaks off what runs, from another thread: the server may be frozen, so nothing is asked of it."""
        try:
            with socket.socket(fileno=os.dup(self.raw.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            pass

    def close(self) -> None:
        """Closes it."""
        try:
            self.raw.close()
        except psycopg.Error:
            pass


class PostgresEngine:
    """`proxy.store.engine.Engine` on one database of a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.label = label(url)
        self._away_until = 0.0

    def connect(self, durable: bool, patience: float) -> PostgresConnection:
        """Opens a connection, unless the server was away a moment ago."""
        if monotonic() < self._away_until:
            raise StoreError(f"the store {self.label} cannot be reached")
        milliseconds = int(patience * 1000)
        try:
            raw = psycopg.connect(
                self._url,
                autocommit=True,
                row_factory=dict_row,
                prepare_threshold=None,  # poolers that lend a connection for one transaction know no prepared statement
                **{"connect_timeout": _CONNECT_SECONDS, "application_name": "loopway", **_liveness(milliseconds)},
            )
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                raw.execute("SELECT set_config(%s, %s, false)", (setting, str(milliseconds)))
        except psycopg.Error as error:
            self._away_until = monotonic() + _PAUSE * random.uniform(1, 1.5)
            raise StoreError(f"the store {self.label} cannot be reached: {_why(error)}") from error
        self._away_until = 0.0
        return PostgresConnection(raw)

    def name(self, error: Exception) -> StoreError | None:
        """The server's messages may quote values, so only the error's name is passed on."""
        if not isinstance(error, (psycopg.Error, *UNFIT)):
            return None
        kind = UnfitError if isinstance(error, (psycopg.DataError, *UNFIT)) else StoreError
        return kind(f"the store {self.label} failed: {_reason(error)}")

    def again(self, connection: Connection, error: Exception, tries: int) -> bool:
        """A connection that was lost before anything was written, or a transaction that the server undid."""
        assert isinstance(connection, PostgresConnection)
        if not isinstance(error, psycopg.Error) or tries > 1:
            return False
        return error.sqlstate in _UNDONE or (self.lost(connection) and not connection.wrote)

    def lost(self, connection: Connection) -> bool:
        """Whether the connection has ended."""
        assert isinstance(connection, PostgresConnection)
        return connection.raw.closed


def _without_nul(parameters: Parameters) -> Parameters:
    """The same with U+FFFD for each NUL."""
    if isinstance(parameters, Mapping):
        return {name: _printable(value) for name, value in parameters.items()}
    return [_printable(value) for value in parameters]


def _printable(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _liveness(milliseconds: int) -> dict[str, Any]:
    """How soon a server is given up that has vanished from the network."""
    return {
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "tcp_user_timeout": milliseconds,
    }


_SAID = re.compile(r"(?:failed: (?:FATAL:\s+)?|failed to resolve host )(.+)")


def _why(error: Exception) -> str:
    """Why there is no connection, as libpq or the server says it, which repeats names of hosts, users and databases and
    no password; `_reason` where they say it otherwise."""
    found = _SAID.search(str(error)) if isinstance(error, psycopg.OperationalError) else None
    return found[1].strip() if found else _reason(error)


def _reason(error: Exception) -> str:
    """What happened, in a word that holds no value: psycopg's name for the server's code, or for its own trouble."""
    return type(error).__name__
