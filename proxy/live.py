"""The configuration in force: file and store, compiled to a snapshot, and watched for changes.

A worker looks at the store's change number and the file's stamp a few times a second. Whatever is new is compiled
aside and put in place by one assignment; requests in flight keep the snapshot they began with. What cannot be read or
compiled changes nothing: the old configuration stays, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TypeVar

from proxy.config.file import FileConfig
from proxy.config.snapshot import Snapshot
from proxy.errors import ConfigError, StoreError
from proxy.health import Healths
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, Rows, Store
from proxy.prices import Prices, vendored

_LOOK_EVERY = 0.25  # seconds: a revoked key is refused by every worker well within one
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
        self.store = store
        self.file = file
        self._path = path
        self._load = load
        self._bootstrap = bootstrap
        self._trusted = trusted
        self.limiters = Limiters() if limiters is None else limiters
        self.healths = Healths()
        self._stored = Rows()
        self._stamp: Stamp = None  # so the file is read once more: it may have changed since the supervisor read it
        self.snapshot = Snapshot(Rows(), self.limiters, healths=self.healths)
        self._watcher: asyncio.Task[None] | None = None
        self.failing = False
        """Whether the store does not answer."""
        self.rejected = False
        """Whether the file's newest form cannot be used."""

    async def start(self) -> None:
        """Reads the store, compiles the first snapshot and begins to watch. Raises StoreError."""
        self._look_at_file()
        await self.apply()
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ends watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def apply(self) -> None:
        """Makes every committed change of the store effective in this worker. Raises StoreError."""
        self._stored = await self.store.rows()
        self._compile()

    def _compile(self) -> None:
        file, stored = self.file, self._stored
        rows = Rows(
            stored.seq,
            _merged((*self._bootstrap, *file.api_keys), stored.api_keys, lambda row: row.id),
            _merged(file.virtual_keys, stored.virtual_keys, lambda row: row.slug),
            _merged(file.configs, stored.configs, lambda row: row.slug),
        )
        prices = Prices((*file.prices.tables, vendored()))
        snapshot = Snapshot(rows, self.limiters, self._trusted, prices, self.healths)
        for problem in snapshot.problems:
            _log.warning("left out: %s", problem)
        self.snapshot = snapshot

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                self._look_at_file()
                if await self.store.seq() != self._stored.seq:
                    await self.apply()
                if self.failing:
                    _log.warning("the store answers again")
                self.failing = False
            except StoreError as error:
                if not self.failing:
                    _log.error("the store does not answer; what is known keeps working: %s", error)
                self.failing = True
            except Exception as error:  # noqa: BLE001 - a watch that ends would leave revoked keys valid for ever
                _log.error("a change of the configuration could not be used; the old one stays", exc_info=error)

    def _look_at_file(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            file = self._load()
        except ConfigError as error:
            _log.error("the configuration file was changed but cannot be used; the old one stays:\n%s", error)
            self.rejected = True
            return
        self.rejected = False
        if file.digest != self.file.digest:
            self.file = file
            self._compile()
            _log.warning("the configuration file was read again")


def _merged(first: tuple[Row, ...], second: tuple[Row, ...], name: Callable[[Row], str]) -> tuple[Row, ...]:
    """What the file names is the file's; the store adds the rest."""
    taken = {name(row) for row in first}
    return (*first, *(row for row in second if name(row) not in taken))


def _stamp(path: str | None) -> Stamp:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
