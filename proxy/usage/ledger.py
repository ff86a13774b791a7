"""The ledger of one worker: takes exchanges on the hot path, writes their rows in batches off it.

A few dozen exchanges that have ended are counted, told in the log and made rows of at once, while they are in the
processor's caches: one by one would cost more, and so would a quarter of a second of them. Four times a second their
rows go to the store; requests that have been under way for longer than that leave a row that says so, which their end
completes. Rows that the store does not take go to a journal on disk and are written when the store takes rows again;
only when the disk is full as well do they wait in memory, bounded. What is lost then is counted.

In strict mode every request is in the journal before its provider hears of it, and its row before it is forgotten: a
process that is killed loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from time import monotonic
from typing import IO, Protocol

from proxy.errors import StoreError, UnfitError
from proxy.exchange import Exchange
from proxy.usage.lines import lines_of
from proxy.usage.rows import Settled, pending_of, settled
from proxy.usage_columns import Row

_KEPT = 100_000  # rows that wait in memory at most; beyond that the oldest are dropped and counted
_TOGETHER = 32  # exchanges that have ended become rows together
_PENDING_AFTER = 0.3  # seconds after which a request under way leaves a row
_LOOK_AFTER = 5.0  # seconds between looks for journals of workers that are gone
_BATCH = 2_000  # rows of a journal written at once
_PATIENCE = 0.2  # seconds for the store to take a batch before it is kept on disk as well; with the quarter of a second
# between flushes, half a second after its end a row is in the store or on disk
_LAST_CHANCE = 5.0  # the same when the worker ends

_log = logging.getLogger("loopway")

Sink = Callable[[list[Settled]], None]
Append = Callable[[list[Row]], Awaitable[None]]


class Unwritten(Protocol):
    """Rows on disk that wait for the store: `proxy.journal.Journal`. Methods raise OSError."""

    lost: int
    """Rows that could not be read back."""

    def add(self, rows: Sequence[Row]) -> None:
        """Keeps rows. Raises OSError when the disk does not take them, or when there are too many."""

    def close_segment(self) -> None:
        """Makes what was kept so far a finished segment."""

    def segments(self, *, foreign: bool) -> list[str]:
        """The finished segments, the oldest first; `foreign`: also those of workers that are gone."""

    def read(self, segment: str) -> list[Row]:
        """What is in a segment."""

    def remove(self, segment: str) -> None:
        """Forgets a segment whose rows the store has."""


class Ledger:
    """Takes exchanges, writes rows and lines.

    `sinks` are called with each batch of finished requests, in order: whatever else wants to know of them. They must
    not fail. `under_way` gives the exchanges that have begun.

    For whoever watches: `written` rows the store took, `waiting` rows wait for it in memory, `journaled` rows were kept
    on disk, `dropped` rows are lost for ever, `failing` says whether the store refused the last batch.
    """

    def __init__(
        self,
        append: Append,
        log: IO[bytes] | None,
        sinks: Sequence[Sink] = (),
        *,
        journal: Unwritten | None = None,
        under_way: Callable[[], Iterable[Exchange]] | None = None,
        strict: bool = False,
    ) -> None:
        self._append = append
        self._log = log
        self.sinks = list(sinks)
        self._journal = journal
        self._under_way = under_way
        self.strict = strict and journal is not None
        self._ended: list[Exchange] = []
        self._unwritten: deque[Row] = deque(maxlen=_KEPT)
        self._noted: Set[str] = frozenset()
        self._look_at = 0.0
        self._flushing = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._behind = True  # whether the journal may hold what the store has not
        self.written = 0
        self.journaled = 0
        self.failing = False
        self._surprise = ""  # the last error that nobody had thought of, told once
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Rows and lines that are lost."""
        return self._dropped + (0 if self._journal is None else self._journal.lost)

    @property
    def waiting(self) -> int:
        """Rows that wait in memory."""
        return len(self._ended) + len(self._unwritten)

    def put(self, x: Exchange, ended: float) -> None:
        """Takes an exchange that has ended, and what nobody asks for any more from it. Never waits, never fails."""
        x.ended = ended
        headers = x.headers
        if b"x-portkey-metadata" in headers or b"baggage" in headers:
            x.metadata  # noqa: B018 - read now, because it is kept and the headers are not
        x.body = b""
        x.headers = {}
        x.raw_headers = ()
        if self.strict:
            self._keep([settled(x, ended).row])
        self._ended.append(x)
        if len(self._ended) == _TOGETHER:
            # In a turn of its own: this request's answer and connection have no part in what becomes of others.
            asyncio.get_running_loop().call_soon(self.pump)

    def reserve(self, x: Exchange) -> None:
        """In strict mode, before a provider hears of the request: keeps that it has begun. Raises OSError."""
        assert self._journal is not None
        self._journal.add([pending_of(x)])
        x.reserved = True

    async def flush(self, *, last: bool = False) -> None:
        """Writes what is waiting: log lines at once, rows to the store. Called by the worker's timer, and last.

        It does not wait for a store that is slow: what has not been taken by then is kept on disk as well, and what is
        there twice in the end is written once.
        """
        patience = _LAST_CHANCE if last else _PATIENCE
        async with self._flushing:
            rows, done = self._take()
            if self._writing is not None:
                await asyncio.wait((self._writing,), timeout=patience if last else 0)
            if self._writing is not None:
                self._shelve(rows)
                return
            foreign = last or monotonic() >= self._look_at
            if not rows and not (self._behind or foreign):
                return
            self._writing = asyncio.create_task(self._write(rows, done, foreign=foreign))
            await asyncio.wait((self._writing,), timeout=patience)
            if self._writing is not None:
                self._shelve(rows)

    async def _write(self, rows: list[Row], done: list[str], *, foreign: bool) -> None:
        """Gives rows to the store and then what journals hold; `done` are segments with nothing but these rows."""
        try:
            if rows:
                await self._give(rows)
                rows = []
            if self.failing:
                _log.warning("the store takes the ledger's rows again")
            self.failing = False
            if self._journal is not None:
                for segment in done:
                    self._journal.remove(segment)
                if self._behind or foreign:
                    await self._catch_up(self._journal, foreign=foreign)
        except StoreError as error:
            if not self.failing:
                _log.warning("the ledger's rows wait for the store: %s", error)
            self.failing = True
            self._shelve(rows)
        except OSError as error:
            _log.error("a journal of the ledger cannot be read: %s", error.strerror or error)
        except Exception as error:  # noqa: BLE001 - whatever it is, these rows are kept and tried again
            if repr(error) != self._surprise:
                _log.error("the ledger's rows wait: they could not be written", exc_info=error)
            self.failing, self._surprise = True, repr(error)
            self._shelve(rows)
        finally:
            self._writing = None

    async def _give(self, rows: list[Row]) -> None:
        """Gives rows to the store. One that it can never keep is lost, and keeps none of the others from it. Raises
        StoreError."""
        try:
            await self._append(rows)
            self.written += len(rows)
        except UnfitError as error:
            if len(rows) == 1:
                self._dropped += 1
                _log.error("a row of the ledger cannot be kept: %s", error)
                return
            half = len(rows) // 2
            await self._give(rows[:half])
            await self._give(rows[half:])

    async def _catch_up(self, journal: Unwritten, *, foreign: bool) -> None:
        """Writes what journals hold, own ones and those of workers that are gone. The store skips what it has."""
        if foreign:
            self._look_at = monotonic() + _LOOK_AFTER
        self._behind = False
        if not self.strict:
            journal.close_segment()
        for segment in journal.segments(foreign=foreign):
            try:
                rows = await asyncio.to_thread(journal.read, segment)
                for start in range(0, len(rows), _BATCH):
                    await self._give(rows[start : start + _BATCH])
            except BaseException:
                self._behind = True
                raise
            journal.remove(segment)

    def pump(self) -> None:
        """Hands what has finished to the sinks and to the log, and makes it ready for the store."""
        ended, self._ended = self._ended, []
        if not ended:
            return
        batch = []
        for x in ended:
            try:
                batch.append(settled(x, x.ended))
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs none of the others their rows
                self._dropped += 1
                _log.error("request %s is in no account", x.request_id, exc_info=error)
        self._keep_in_memory([kept.row for kept in batch])
        for sink in self.sinks:
            sink(batch)
        if self._log is not None:
            try:
                self._log.write(lines_of(batch))
                self._log.flush()
            except OSError:
                self._dropped += len(batch)

    def _take(self) -> tuple[list[Row], list[str]]:
        """The rows of everything that has settled and of what has been under way for a while, and the segments of the
        journal that hold nothing else."""
        done: list[str] = []
        if self.strict and self._journal is not None:
            # What is journaled from here on belongs to the next batch.
            self._journal.close_segment()
            # While something is being written still, a segment may wait for that, and that may fail.
            certain = self._writing is None and not self._behind
            done = self._journal.segments(foreign=False) if certain else []
        self.pump()
        rows = [*self._unwritten, *self._pending()]
        self._unwritten.clear()
        return rows, done

    def _pending(self) -> list[Row]:
        if self._under_way is None:
            return []
        before = monotonic() - _PENDING_AFTER
        noted = {
            x.request_id: x
            for x in self._under_way()
            if not x.ended and (x.reserved if self.strict else x.leaf is not None and x.started < before)
        }
        new = [pending_of(x) for id, x in noted.items() if id not in self._noted]
        self._noted = noted.keys()
        return new

    def _shelve(self, rows: list[Row]) -> None:
        """Keeps rows that the store did not take, or not yet."""
        self._behind = True
        if not self.strict:  # else they are in the journal already
            self._keep(rows)

    def _keep(self, rows: list[Row]) -> None:
        """Puts rows into the journal, or where that is not possible, into memory."""
        try:
            if self._journal is not None:
                self._journal.add(rows)
                self.journaled += len(rows)
                return
        except OSError as error:
            if not self._unwritten:
                _log.error("the ledger's journal cannot be written, rows wait in memory: %s", error.strerror or error)
        self._keep_in_memory(rows)

    def _keep_in_memory(self, rows: list[Row]) -> None:
        self._dropped += max(0, len(self._unwritten) + len(rows) - _KEPT)
        self._unwritten.extend(rows)
