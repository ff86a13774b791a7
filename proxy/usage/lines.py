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
    alike, tries = kept.alike, kept.tries_json
    request_id, trace_id, at, took, ttfb, _, prompt, output, _, _, _, _ = kept.row
    return Line(
        at / 1000,
        request_id,
        alike.method,
        alike.path,
        alike.status,
        took / 1000,
        len(kept.tries),
        None if trace_id == request_id else trace_id,
        None if ttfb is None else ttfb / 1000,
        alike.key,
        alike.target,
        alike.provider,
        alike.model,
        alike.streamed,
        prompt,
        output,
        alike.error,
        alike.cache,
        None if alike.where == "config" else alike.where,
        None if tries is None else msgspec.Raw(tries.encode()),
        kept.dropped,
    )


def stdout_log() -> IO[bytes]:
    """Where access lines go: standard output, unbuffered by Python."""
    return sys.stdout.buffer
