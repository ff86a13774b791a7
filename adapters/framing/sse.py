"""Server-sent events: the one parser that every stream machine uses.

An event ends at an empty line. What this module promises, whatever the upstream does:

- The same bytes give the same events, however they were cut: also inside a line ending, the byte order mark or a
  multi-byte character (data is never decoded here).
- Lines may end in LF, CRLF or CR, mixed even; a leading byte order mark is skipped; comments, `id`, `retry` and unknown
  fields are ignored; several `data` lines are joined by LF; an event without data is no event.
- Linear time: a megabyte in one-byte pieces costs a megabyte of appends, never a search from the start again.
- Bounded memory: one event may be `limit` bytes long; the first longer one sets `overflow` and ends all output.
"""

from __future__ import annotations

from typing import TypeAlias

Event: TypeAlias = tuple[bytes, bytes]
"""The event's name (`b""` when it has none) and its data."""

EVENT_LIMIT = 8 * 1024 * 1024
"""Bytes of one event: far more than any provider's largest, small enough that a hostile one cannot fill the memory."""

_BOM = b"\xef\xbb\xbf"


class Events:
    """Cuts a byte stream into events. One per stream."""

    __slots__ = ("_after_cr", "_head", "_limit", "_started", "_tail", "overflow")

    fault = "The provider sent an event that is too large."
    """What `overflow` means here."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self.overflow = False
        self._limit = limit
        self._tail = bytearray()
        self._head = b""
        self._started = False
        self._after_cr = False

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are held."""
        return bool(self._tail or self._head)

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes; returns the events they complete, in order. Returns [] for ever after `overflow`."""
        if not self._started:
            data = self._skip_bom(data)
        # `find`, because `in` tries its argument for a number first, and takes twice as long.
        if self._after_cr or data.find(b"\r") >= 0:
            data = self._plain(data)
        if self.overflow or not data:
            return []
        if self._tail:
            joint = data[:1] == b"\n" and self._tail[-1] == 10
            if not joint and data.find(b"\n\n") < 0:
                self._keep(data)
                return []
            data = bytes(self._tail) + data
            self._tail.clear()
        blocks = data.split(b"\n\n")
        tail = blocks.pop()
        events = self._read(blocks, len(data) > self._limit)
        if tail and not self.overflow:
            self._keep(tail)
        return events

    def close(self) -> list[Event]:
        """The last event when the stream ended without the empty line after it, as some servers end theirs."""
        block = bytes(self._tail)
        self._tail.clear()
        return [] if self.overflow or not block else self._read([block], True)

    def _read(self, blocks: list[bytes], measure: bool) -> list[Event]:
        events: list[Event] = []
        for block in blocks:
            if measure and len(block.strip(b"\n")) > self._limit:
                self.overflow = True
                break
            # The two shapes that all providers send are cut without looking at lines; the rest is read by the book.
            head, mark, data = block.partition(b"\ndata: ")
            if mark:
                if head[:7] == b"event: " and data.find(b"\n") < 0 and head.find(b"\n") < 0:
                    events.append((head[7:], data))
                    continue
            elif block[:6] == b"data: " and block.find(b"\n") < 0:
                events.append((b"", block[6:]))
                continue
            _read_lines(block, events)
        return events

    def _keep(self, data: bytes) -> None:
        self._tail += data
        # Empty lines around an event are not part of it.
        if len(self._tail) > self._limit and len(self._tail.strip(b"\n")) > self._limit:
            self._tail.clear()
            self.overflow = True

    def _plain(self, data: bytes) -> bytes:
        """The same with LF line endings. A CR at the very end counts at once; an LF after it is its other half."""
        if self._after_cr and data:
            self._after_cr = False
            data = data[1:] if data[:1] == b"\n" else data
        if b"\r" in data:
            self._after_cr = data[-1:] == b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _skip_bom(self, data: bytes) -> bytes:
        data = self._head + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = b""
        self._started = True
        return data.removeprefix(_BOM)


def _read_lines(block: bytes, events: list[Event]) -> None:
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if data:
        events.append((name, b"\n".join(data)))
