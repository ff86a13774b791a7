"""The access log: one JSON line a request.

What a line says of its kind of request is text already (`proxy.usage.alike`); only the rest is encoded for each.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from typing import IO

import msgspec

from proxy.usage.rows import Settled

_encode = msgspec.json.Encoder().encode_lines
_END = b"}\n"  # of a line, and nowhere in one: JSON escapes what ends a line


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """What a line of the access log says of one request alone; `proxy.usage.alike.Told` is the rest. Times are
    milliseconds; no body, no credential, no query.

    `tries` are all attempts with target, status, time and reason, where there was more than one or the only one failed.
    """

    time: float
    request_id: str
    duration_ms: float
    trace_id: str | None = None
    ttfb_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    tries: msgspec.Raw | None = None
    dropped: tuple[str, ...] = ()


def lines_of(batch: Sequence[Settled]) -> bytes:
    """The lines of finished requests."""
    heads = _encode(map(_own, batch)).split(_END)
    return b"".join(chain.from_iterable(zip(heads, [kept.alike.told for kept in batch], strict=False)))


def _own(kept: Settled) -> Line:
    tries = kept.tries_json
    request_id, trace_id, at, took, ttfb, _, prompt, output, _, _, _, _ = kept.row
    return Line(
        at / 1000,
        request_id,
        took / 1000,
        None if trace_id == request_id else trace_id,
        None if ttfb is None else ttfb / 1000,
        prompt,
        output,
        None if tries is None else msgspec.Raw(tries.encode()),
        kept.dropped,
    )


def stdout_log() -> IO[bytes]:
    """Where access lines go: standard output, unbuffered by Python."""
    return sys.stdout.buffer
