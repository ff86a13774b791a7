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

RECORDS = 65_536
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

    def find(self, name: bytes, *, asked: bool = True) -> int | None:
        """The purse of this name (16 bytes), made if there is none; None when there is no room. With the table's lock
        held. `asked`: there is a key that has it; else it is the first to go when there is no room."""
        count = self.cells[0]
        found = self._known.get(name)
        if found is None or self._name(found) != name:
            # Where there is no room for more, any may have become another's.
            for record in range(0 if count >= RECORDS else len(self._known), count):
                at = _RECORD * (record + 1)
                self._known[self._map[at : at + 16]] = at // 8
            found = self._known.get(name)
        if found is None or self._name(found) != name:
            found = self._new(name, count)
            if found is None:
                return None
            self.cells[found + _STARTS] = 1
        if asked:
            self.cells[found + _STARTS] = 0
        return found

    def let_go(self, name: bytes) -> None:
        """Nobody has the key of this name any more. With the table's lock held."""
        found = self._known.get(name)
        if found is not None and self._name(found) == name:
            self.cells[found + _STARTS] = max(1, self.cells[found + _STARTS])

    def _name(self, purse: int) -> bytes:
        return self._map[purse * 8 : purse * 8 + 16]

    def _new(self, name: bytes, count: int) -> int | None:
        if count == RECORDS:
            width = _RECORD // 8
            found = next((at for at in range(width, width * (count + 1), width) if self.cells[at + _STARTS]), None)
            if found is None:
                return None
            self._known.pop(self._name(found), None)
        else:
            found = _RECORD * (count + 1) // 8
        self._known[name] = found
        self._map[found * 8 : found * 8 + 16] = name
        for cell, value in ((self.WINDOW, -1), (self.SPENT, 0), (self.RESET, 0), (self.ALERTED, 0)):
            self.cells[found + cell] = value
        self.cells[found + _RECALLED] = 0
        self.cells[0] = max(self.cells[0], found * 8 // _RECORD)
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
    # One that was written when there was room for fewer has what it has.
    whole = memoryview(old if old and len(old) % _RECORD == 0 else bytes(SIZE)).cast("q")
    new = bytearray(SIZE)
    cells = memoryview(new).cast("q")
    width = _RECORD // 8
    for record in range(1, min(whole[0], RECORDS, len(whole) * 8 // _RECORD - 1) + 1):
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
