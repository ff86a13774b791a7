"""Locks in memory that processes share, which the kernel opens again when their holder dies.

`RobustLocks` are the C library's own mutexes: shared between processes and robust. Taking one that is free costs a
fifth of a microsecond and no system call. What they guard is written so that a holder may die at any point and leave
it sound; so there is nothing to repair, only the lock to be marked as sound again. Where the platform has none (macOS),
`FileLocks` does the same with record locks, for ten times the price.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

SIZE = 64  # bytes kept for one lock; pthread_mutex_t takes 40 on x86-64, 48 on ARM

_SHARED = 1  # PTHREAD_PROCESS_SHARED and PTHREAD_MUTEX_ROBUST, in glibc and musl alike
_ROBUST = 1
_PATIENCE = 0.1  # seconds that a holder may be stopped before others do without it


class Locks(Protocol):
    """Locks by their offset in the shared memory. Held for a few microseconds and never across an await.

    For the shortest way of all, `take` and `drop` are plain functions of a lock's `address`: `take` gives 0 if it got
    the lock at once. Else what it gave must be handed to `insist`: it may be that the lock is ours, because the one who
    had it has died.
    """

    take: Callable[[int], int]
    drop: Callable[[int], object]

    def address(self, offset: int) -> int:
        """What `take` and `drop` know the lock by."""

    def insist(self, address: int, code: int) -> bool:
        """Goes on where `take` gave something else than 0: whether the lock is ours now; False after 0.1 s."""

    def prepare(self, offset: int) -> None:
        """Makes the memory there a lock. Once, before anybody else knows of it."""

    def acquire(self, offset: int) -> bool:
        """Takes the lock; False after 0.1 s, when its holder was stopped in the middle."""

    def release(self, offset: int) -> None:
        """Gives it back."""


class RobustLocks:
    """Mutexes of the C library. `base` is the address of the shared memory."""

    def __init__(self, base: int) -> None:
        """Raises OSError or AttributeError where there are no robust mutexes."""
        library = ctypes.PyDLL(None, use_errno=False)
        self._base = base
        self._attributes = ctypes.create_string_buffer(64)
        for name, *arguments in (("init",), ("setpshared", _SHARED), ("setrobust", _ROBUST)):
            if getattr(library, f"pthread_mutexattr_{name}")(self._attributes, *arguments):
                raise OSError(errno.ENOTSUP, "no robust mutexes")
        self._init = library.pthread_mutex_init
        # By the clock that nobody sets, where the C library can do that.
        clocked = getattr(library, "pthread_mutex_clocklock", None)
        self._clock = time.time if clocked is None else time.monotonic
        timed = library.pthread_mutex_timedlock
        self._timed: Callable[[int, object], int] = timed if clocked is None else partial(_by_monotonic, clocked)
        self._sound = library.pthread_mutex_consistent
        take, drop = library.pthread_mutex_trylock, library.pthread_mutex_unlock
        for function in (take, drop, self._sound):
            function.argtypes = [ctypes.c_void_p]
        self.take: Callable[[int], int] = take
        self.drop: Callable[[int], object] = drop
        self._init.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        timed.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        if clocked is not None:
            clocked.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]

    def prepare(self, offset: int) -> None:
        """See `Locks`."""
        self._init(self._base + offset, self._attributes)

    def acquire(self, offset: int) -> bool:
        """See `Locks`."""
        code = self.take(self._base + offset)
        return True if code == 0 else self.insist(self._base + offset, code)

    def address(self, offset: int) -> int:
        """See `Locks`."""
        return self._base + offset

    def insist(self, address: int, code: int) -> bool:
        """See `Locks`."""
        if code == errno.EBUSY:
            ends = self._clock() + _PATIENCE
            code = self._timed(address, (ctypes.c_long * 2)(int(ends), int(ends % 1 * 1e9)))
        if code == errno.EOWNERDEAD:
            self._sound(address)
            return True
        return bool(code == 0)

    def release(self, offset: int) -> None:
        """See `Locks`."""
        self.drop(self._base + offset)


def _by_monotonic(clocked: Callable[[int, int, object], int], address: int, ends: object) -> int:
    return clocked(address, time.CLOCK_MONOTONIC, ends)


class FileLocks:
    """Record locks on the file behind the memory."""

    _AREA = 1 << 40  # beyond every byte that is locked for another purpose

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.take: Callable[[int], int] = lambda offset: int(not self.acquire(offset))
        self.drop: Callable[[int], object] = self.release

    def address(self, offset: int) -> int:
        """See `Locks`."""
        return offset

    def insist(self, address: int, code: int) -> bool:
        """See `Locks`. `take` has been patient already."""
        return False

    def prepare(self, offset: int) -> None:
        """See `Locks`."""

    def acquire(self, offset: int) -> bool:
        """See `Locks`."""
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._AREA + offset)
                return True
            except OSError:
                if time.monotonic() > ends:
                    return False
                time.sleep(0.0001)

    def release(self, offset: int) -> None:
        """See `Locks`."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._AREA + offset)


def locks(base: int, descriptor: int) -> Locks:
    """The best there are here."""
    try:
        return RobustLocks(base)
    except (OSError, AttributeError):
        return FileLocks(descriptor)
