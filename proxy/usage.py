"""What happened, counted and kept: one record a request, handed over in one call and written in batches elsewhere."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import IO

import msgspec

from proxy.errors import StoreError
from proxy.exchange import Exchange

_KEPT = 100_000  # records waiting for the store at most; beyond that the oldest are dropped and counted


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the access log. Times are milliseconds; no body, no credential, no query."""

    time: float
    request_id: str
    method: str
    path: str
    status: int
    duration_ms: float
    trace_id: str | None = None
    ttfb_ms: float | None = None
    key: str | None = None
    target: str | None = None
    provider: str | None = None
    model: str | None = None
    stream: bool = False
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None


_encode = msgspec.json.Encoder().encode

Record = tuple[object, ...]
Append = Callable[[list[Record]], Awaitable[None]]


def record_of(x: Exchange, ended: float) -> Record:
    """The ledger row of a settled exchange; columns as in `proxy.usage_columns`. `ended` is the loop's clock."""
    leaf, usage = x.leaf, x.usage
    target = None if leaf is None else leaf.target
    counts: tuple[int | None, ...] = (None, None, None, None, None)
    if usage is not None:
        counts = (usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
    return (
        x.request_id,
        int(x.at * 1000),
        None if x.key is None else x.key.id,
        None if target is None else target.slug,
        None if target is None else target.provider.name,
        x.model,
        x.dialect.value,
        x.path,
        x.status,
        *counts,
        len(x.attempts),
        int(x.streamed),
        int((ended - x.started) * 1e6),
        int((x.first_byte - x.started) * 1e6) if x.first_byte else None,
        "ok" if x.kind is None else x.kind.value,
    )


def line_of(record: Record, key: str | None, method: str, trace_id: str) -> Line:
    """The access log's line of the same request."""
    (request_id, at, _, slug, provider, model, _, path, status, tokens_in, tokens_out, _, _, _, attempts, streamed,
     duration, ttfb, outcome) = record  # fmt: skip
    return Line(
        time=at / 1000,  # type: ignore[operator]
        request_id=request_id,  # type: ignore[arg-type]
        method=method,
        path=path,  # type: ignore[arg-type]
        status=status,  # type: ignore[arg-type]
        duration_ms=duration / 1000,  # type: ignore[operator]
        trace_id=None if trace_id == request_id else trace_id,
        ttfb_ms=None if ttfb is None else ttfb / 1000,  # type: ignore[operator]
        key=key,
        target=slug,  # type: ignore[arg-type]
        provider=provider,  # type: ignore[arg-type]
        model=model,  # type: ignore[arg-type]
        stream=bool(streamed),
        attempts=attempts,  # type: ignore[arg-type]
        input_tokens=tokens_in,  # type: ignore[arg-type]
        output_tokens=tokens_out,  # type: ignore[arg-type]
        error=None if outcome == "ok" else outcome,  # type: ignore[arg-type]
    )


class Ledger:
    """Takes records on the hot path, writes them in batches off it.

    A store that fails keeps its records waiting, bounded; `dropped` counts what did not fit.
    """

    def __init__(self, append: Append, log: IO[bytes] | None) -> None:
        self._append = append
        self._log = log
        self._waiting: deque[tuple[Record, str | None, str, str]] = deque(maxlen=_KEPT)
        self._unwritten: deque[Record] = deque(maxlen=_KEPT)
        self.dropped = 0

    def put(self, x: Exchange, ended: float) -> None:
        """Takes what a settled exchange says. Never waits, never fails."""
        if len(self._waiting) == _KEPT:
            self.dropped += 1
        key = None if x.key is None else x.key.name
        self._waiting.append((record_of(x, ended), key, x.method, x.trace_id))

    async def flush(self) -> None:
        """Writes what is waiting: log lines at once, records to the store. Called by the worker's timer, and last."""
        batch = list(self._waiting)
        self._waiting.clear()
        if batch and self._log is not None:
            lines = [_encode(line_of(*item)) for item in batch]
            try:
                self._log.write(b"\n".join(lines) + b"\n")
                self._log.flush()
            except OSError:
                self.dropped += len(lines)
        self.dropped += max(0, len(self._unwritten) + len(batch) - _KEPT)
        self._unwritten.extend(item[0] for item in batch)
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
