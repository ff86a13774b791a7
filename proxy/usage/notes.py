"""Lines in the access log for what is no inference: administration, probes while debugging, and what was refused before
it became a request. Nobody without a key can fill a disk: such lines are so many a second, and the rest is counted.
"""

from __future__ import annotations

import logging
from time import monotonic, time
from typing import IO

import msgspec

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.exchange import Exchange

_A_SECOND = 10.0
_AT_ONCE = 20.0
_PATH = 256
_log = logging.getLogger("loopway")


class Note(msgspec.Struct, omit_defaults=True, gc=False):
    """One line. `kind` is admin, probe, unknown (no such path, or no key), shed (refused because there was too much to
    do), malformed, or refused: those of a second that are in no other line. `suppressed` is how many requests or lines
    before it were left out. No body, no query, no credential."""

    time: float
    request_id: str
    kind: str
    status: int
    method: str = ""
    path: str = ""
    duration_ms: float = 0.0
    key: str | None = None
    error: str | None = None
    suppressed: int = 0


class Notes:
    """Writes such lines. One per worker; None as `log`: nothing is written."""

    def __init__(self, log: IO[bytes] | None) -> None:
        self._log = log
        self._room = _AT_ONCE
        self._looked = 0.0
        self._suppressed = 0
        self.keys_refused = 0
        """Callers without a valid key, of what is no inference."""

    def request(self, x: Exchange, kind: str) -> None:
        """What became of a request. Probes are only worth a line while debugging."""
        if x.kind is Kind.UNAUTHENTICATED:
            self.keys_refused += 1
        if self._log is None or (kind == "probe" and _log.level > logging.DEBUG):
            return
        took = round((monotonic() - x.started) * 1000, 3)
        error = None if x.kind is None else x.kind.value
        key = None if x.key is None else x.key.name
        note = Note(round(time(), 3), x.request_id, kind, x.status, x.method, x.path[:_PATH], took, key, error)
        self._write(note, limited=x.key is None or kind == "shed")

    def malformed(self, refused: Refused, trace: bytes) -> None:
        """What the edge refused; `trace` is the header line with the id that the client got."""
        if self._log is not None:
            id = trace.partition(b": ")[2].strip().decode("ascii", "replace")
            self._write(Note(round(time(), 3), id, "malformed", refused.status, error=refused.message), limited=True)

    def turned_away(self, status: int, count: int) -> None:
        """How many callers without a good key were refused at once in the last second."""
        if self._log is not None:
            self._write(Note(round(time(), 3), "", "refused", status, suppressed=count), limited=False)

    def _write(self, note: Note, *, limited: bool) -> None:
        assert self._log is not None
        if limited:
            now = monotonic()
            self._room = min(_AT_ONCE, self._room + (now - self._looked) * _A_SECOND)
            self._looked = now
            if self._room < 1:
                self._suppressed += 1
                return
            self._room -= 1
            note.suppressed, self._suppressed = self._suppressed, 0
        try:
            self._log.write(msgspec.json.encode(note) + b"\n")
            self._log.flush()
        except OSError:
            self._suppressed += 1
