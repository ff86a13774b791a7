"""Where a request stands in a trace that began elsewhere, or begins here: W3C Trace Context.

Only there when traces are exported. Span ids of attempts follow from the request's own, so nothing is kept of them.
"""

from __future__ import annotations

import random
import re

import msgspec

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # far apart, and never the same for two attempts


class Span(msgspec.Struct, frozen=True, gc=False):
    """One request's place: ids as numbers. `parent` is 0 where the trace begins here; `state` is its `tracestate`."""

    trace: int
    id: int
    parent: int
    sampled: bool
    state: bytes = b""

    def of_attempt(self, number: int) -> int:
        """The id of an attempt's span, counted from 0."""
        return (self.id + (number + 1) * _STEP) & _MASK or 1

    def lines(self, number: int) -> bytes:
        """The header lines that tell a provider where the attempt stands."""
        line = b"traceparent: 00-%032x-%016x-%02x\r\n" % (self.trace, self.of_attempt(number), self.sampled)
        return line + b"tracestate: %b\r\n" % self.state if self.state else line


class Sampler:
    """Begins spans. A trace that was begun elsewhere is sampled if it was there; of others, this share."""

    def __init__(self, share: float) -> None:
        self._share = share

    def begin(self, headers: dict[bytes, bytes], request_id: str) -> Span:
        """The span of a request. A trace that begins here has the request's id, which its answer and its log line have
        as well."""
        given = _PARENT.fullmatch(headers.get(b"traceparent", b""))
        own = random.getrandbits(64) or 1
        if given is None:
            return Span(int(request_id, 16), own, 0, random.random() < self._share)
        state = headers.get(b"tracestate", b"")
        sampled = bool(int(given[3], 16) & 1)
        return Span(int(given[1], 16), own, int(given[2], 16), sampled, state if len(state) <= 512 else b"")
