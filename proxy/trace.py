"""Where a request stands in a trace that began elsewhere, or begins here: W3C Trace Context.

Only there when traces are exported. Span ids of attempts follow from the request's own and from where in the config the
target stands: those of a hedge, which run side by side, are told apart by it.
"""

from __future__ import annotations

import random
import re
from zlib import crc32

import msgspec

from proxy.seams import Origin

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # far apart, and never the same for two attempts


class Span(msgspec.Struct, eq=False):
    """One request's place: ids as numbers. `parent` is 0 where the trace begins here; `state` is its `tracestate`.

    The rest is there where the trace is sampled. `called` are host and port of the attempts that were sent. `host` is
    the request's Host header, `size` and `asked` are its body's bytes and parameters, `first` and `last` the two ends
    of the answer: see `proxy.telemetry.witness`.
    """

    trace: int
    id: int
    parent: int
    sampled: bool
    state: bytes = b""
    called: dict[int, tuple[str, int]] = {}
    host: bytes = b""
    size: int = 0
    asked: dict[str, int | float] = {}
    first: bytes = b""
    last: bytes = b""

    def of_attempt(self, where: str, number: int) -> int:
        """The id of an attempt's span: of the `number`th one, from 0, at the target that stands there in the config."""
        return (self.id + (crc32(where.encode()) << 16 | number + 1) * _STEP) & _MASK or 1

    def lines(self, where: str, number: int, origin: Origin) -> bytes:
        """The header lines that tell a provider where the attempt stands."""
        own = self.of_attempt(where, number)
        if self.sampled:
            self.called[own] = (origin.host, origin.port)
        line = b"traceparent: 00-%032x-%016x-%02x\r\n" % (self.trace, own, self.sampled)
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
