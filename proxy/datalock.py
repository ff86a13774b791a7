"""Who a data directory belongs to: one gateway at a time, which is told by a lock on a file in it.

The lock is the supervisor's own: the kernel gives it back when that process ends, however it ends, and no worker holds
it. A program that takes over (SIGUSR2) takes the lock when the one before has let go of it, which is when that one
begins to end: whoever only lets its requests finish keeps nobody from starting.
"""

from __future__ import annotations

import fcntl
import os
import time
from errno import EACCES, EAGAIN
from pathlib import Path

from proxy.errors import StartupError

_PATIENCE, _LOOK_EVERY = 1.0, 0.05  # for one that is just about to end; seconds


class DataLock:
    """The lock of one data directory. Closing any other descriptor of its file would give it back: only this class
    opens it."""

    def __init__(self, data: Path) -> None:
        """Raises OSError where the directory cannot be written."""
        self._data = data
        self._descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.held = False

    def claim(self) -> None:
        """Takes the lock. Raises StartupError when another gateway has it."""
        until = time.monotonic() + _PATIENCE
        while not self.take():
            if time.monotonic() > until:
                holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StartupError(
                    f"another gateway (process {holder}) has the data directory {self._data}; stop it, replace it with"
                    f" kill -HUP or kill -USR2, or give this one another directory with --data or LOOPWAY_DATA"
                )
            time.sleep(_LOOK_EVERY)

    def take(self) -> bool:
        """Takes the lock if it is free; whether nobody else has it. Where the file system has no locks, nobody has."""
        if self.held:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (EACCES, EAGAIN)
        self.held = True
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass  # a full disk: then the other one cannot say whose it is
        return True

    def release(self) -> None:
        """Lets go of it."""
        if self.held:
            self.held = False
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
