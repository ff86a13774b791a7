"""What the databases have in common: jobs run on a connection, in a thread of their own.

A job is a plain function whose first argument is a `Connection`. It runs in a lane: one thread and one connection, so
that a batch of the ledger delays no administrator, and nothing ever delays the event loop. Statements are written once
for all databases, with named (`:slug`) or positional (`?`) parameters; rows come back as mappings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

from proxy.errors import StoreError

P = ParamSpec("P")
T = TypeVar("T")

_SIZES = (100, 10, 1)
"""How many rows one statement takes. One statement is one release of the interpreter's lock, which a busy event loop
gives back late: rows go in by the hundred, not one by one."""

Record = Mapping[str, Any]
Parameters = Mapping[str, Any] | Sequence[Any]


def parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts as large as statements take them."""
    start = 0
    for size in _SIZES:
        while len(whole) - start >= size:
            yield whole[start : start + size]
            start += size


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """One connection to a database, used by one thread at a time."""

    kind: Literal["sqlite", "postgresql"]

    def execute(self, statement: str, parameters: Parameters = ()) -> Cursor:
        """Runs one statement."""

    def reading(self) -> AbstractContextManager[None]:
        """A transaction that sees one moment."""

    def writing(self) -> AbstractContextManager[None]:
        """A transaction that may write. An exception rolls it back."""

    def abort(self) -> None:
        """Breaks off what runs, from another thread: what waits for the database fails soon."""

    def close(self) -> None:
        """Closes it; never raises."""


class Engine(Protocol):
    """One database."""

    label: str
    """Its name for people; no credential is in it."""

    def connect(self, durable: bool, patience: float) -> Connection:
        """Opens a connection. `durable`: what is committed survives a power cut; without it, a file may lose the last
        moments. `patience` is how long (seconds) one statement may take. Raises StoreError."""

    def name(self, error: Exception) -> StoreError | None:
        """The error of the store for an error of the driver, which may quote values; None for one that is not. What
        the values are to blame for is an UnfitError."""

    def again(self, connection: Connection, error: Exception, tries: int) -> bool:
        """Whether the job that failed so, for the `tries`th time, did nothing and may run again."""

    def lost(self, connection: Connection) -> bool:
        """Whether the connection is of no use any more."""


UNFIT = (OverflowError, UnicodeEncodeError)
"""What drivers raise for values that cannot even be sent."""


class Lane:
    """One thread and its connection, made when first used. `patience` is how long (seconds) one statement may take."""

    def __init__(self, engine: Engine, name: str, *, durable: bool = False, patience: float = 5.0) -> None:
        self._engine = engine
        self._durable = durable
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connection: Connection | None = None

    async def run(self, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a job after those that wait already. Raises StoreError when the database fails or never answers."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, lambda: self.now(job, *args, **kwargs))
        # The database bounds its statements itself. One that does not even answer is left, at the latest, here.
        done, _ = await asyncio.wait((running,), timeout=4 * self._patience)
        if not done and self._connection is not None:
            self._connection.abort()
        return await running

    def now(self, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same in this thread: for the start, when nothing serves yet."""
        tries = 0
        while True:
            tries += 1
            connection = self._connection
            if connection is None:
                connection = self._connection = self._engine.connect(self._durable, self._patience)
            try:
                return job(connection, *args, **kwargs)
            except Exception as error:
                again = self._engine.again(connection, error, tries)
                if self._engine.lost(connection):
                    connection.close()
                    self._connection = None
                if again:
                    continue
                named = self._engine.name(error)
                if named is None:
                    raise
                raise named from error

    async def close(self) -> None:
        """Waits for what was begun and closes the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.close_now)
        self._thread.shutdown(wait=False)

    def close_now(self) -> None:
        """The same in this thread, after which the lane may be used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
