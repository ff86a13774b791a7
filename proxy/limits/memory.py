"""The memory in which the workers of one host count together.

The supervisor makes it before it forks. It is an array of rows, one for each identity that has limits, and each row
has columns, one for each worker: a worker writes its own column and nobody else's, and what is in use is the sum. So a
count needs its row's lock to be taken (look at the sum, then add) but not to be given back, and a worker that is
killed leaves nothing but its column, which is set to nothing once it is known to be dead.

That is known from the kernel: a worker holds a record lock on its slot's byte for as long as it lives. One worker, the
*leader*, holds another one, looks after the others' slots, and does what needs doing once for the host. Where it has
not been seen for a second (it is stopped, or busy without end) another takes its place, and it learns of that when it
goes on: who leads is who began the last *term*.

    header   the table's lock, number of rows, width (slots ever used), lease of this host, a state for each slot
    row      lock, name (16 bytes), scalars; then per slot: used, waiting, weight, longest, evict (u32), reserved (i64),
             claimed (u32)

A worker claims the rows of the keys that it knows. A row that nobody claims is another key's as soon as one needs it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import os
import secrets
import tempfile
import time
from enum import IntEnum
from pathlib import Path
from struct import Struct
from time import monotonic

from adapters.errors import Kind
from proxy.errors import Refused, StartupError
from proxy.limits import locks
from proxy.limits.purses import SIZE as PURSES
from proxy.limits.purses import Purses

_VERSION = 4
WIDTH = 17  # index of the header field that says how many slots were ever used
_HEADER = 16384
_SLOT_STATES = 1024  # offset of one u32 a slot: 0 or the pid of its worker
_LEADER = 1  # bytes of the file that carry record locks
_SLOTS = 16
_TRIES, _TRY_EVERY = 5, 0.15  # for a slot; seconds
_SILENT = 1.0  # seconds after which a leader that has not been seen is followed by another
_ROWS = 131_072  # what is not used takes no memory
_TRIED = 64  # rows that are looked at for one that nobody claims, before a new one is begun
_SCRATCH = bytes(16)  # the name of the first row, in which whoever comes late for a key that is gone is counted
VARIABLE = "_LIMITS_FD"
"""In the environment of a process that another one became by exec: the memory goes on."""


class Mode(IntEnum):
    """How the limits of several hosts stand."""

    GOOD = 0
    HELD = 1
    """Redis does not answer, but the leases have not ended."""
    SHARE = 2
    """They have ended: each host gives out its share."""
    CLOSED = 3
    """They have ended, and the strict policy lets nobody in."""


class Full(StartupError):
    """There is no row or no slot left."""


class Memory:
    """The shared memory as one process sees it. Views: `u32`, `i64` and `f64` by index of their own width."""

    # Header fields: byte offsets.
    COUNT, TERM, LIVE, MODE = 128, 144, 152, 160
    VALID_UNTIL = 168
    LEADER, SEEN = 176, 184
    ID = 192
    RENAMED = 224  # how often a row became another key's
    TRIED = 232  # the row that was looked at last

    # Scalars of a row: byte offsets from its beginning.
    NAME, TURN, CAPACITY, SHARE = 64, 80, 88, 96
    TATS = 112  # eight f64
    POOLS = 208  # nine f64: what this host has leased of each rate and of the budget
    WANTS = 280  # nine f64: how much of each is wanted at once
    DENIED = 416  # nine f64: until when (monotonic) Redis has nothing more of each
    AVAILS = 488  # nine f64: how much Redis had of each when it was last asked
    COLUMNS = 576

    def __init__(self, descriptor: int, slots: int, purses: Purses | None = None) -> None:
        self.slots = slots
        self.rows = _ROWS
        self.row_size = -(-(self.COLUMNS + 32 * slots) // 64) * 64
        self.descriptor = descriptor
        size = _HEADER + self.rows * self.row_size
        page = -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        os.ftruncate(descriptor, page + PURSES)
        self.purses = Purses(descriptor, page) if purses is None else purses
        self.map = mmap.mmap(descriptor, size)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.locks = locks.locks(self._base, descriptor)
        whole = memoryview(self.map)
        self.u32 = whole.cast("I")
        self.i64 = whole.cast("q")
        self.f64 = whole.cast("d")
        self.slot = -1
        self._rows: dict[bytes, int] = {}
        self._learned = self._renamed = 0
        self._suspects: set[int] = set()
        self.leads = False
        self._followed = -1
        """The term of whoever took the place from this process."""
        self.term = 0
        """The last one in which this process led."""
        self.sums = [Struct(f"{width}I").unpack_from for width in range(slots + 1)]
        self.sums_of_i64 = [Struct(f"{width}q").unpack_from for width in range(slots + 1)]

    # -- making it

    @classmethod
    def create(cls, workers: int, purses: Purses | None = None) -> Memory:
        """New memory, for this many workers, or one for each core, and their successors beside them."""
        slots = min(3072, max(32, 4 * workers, 4 * (os.cpu_count() or 1)))
        made = cls(_file(), slots, purses)
        made.u32[0] = 0
        made.i64[cls.COUNT // 8] = 0
        made.i64[WIDTH] = 0
        made.map[cls.ID : cls.ID + 16] = secrets.token_bytes(16)
        made.i64[(cls.ID + 16) // 8] = slots
        made.i64[(cls.ID + 24) // 8] = _VERSION
        made.locks.prepare(0)
        made._begin(made._at(0), _SCRATCH)
        made.i64[cls.COUNT // 8] = 1
        return made

    @classmethod
    def inherit(cls, descriptor: int, purses: Purses | None = None) -> Memory | None:
        """The memory of the process that this one was; None if it was of another version."""
        try:
            head = os.pread(descriptor, 32, cls.ID)
        except OSError:
            return None
        slots, version = Struct("qq").unpack(head[16:]) if len(head) == 32 else (0, 0)
        return cls(descriptor, slots, purses) if version == _VERSION else None

    @property
    def id(self) -> str:
        """Names this memory among all of a host."""
        return self.map[self.ID : self.ID + 16].hex()

    # -- slots

    def attach(self) -> None:
        """Takes a slot for this process; where none is free, waits a moment for those of the dead. Raises Full."""
        for _ in range(_TRIES):
            if self._take_slot():
                return
            self.sweep()
            time.sleep(_TRY_EVERY)
        raise Full(
            f"all {self.slots} places for workers are taken, by those that serve and those that still end; a worker "
            "more can start when one has ended, or when the gateway was started again"
        )

    def _take_slot(self) -> bool:
        states = _SLOT_STATES // 4
        with self.locked(0):
            for slot in range(self.slots):
                if self.u32[states + slot] == 0 and self._lock_byte(_SLOTS + slot):
                    self.u32[states + slot] = os.getpid()
                    self.slot = slot
                    self.i64[WIDTH] = max(self.i64[WIDTH], slot + 1)
                    return True
        return False

    def detach(self) -> None:
        """Gives the slot back, with everything in its column."""
        if self.slot >= 0:
            self._clear(self.slot)
            self.slot = -1
        if self.leads:
            self.leads = False
            self._unlock_byte(_LEADER)

    def lead(self) -> bool:
        """Whether this process is the one that looks after the others; takes the place if it is free, or if whoever has
        it has not called this for a second."""
        term = self.i64[self.TERM // 8]
        if self.leads and term != self.term:
            self.leads, self._followed = False, term
            self._unlock_byte(_LEADER)
            return False
        free = self._lock_byte(_LEADER)
        if free and not self.leads and term == self._followed and not self._silent():
            # It is free because this process had it: it is the other's to take.
            self._unlock_byte(_LEADER)
            return False
        if not self.leads and (free or self._silent()) and self.locks.acquire(0):
            try:
                if free or self._silent():
                    self.term = self.i64[self.TERM // 8] = self.i64[self.TERM // 8] + 1
                    self.i64[self.LEADER // 8] = self.slot
                    self.f64[self.SEEN // 8] = monotonic()
                    self.leads = True
            finally:
                self.locks.release(0)
        if self.leads:
            self.f64[self.SEEN // 8] = monotonic()
        return self.leads

    def _silent(self) -> bool:
        return monotonic() - self.f64[self.SEEN // 8] > _SILENT

    def sweep(self) -> None:
        """For the leader, some times a second: clears the columns of workers that are dead.

        Only when the same one was dead the time before: by then the kernel has closed its connections too.
        """
        states, pid = _SLOT_STATES // 4, os.getpid()
        suspects: set[int] = set()
        for slot in range(self.i64[WIDTH]):
            if self.u32[states + slot] in (0, pid) or not self._lock_byte(_SLOTS + slot):
                continue
            if slot in self._suspects:
                self._clear(slot)
            else:
                suspects.add(slot)
                self._unlock_byte(_SLOTS + slot)
        self._suspects = suspects

    def _clear(self, slot: int) -> None:
        for row in range(self.i64[self.COUNT // 8]):
            base = (_HEADER + row * self.row_size + self.COLUMNS) // 4
            for column in range(5):
                self.u32[base + column * self.slots + slot] = 0
            self.i64[(_HEADER + row * self.row_size + self.COLUMNS + 20 * self.slots) // 8 + slot] = 0
            self.u32[(_HEADER + row * self.row_size + self.COLUMNS + 28 * self.slots) // 4 + slot] = 0
        self.u32[_SLOT_STATES // 4 + slot] = 0
        self._unlock_byte(_SLOTS + slot)

    def _lock_byte(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True

    def _unlock_byte(self, byte: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, byte)

    @property
    def workers(self) -> int:
        """How many have a slot, of all generations; at least one."""
        states = _SLOT_STATES // 4
        return max(1, sum(1 for slot in range(self.i64[WIDTH]) if self.u32[states + slot]))

    @property
    def alone(self) -> bool:
        """Whether no other worker has a slot."""
        states = _SLOT_STATES // 4
        return not any(self.u32[states + slot] for slot in range(self.i64[WIDTH]) if slot != self.slot)

    # -- rows

    def at(self, name: bytes) -> int | None:
        """The offset of a row that there is, by its 16 bytes of name."""
        if not self.locks.acquire(0):
            return None
        try:
            return self._known(name)
        finally:
            self.locks.release(0)

    def name_of(self, at: int) -> str:
        """A row's name, as hexadecimal digits."""
        return self.map[at + self.NAME : at + self.NAME + 16].hex()

    def recall(self, name: str, window: int, spent: int, reset_at: int) -> None:
        """Takes over what the store has of a budget, where this memory has less."""
        with self.locked(0):
            purse = self.purses.find(bytes.fromhex(name), asked=False)
            if purse is not None:
                self.purses.recall(purse, window, spent, reset_at)

    def purse(self, at: int) -> int:
        """The index of a row's budget among the cells of `purses`. Raises Full."""
        with self.locked(0):
            purse = self.purses.find(self.map[at + self.NAME : at + self.NAME + 16])
        if purse is None:
            raise Full("there are too many budgets")
        return purse

    def row(self, *name: str) -> Row:
        """The row of an identity, the same for every process, and claimed for this one. Raises Full."""
        digest = hashlib.blake2b("\0".join(name).encode(), digest_size=16).digest()
        with self.locked(0):
            at = self._known(digest)
            row = Row(self, self._new(digest) if at is None else at)
            self.u32[row.my_claim] = 1
        return row

    def let_go(self, row: Row) -> None:
        """This process has nothing counted in a row any more, and never will."""
        self.u32[row.my_claim] = 0

    def scratch(self) -> Row:
        """A row of nobody's."""
        return Row(self, self._at(0))

    def _at(self, number: int) -> int:
        return _HEADER + number * self.row_size

    def _known(self, name: bytes) -> int | None:
        if self._renamed != self.i64[self.RENAMED // 8]:
            self._renamed, self._learned = self.i64[self.RENAMED // 8], 0
            self._rows.clear()
        count = self.i64[self.COUNT // 8]
        for number in range(self._learned, count):
            at = self._at(number)
            self._rows[self.map[at + self.NAME : at + self.NAME + 16]] = at
        self._learned = count
        return self._rows.get(name)

    def _new(self, name: bytes) -> int:
        """A row for a name that has none: one of a key that is gone, else one that was never used."""
        count = self.i64[self.COUNT // 8]
        for _ in range(min(_TRIED if count < self.rows else self.rows, count - 1)):
            tried = self.i64[self.TRIED // 8] = self.i64[self.TRIED // 8] % (count - 1) + 1
            at = self._at(tried)
            row = Row(self, at)
            if not any(self.u32s(row.claimed)) and not row.held and not any(self.i64s(row.reserved)):
                old = self.map[at + self.NAME : at + self.NAME + 16]
                self.purses.let_go(old)
                self._rows.pop(old, None)
                self._renamed = self.i64[self.RENAMED // 8] = self._renamed + 1
                break
        else:
            if count >= self.rows:
                raise Full(f"{count - 1} keys have limits, and there is no room for more")
            at = self._at(count)
        self._begin(at, name)
        if at == self._at(count):
            self.i64[self.COUNT // 8] = self._learned = count + 1
        self._rows[name] = at
        return at

    def _begin(self, at: int, name: bytes) -> None:
        self.map[at : at + self.row_size] = bytes(self.row_size)
        self.locks.prepare(at)
        self.map[at + self.NAME : at + self.NAME + 16] = name
        self.i64[(at + self.CAPACITY) // 8] = -1
        self.i64[(at + self.SHARE) // 8] = -1

    def locked(self, offset: int, *, always: bool = False) -> _Locked:
        """Holds a lock: `with memory.locked(offset):`. `always`: goes on without it when it is not to be had."""
        return _Locked(self.locks, offset, always)

    def u32s(self, offset: int) -> tuple[int, ...]:
        """One u32 of every slot that was ever used."""
        values: tuple[int, ...] = self.sums[self.i64[WIDTH]](self.map, offset)
        return values

    def i64s(self, offset: int) -> tuple[int, ...]:
        """One i64 of every slot that was ever used."""
        values: tuple[int, ...] = self.sums_of_i64[self.i64[WIDTH]](self.map, offset)
        return values


class _Locked:
    __slots__ = ("_always", "_held", "_locks", "_offset")

    def __init__(self, locks: locks.Locks, offset: int, always: bool) -> None:
        self._locks = locks
        self._offset = offset
        self._always = always
        self._held = False

    def __enter__(self) -> None:
        self._held = self._locks.acquire(self._offset)
        if not self._held and not self._always:
            raise Refused(Kind.OVERLOADED, "The limits of this key cannot be counted just now.", retry_after=1)

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._locks.release(self._offset)


class Row:
    """Where one identity's numbers are: byte offsets of its columns, indices of its own cells."""

    __slots__ = (
        "at",
        "claimed",
        "evict",
        "longest",
        "memory",
        "my_claim",
        "my_evict",
        "my_longest",
        "my_reserved",
        "my_used",
        "my_waiting",
        "my_weight",
        "reserved",
        "used",
        "waiting",
        "weight",
    )

    def __init__(self, memory: Memory, at: int) -> None:
        self.memory = memory
        self.at = at
        columns, width = at + memory.COLUMNS, 4 * memory.slots
        self.used, self.waiting, self.weight, self.longest, self.evict, self.reserved = (
            columns + width * index for index in range(6)
        )
        self.claimed = columns + 28 * memory.slots
        slot = memory.slot
        self.my_claim = self.claimed // 4 + slot
        self.my_used = self.used // 4 + slot
        self.my_waiting = self.waiting // 4 + slot
        self.my_weight = self.weight // 4 + slot
        self.my_longest = self.longest // 4 + slot
        self.my_evict = self.evict // 4 + slot
        self.my_reserved = self.reserved // 8 + slot

    @property
    def held(self) -> int:
        """Permits in use, over all workers."""
        return sum(self.memory.u32s(self.used))

    @property
    def queued(self) -> int:
        """Requests that wait, over all workers."""
        return sum(self.memory.u32s(self.waiting))


def _file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("loopway-limits")
    with tempfile.TemporaryFile(prefix="loopway-limits") as file:
        return os.dup(file.fileno())


def supervisor_memory(workers: int, budgets: Path) -> Memory:
    """The memory for a supervisor: what it inherited from the one before it, or new; and named for the one after. What
    budgets have spent is in a file."""
    memory = None
    inherited = os.environ.get(VARIABLE, "")
    if inherited.isdigit():
        memory = Memory.inherit(int(inherited), Purses.kept(budgets, fresh=False))
    if memory is None:
        memory = Memory.create(workers, Purses.kept(budgets, fresh=not inherited))
    os.set_inheritable(memory.descriptor, True)
    os.environ[VARIABLE] = str(memory.descriptor)
    return memory
