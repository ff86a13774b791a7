"""What budgets have spent, in memory that is a file: it outlives every process, however that ends.

Workers count in it as in all memory that they share (`memory`), and the next start finds what the last instruction
left. The kernel writes it to the disk when it sees fit, so a power cut may take some seconds; what the store has by
then (`proxy.budgets`) counts if it is more. Without a file it is a part of the memory that goes with the processes.

    header   number of records
    record   name (16 bytes), window, spent, reset, alerted, starts (how often nobody has asked for it), recalled
"""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

_log = logging.getLogger("loopway")

RECORDS = 16384
_RECORD = 64
SIZE = _RECORD * (RECORDS + 1)
_STARTS, _RECALLED = 6, 7
_KEPT = 100  # starts after which a budget that nobody has any more is forgotten


class Purses:
    """All budgets. `cells` are numbers of eight bytes; a purse is the index of its first one."""

    WINDOW, SPENT, RESET, ALERTED = 2, 3, 4, 5

    def __init__(self, descriptor: int, offset: int = 0) -> None:
        self._map = mmap.mmap(descriptor, SIZE, offset=offset)
        self.cells = memoryview(self._map).cast("q")
        self._known: dict[bytes, int] = {}

    @classmethod
    def kept(cls, path: Path, *, fresh: bool) -> Purses | None:
        """Those of a file; None where there can be none. `fresh`: no other process has it open; then what nobody has
        asked for in a long time goes."""
        try:
            if fresh or not path.exists():
                _renew(path)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                return cls(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            _log.warning("what budgets spend in the last second will not outlive a kill: %s: %s", path, error)
            return None

    def find(self, name: bytes) -> int | None:
        """The purse of this name (16 bytes), made if there is none; None when there is no room. With the table's lock
        held."""
        count = self.cells[0]
        for record in range(len(self._known), count):
            at = _RECORD * (record + 1)
            self._known[self._map[at : at + 16]] = at // 8
        found = self._known.get(name)
        if found is None:
            if count == RECORDS:
                return None
            at = _RECORD * (count + 1)
            found = self._known[name] = at // 8
            self._map[at : at + 16] = name
            for cell, value in ((self.WINDOW, -1), (self.SPENT, 0), (self.RESET, 0), (self.ALERTED, 0)):
                self.cells[found + cell] = value
            self.cells[found + _RECALLED] = 0
            self.cells[0] = count + 1
        self.cells[found + _STARTS] = 0
        return found

    def recall(self, purse: int, window: int, spent: int, reset_at: int) -> None:
        """Takes over what the store has, where that is more: once in the life of a gateway. With the table's lock."""
        cells = self.cells
        if cells[purse + _RECALLED]:
            return
        cells[purse + _RECALLED] = 1
        mine = (cells[purse + self.RESET], cells[purse + self.WINDOW], cells[purse + self.SPENT])
        if (reset_at, window, spent) > mine:
            cells[purse + self.SPENT] = spent
            cells[purse + self.RESET] = reset_at
            cells[purse + self.WINDOW] = window


def _renew(path: Path) -> None:
    """Writes the file anew, without what has gone; whoever dies here leaves the old one."""
    old = path.read_bytes() if path.exists() else b""
    whole = memoryview(old if len(old) == SIZE else bytes(SIZE)).cast("q")
    new = bytearray(SIZE)
    cells = memoryview(new).cast("q")
    width = _RECORD // 8
    for record in range(1, min(whole[0], RECORDS) + 1):
        values = whole[record * width : (record + 1) * width]
        if values[Purses.WINDOW] == -1 or values[_STARTS] >= _KEPT:
            continue
        cells[0] += 1
        at = cells[0] * width
        cells[at : at + width] = values
        cells[at + _STARTS] += 1
        cells[at + _RECALLED] = 0
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(new)  # in full: where a page has no place on the disk yet, a full disk would end who touches it
    os.chmod(draft, 0o600)
    os.replace(draft, path)
