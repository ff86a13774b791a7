"""What happened, counted and kept: one record a request, handed over in one call and written in batches elsewhere."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import IO

import msgspec

from adapters.types import Usage
from proxy.errors import StoreError
from proxy.exchange import Attempt, Exchange

_KEPT = 100_000  # records waiting for the store at most; beyond that the oldest are dropped and counted


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of the access log. Times are milliseconds; no body, no credential, no query."""

    time: float
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    attempts: int
    trace_id: str | None = None
    ttfb_ms: float | None = None
    key: str | None = None
    target: str | None = None
    provider: str | None = None
    model: str | None = None
    stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


_encode_lines = msgspec.json.Encoder().encode_lines

Record = tuple[object, ...]
Append = Callable[[list[Record]], Awaitable[None]]
Sink = Callable[[list["Settled"]], None]


class Settled(msgspec.Struct, gc=False, frozen=True):
    """What is kept of an exchange until it is written: small, and without a reference to anything of the request."""

    request_id: str
    trace_id: str
    at: float
    key_id: str | None
    key: str | None
    target: str | None
    provider: str | None
    model: str | None
    dialect: str
    method: str
    path: str
    status: int
    usage: Usage | None
    tries: list[Attempt]
    streamed: bool
    duration: float
    ttfb: float | None
    outcome: str
    read: float
    upstream: float
    queued: float
    cache: str | None

    @property
    def overhead(self) -> float | None:
        """Seconds that the gateway itself took until the answer's first byte, of requests that went to a provider once
        and well; those of others are not to be told from waiting."""
        tries, ttfb = self.tries, self.ttfb
        if len(tries) != 1 or ttfb is None or not self.read or tries[0].kind is not None:
            return None
        return max(0.0, ttfb - self.read - self.upstream - self.queued)


def settled(x: Exchange, ended: float) -> Settled:
    """What is kept of an exchange. `ended` is the monotonic clock."""
    leaf, key, began = x.leaf, x.key, x.started
    target = None if leaf is None else leaf.target
    return Settled(
        x.request_id,
        x.trace_id,
        x.at,
        None if key is None else key.id,
        None if key is None else key.name,
        None if target is None else target.slug,
        None if target is None else target.provider.name,
        x.model,
        x.dialect,
        x.method,
        x.path,
        x.status,
        x.usage,
        x.attempts,
        x.streamed,
        ended - began,
        x.first_byte - began if x.first_byte else None,
        x.kind or "ok",
        x.read - began if x.read else 0.0,
        x.upstream,
        x.queued,
        x.cache,
    )


def record_of(kept: Settled) -> Record:
    """The ledger's row; columns as in `proxy.usage_columns`."""
    usage, ttfb = kept.usage, kept.ttfb
    counts: tuple[int | None, ...] = (None, None, None, None, None)
    if usage is not None:
        counts = (usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
    return (
        kept.request_id,
        int(kept.at * 1000),
        kept.key_id,
        kept.target,
        kept.provider,
        kept.model,
        kept.dialect,
        kept.path,
        kept.status,
        *counts,
        len(kept.tries),
        int(kept.streamed),
        int(kept.duration * 1e6),
        None if ttfb is None else int(ttfb * 1e6),
        kept.outcome,
    )


def line_of(kept: Settled) -> Line:
    """The access log's line of the same request."""
    usage, ttfb = kept.usage, kept.ttfb
    return Line(
        round(kept.at, 3),
        kept.request_id,
        kept.method,
        kept.path,
        kept.status,
        round(kept.duration * 1000, 3),
        len(kept.tries),
        None if kept.trace_id == kept.request_id else kept.trace_id,
        None if ttfb is None else round(ttfb * 1000, 3),
        kept.key,
        kept.target,
        kept.provider,
        kept.model,
        kept.streamed,
        None if usage is None else usage.input,
        None if usage is None else usage.output,
        None if kept.outcome == "ok" else kept.outcome,
    )


class Ledger:
    """Takes records on the hot path, writes them in batches off it.

    A store that fails keeps its records waiting, bounded; `dropped` counts what did not fit. `sinks` are called with
    each batch, in order: whatever else wants to know of finished requests. They must not fail.
    """

    def __init__(self, append: Append, log: IO[bytes] | None, sinks: Sequence[Sink] = ()) -> None:
        self._append = append
        self._log = log
        self.sinks = list(sinks)
        self._waiting: deque[Settled] = deque(maxlen=_KEPT)
        self._unwritten: deque[Record] = deque(maxlen=_KEPT)
        self.dropped = 0

    def put(self, x: Exchange, ended: float) -> None:
        """Takes what a settled exchange says. Never waits, never fails."""
        if len(self._waiting) == _KEPT:
            self.dropped += 1
        self._waiting.append(settled(x, ended))

    @property
    def waiting(self) -> int:
        """How many records the store does not have yet."""
        return len(self._waiting) + len(self._unwritten)

    def pump(self) -> None:
        """Hands what has finished to the sinks and to the log, and makes it ready for the store."""
        batch = list(self._waiting)
        self._waiting.clear()
        if not batch:
            return
        for sink in self.sinks:
            sink(batch)
        if self._log is not None:
            try:
                self._log.write(_encode_lines([line_of(kept) for kept in batch]))
                self._log.flush()
            except OSError:
                self.dropped += len(batch)
        self.dropped += max(0, len(self._unwritten) + len(batch) - _KEPT)
        self._unwritten.extend(map(record_of, batch))

    async def flush(self) -> None:
        """Writes what is waiting: log lines at once, records to the store. Called by the worker's timer, and last."""
        self.pump()
        if not self._unwritten:
            return
        rows = list(self._unwritten)
        try:
            await self._append(rows)
        except StoreError as error:
            logging.getLogger("loopway").warning("%d usage records wait for the store: %s", len(rows), error)
            return
        for _ in range(min(len(rows), len(self._unwritten))):
            self._unwritten.popleft()


def stdout_log() -> IO[bytes]:
    """Where access lines go: standard output, unbuffered by Python."""
    return sys.stdout.buffer
