"""Rows of the ledger that wait for the store, on disk: one file a segment, one checked line a row.

A segment belongs to the process that holds its lock, and the lock goes with the process, however that ends. So what a
killed worker left is found by the others, or by the next start: whoever gets the lock of a foreign segment takes it
over. A line is `checksum row`; one that was cut or damaged is left out and counted. Appending needs no sync: what a
killed process has written is the kernel's to keep. (A power cut may take the last moments.)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

_SUFFIX = ".journal"
_encode = msgspec.json.Encoder().encode

Value = str | int | float | None
Row = tuple[Any, ...]
"""Values, the last of which may be more of them."""

_decode_row = msgspec.json.Decoder(tuple[Value | tuple[Value, ...], ...]).decode


class Journal:
    """The journal of one worker. `name` tells its files from those of all others; `limit` is in bytes."""

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self._folder = folder
        self._name = name
        self._limit = limit
        self._count = 0
        self._open: str | None = None
        self._locks: dict[str, int] = {}
        """Descriptors of the segments that are this process's, by file name."""
        self._sizes: dict[str, int] = {}
        self.lost = 0

    @property
    def size(self) -> int:
        """Bytes of this worker's own segments."""
        return sum(self._sizes.values())

    def add(self, rows: Sequence[Row]) -> None:
        """Appends rows; all of them, or none. Raises OSError."""
        lines = b"".join([_line(row) for row in rows])
        if self.size + len(lines) > self._limit:
            raise OSError(f"it has reached {self._limit} bytes (store.journal_size)")
        if self._open is None:
            self._open = self._new()
        descriptor = self._locks[self._open]
        before = self._sizes[self._open]
        try:
            written = os.write(descriptor, lines)
            if written < len(lines):
                raise OSError("the disk is full")
        except OSError:
            # Half a line would be harmless; half a batch would be written twice when it is tried again.
            os.ftruncate(descriptor, before)
            raise
        self._sizes[self._open] = before + len(lines)

    def close_segment(self) -> None:
        """Makes what was added so far a segment that can be read."""
        self._open = None

    def segments(self, *, foreign: bool) -> list[str]:
        """Names of the finished segments, the oldest first; `foreign`: also those whose process is gone."""
        if foreign:
            self._adopt()
        return sorted(name for name in self._locks if name != self._open)

    def read(self, segment: str) -> list[Row]:
        """The rows of a segment, but for damaged ones. Raises OSError."""
        rows: list[Row] = []
        for line in (self._folder / segment).read_bytes().split(b"\n"):
            if not line:
                continue
            row = _row(line)
            if row is None:
                self.lost += 1
            else:
                rows.append(row)
        return rows

    def remove(self, segment: str) -> None:
        """Deletes a segment and gives up its lock. Raises OSError."""
        (self._folder / segment).unlink(missing_ok=True)
        self._sizes.pop(segment, None)
        os.close(self._locks.pop(segment))

    def close(self) -> None:
        """Leaves what is there to others."""
        self._open = None
        while self._locks:
            name, descriptor = self._locks.popitem()
            if not self._sizes.get(name):
                (self._folder / name).unlink(missing_ok=True)
            os.close(descriptor)
        self._sizes.clear()

    def _new(self) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._count += 1
        name = f"{self._name}-{self._count:06d}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        # It gets its name when it is locked: nobody may take it for one that was left behind.
        unnamed = self._folder / f"{name}.new"
        descriptor = os.open(unnamed, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.rename(unnamed, self._folder / name)
        self._locks[name] = descriptor
        self._sizes[name] = 0
        return name

    def _adopt(self) -> None:
        """Takes over the segments of processes that are gone."""
        try:
            names = [name for name in os.listdir(self._folder) if name.endswith(_SUFFIX)]
        except FileNotFoundError:
            return
        for name in names:
            if name in self._locks or name.startswith(f"{self._name}-"):
                continue
            try:
                descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            if os.fstat(descriptor).st_nlink == 0:
                os.close(descriptor)  # somebody was faster, and is done with it
                continue
            self._locks[name] = descriptor


def _line(row: Row) -> bytes:
    text = _encode(row)
    return b"%08x %b\n" % (crc32(text), text)


def _row(line: bytes) -> Row | None:
    mark, _, text = line.partition(b" ")
    try:
        if int(mark, 16) != crc32(text):
            return None
        return _decode_row(text)
    except (ValueError, msgspec.MsgspecError):
        return None
