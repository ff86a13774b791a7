"""An alarm that rings on time.

uvloop's timers count whole milliseconds, more than a good gateway adds to a request. On Linux a timerfd rings to the
microsecond; elsewhere the loop's own timer has to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o2004000
_ABSOLUTE = 1


class Alarm:
    """Calls `ring()` at an absolute time of `time.monotonic()`; setting it again moves it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._spec = (ctypes.c_long * 4)()  # interval (s, ns), first expiry (s, ns)

    def set(self, at: float) -> None:
        """Ring at `at` seconds; a time in the past rings at once."""
        if self._libc is not None:
            if self._fd < 0:
                self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
                self._loop.add_reader(self._fd, self._expired)
            nanoseconds = max(1, int(at * 1e9))
            self._spec[2], self._spec[3] = divmod(nanoseconds, 1_000_000_000)
            self._libc.timerfd_settime(self._fd, _ABSOLUTE, self._spec, None)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._ring)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # moved between ringing and now
            return
        self._ring()
