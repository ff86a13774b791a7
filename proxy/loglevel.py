"""The log level while running: one file in the run directory, which the supervisor and all workers follow.

What is in it wins over the configuration file's `logs.level`, until its time is over where it has one; without it, that
holds. It goes with the supervisor.
"""

from __future__ import annotations

import logging
from pathlib import Path
from time import time

import msgspec

LEVELS = ("debug", "info", "warning", "error")
_NAME = "log-level"
_log = logging.getLogger("loopway")


class Chosen(msgspec.Struct, frozen=True):
    """A level that somebody chose while the gateway ran. `until` is Unix seconds; None: until another one is chosen."""

    level: str
    until: float | None = None


def choose(run: Path, chosen: Chosen | None) -> None:
    """Sets the level of all workers; None: what the configuration file says. Raises OSError."""
    if chosen is None:
        (run / _NAME).unlink(missing_ok=True)
        return
    fresh = run / f"{_NAME}.new"
    fresh.write_bytes(msgspec.json.encode(chosen))
    fresh.replace(run / _NAME)


def chosen(run: Path) -> Chosen | None:
    """What was chosen, if anything was and still holds."""
    try:
        found = msgspec.json.decode((run / _NAME).read_bytes(), type=Chosen)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None
    if found.level not in LEVELS or (found.until is not None and found.until <= time()):
        return None
    return found


def toggle(run: Path, configured: str) -> None:
    """Debug, or back to what the configuration file says."""
    now = chosen(run)
    choose(run, None if now is not None and now.level == "debug" else Chosen("debug"))
    follow(run, configured)


def follow(run: Path, configured: str) -> None:
    """Makes this process log at the level that holds now; says so when that is another one than before."""
    now = chosen(run)
    level = configured if now is None else now.level
    number = logging.getLevelNamesMapping()[level.upper()]
    if _log.level != number:
        _log.setLevel(min(number, logging.WARNING))
        _log.warning("logging at level %s", level)
        _log.setLevel(number)
