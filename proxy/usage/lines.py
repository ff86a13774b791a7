"""The access log: one JSON line a request."""

from __future__ import annotations

import sys
from typing import IO

import msgspec

from proxy.usage.rows import Settled


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of the access log. Times are milliseconds; no body, no credential, no query.

    `cache` is what the cache did, `where` the path in the config of the target that answered. `tries` are all attempts
    with target, status, time and reason, where there was more than one or the only one failed.
    """

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
    cache: str | None = None
    where: str | None = None
    tries: msgspec.Raw | None = None
    dropped: tuple[str, ...] = ()


def line_of(kept: Settled) -> Line:
    """The line of a finished request."""
    usage, ttfb = kept.usage, kept.ttfb
    return Line(
        int(kept.at * 1000) / 1000,  # `round` would take longer than all the rest
        kept.request_id,
        kept.method,
        kept.path,
        kept.status,
        int(kept.duration * 1e6) / 1000,
        len(kept.tries),
        None if kept.trace_id == kept.request_id else kept.trace_id,
        None if ttfb is None else int(ttfb * 1e6) / 1000,
        kept.key,
        kept.target,
        kept.provider,
        kept.model,
        kept.streamed,
        None if usage is None else usage.input,
        None if usage is None else usage.output,
        None if kept.outcome == "ok" else kept.outcome,
        kept.cache,
        None if kept.where == "config" else kept.where,
        None if kept.tries_json is None else msgspec.Raw(kept.tries_json.encode()),
        kept.dropped,
    )


def stdout_log() -> IO[bytes]:
    """Where access lines go: standard output, unbuffered by Python."""
    return sys.stdout.buffer
