"""The log level while running: one file in the run directory, which the supervisor and all workers follow.

What is in it wins over the configuration file's `logs.level`; without it, that holds. It goes with the supervisor.
"""

from __future__ import annotations

import logging
from pathlib import Path

LEVELS = ("debug", "info", "warning", "error")
_NAME = "log-level"
_log = logging.getLogger("loopway")


def choose(run: Path, level: str | None) -> None:
    """Sets the level of all workers; None: what the configuration file says. Raises OSError."""
    if level is None:
        (run / _NAME).unlink(missing_ok=True)
        return
    fresh = run / f"{_NAME}.new"
    fresh.write_text(level, encoding="ascii")
    fresh.replace(run / _NAME)


def chosen(run: Path) -> str | None:
    """What was chosen, if anything was."""
    try:
        level = (run / _NAME).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return level if level in LEVELS else None


def toggle(run: Path, configured: str) -> None:
    """Debug, or back to what the configuration file says."""
    choose(run, None if chosen(run) == "debug" else "debug")
    follow(run, configured)


def follow(run: Path, configured: str) -> None:
    """Makes this process log at the level that holds now; says so when that is another one than before."""
    level = chosen(run) or configured
    number = logging.getLevelNamesMapping()[level.upper()]
    if _log.level != number:
        _log.setLevel(min(number, logging.WARNING))
        _log.warning("logging at level %s", level)
        _log.setLevel(number)
