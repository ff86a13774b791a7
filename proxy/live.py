"""The configuration in force: file and store, compiled to a snapshot, and watched for changes.

A worker looks at the store's change number and the file's stamp a few times a second. Whatever is new is compiled
aside and put in place by one assignment; requests in flight keep the snapshot they began with. What cannot be read or
compiled changes nothing: the old configuration stays, and the log says why.

While the store does not answer, what is known keeps working for a bounded time, and what is not known is no reason for
a 401: whoever asks is told to come again. When that time is over only what the file names is left, since nobody could
have told of a revoked key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

import msgspec

from proxy.config.file import FileConfig
from proxy.config.snapshot import Snapshot
from proxy.errors import ConfigError, PriceError, StoreError
from proxy.health import Healths
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, PriceRow, Rows, Store
from proxy.prices import Entry, Prices, Table, read_table, table_of, vendored
from proxy.store import prices as price_jobs

_LOOK_EVERY = 0.25  # seconds: a revoked key is refused by every worker well within one
_PATIENCE = 1.0  # seconds without a word from the store, after which it counts as away
_decode_entry = msgspec.json.Decoder(Entry).decode
_log = logging.getLogger("loopway")

Row = TypeVar("Row")
Stamp = tuple[int, int, int] | None


class Live:
    """Holds the current snapshot. `load` reads the configuration file anew (None: there is none)."""

    def __init__(
        self,
        file: FileConfig,
        path: str | None,
        load: Callable[[], FileConfig],
        store: Store,
        bootstrap: tuple[ApiKeyRow, ...],
        trusted: frozenset[str],
        limiters: Limiters | None = None,
    ) -> None:
        """How long (seconds) known keys work without the store is the file's `store.outage`."""
        self.store = store
        self.file = file
        self._path = path
        self._load = load
        self._bootstrap = bootstrap
        self._trusted = trusted
        self.limiters = Limiters() if limiters is None else limiters
        self.healths = Healths()
        self._stored = Rows()
        self._price_version: str | None = None
        self._price_table: Table | None = None
        self._stamp: Stamp = None  # so the file is read once more: it may have changed since the supervisor read it
        self.snapshot = Snapshot(Rows(), self.limiters, healths=self.healths)
        self._compiling = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None
        self.failing = False
        """Whether the store does not answer."""
        self._heard = monotonic()
        self._asking: asyncio.Task[None] | None = None
        self.rejected = False
        """Whether the file's newest form cannot be used."""

    async def start(self) -> None:
        """Reads the store, compiles the first snapshot and begins to watch. Raises StoreError."""
        await self._look_at_file()
        await self.apply()
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ends watching."""
        for task in (self._watcher, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def apply(self) -> None:
        """Makes every committed change of the store effective in this worker. Raises StoreError."""
        stored = await self.store.rows()
        if stored.price_table != self._price_version:
            await self._take_prices(stored.price_table)
        self._found()
        await self._compile(stored=stored)

    async def _compile(self, file: FileConfig | None = None, stored: Rows | None = None) -> None:
        """Makes a snapshot of what is new and what holds, and puts all of it in force together."""
        async with self._compiling:
            file = self.file if file is None else file
            stored = self._stored if stored is None else stored
            snapshot = await self._snapshot(file, stored)
            snapshot.unsure = self.failing
            self.file, self._stored, self.snapshot = file, stored, snapshot

    async def _snapshot(self, file: FileConfig, stored: Rows) -> Snapshot:
        rows = Rows(
            stored.seq,
            _merged((*self._bootstrap, *file.api_keys), stored.api_keys, lambda row: row.id),
            _merged(file.virtual_keys, stored.virtual_keys, lambda row: row.slug),
            _merged(file.configs, stored.configs, lambda row: row.slug),
            stored.prices,
            stored.price_table,
        )
        general = file.prices.file or self._price_table or vendored()
        tables = (file.prices.models, _set_prices(stored.prices), general)
        prices = Prices(table for table in tables if table is not None)
        self.limiters.begin()
        snapshot = await Snapshot.in_turns(rows, self.limiters, self._trusted, prices, self.healths)
        self.limiters.forget_others()
        for problem in snapshot.problems:
            _log.warning("left out: %s", problem)
        return snapshot

    async def _take_prices(self, version: str | None) -> None:
        """Takes over the store's table of prices. One that is damaged changes nothing. Raises StoreError."""
        content = None if version is None else await self.store.run("keys", price_jobs.read_table)
        try:
            self._price_table = None if content is None else read_table(content)
        except PriceError as error:
            _log.error("the store's table of prices cannot be used; the one before stays: %s", error)
        self._price_version = version

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self._look_at_file()
                if self._asking is None or self._asking.done():
                    self._asking = asyncio.create_task(self._ask())
                    self._asking.add_done_callback(_noted)
                await asyncio.wait((self._asking,), timeout=_PATIENCE)
                if not self._asking.done():
                    await self._missed("it takes too long")
                elif (error := self._asking.exception()) is not None:
                    raise error
            except StoreError as error:
                await self._missed(str(error))
            except Exception as error:  # noqa: BLE001 - a watch that ends would leave revoked keys valid for ever
                _log.error("a change of the configuration could not be used; the old one stays", exc_info=error)

    async def _ask(self) -> None:
        """Looks for changes of the store and takes them over. Raises StoreError."""
        if await self.store.seq() != self._stored.seq or self._heard == 0.0:
            await self.apply()
        self._found()

    def _found(self) -> None:
        """The store has answered."""
        self._heard = monotonic()
        if self.failing:
            _log.warning("the store answers again")
        self.failing = self.snapshot.unsure = False

    async def _missed(self, why: str) -> None:
        """The store has not answered."""
        if not self.failing:
            _log.error("the store does not answer; what is known keeps working: %s", why)
        self.failing = self.snapshot.unsure = True
        outage = self.file.store.outage
        if self._heard and monotonic() - self._heard > outage:
            _log.error("the store has not answered for %d s: from now on only keys of the file work", outage)
            self._heard = 0.0
            await self._compile(stored=Rows())

    async def _look_at_file(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            file = await asyncio.to_thread(self._load)  # thousands of lines take tenths of a second
        except ConfigError as error:
            _log.error("the configuration file was changed but cannot be used; the old one stays:\n%s", error)
            self.rejected = True
            return
        self.rejected = False
        if file.digest != self.file.digest:
            await self._compile(file=file)
            _log.warning("the configuration file was read again")


def _noted(asked: asyncio.Task[None]) -> None:
    """How an answer that nobody waits for any more ended is no news: the log says already that it takes too long."""
    if not asked.cancelled():
        asked.exception()


def _merged(first: tuple[Row, ...], second: tuple[Row, ...], name: Callable[[Row], str]) -> tuple[Row, ...]:
    """What the file names is the file's; the store adds the rest."""
    taken = {name(row) for row in first}
    return (*first, *(row for row in second if name(row) not in taken))


def _set_prices(rows: tuple[PriceRow, ...]) -> Table | None:
    """The prices that administrators set, as a table; its version follows from them."""
    if not rows:
        return None
    version = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()[:12]
    return table_of(f"api-{version}", ((row.provider, row.model, _decode_entry(row.entry.encode())) for row in rows))


def _stamp(path: str | None) -> Stamp:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
