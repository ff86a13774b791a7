"""`python -m proxy` and the `loopway` command."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_SERVES = ("serve", "demo")


def _end(number: int, frame: FrameType | None) -> None:
    """Told to stop while modules are still being loaded: nothing has begun."""
    os._exit(0)


def _ready_to_end() -> None:
    """A gateway that is told to stop ends with 0, from its first line of Python on: loading what it needs takes some
    tenths of a second, in which the system's own way of ending it would look like a crash. What asks for something that
    only a running gateway can do is not heard."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


if sys.argv[1:2] and sys.argv[1] in _SERVES:
    _ready_to_end()

from proxy.cli import main  # noqa: E402 - after the above, because it is what takes the time

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
