"""Watches for calls that wait on an event loop's thread: the interpreter itself tells of them, by its audit events.

Every gateway that a test starts as a program has this directory on its path, so Python imports this by its name and the
watch is there before anything else; what it sees goes to standard error, where `Gateway.stop` looks for it. For what
runs in a test's own process, `tests/conftest.py` installs it. Files are not among it, because small ones are read and
written on the loop by design (`tests/behaviour/test_blocking.py` says which).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SAYS = "waited on the event loop: "
_WAITING = frozenset(
    (
        "time.sleep", "subprocess.Popen", "os.system", "os.posix_spawn", "socket.getaddrinfo", "socket.gethostbyname",
        "socket.gethostbyaddr", "sqlite3.connect", "urllib.Request", "http.client.connect", "ftplib.connect",
        "smtplib.connect", "builtins.input",
    )
)  # fmt: skip
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
_OURS = tuple(os.path.join(_ROOT, name, "") for name in ("proxy", "adapters"))
_OTHERS = tuple(os.path.join(_ROOT, *name, "") for name in (("tests",), ("loadtests",), ("proxy", "mock")))


_STARTS = os.path.join("proxy", "workers.py")
"""Where a worker is made, before it accepts anybody: in `_serve`."""


def install(report: Callable[[str], None]) -> None:
    """From now on `report` is told of every such call that the gateway's code makes where an event loop runs."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WAITING:
            return
        events = sys.modules.get("asyncio.events")
        if events is None or events._get_running_loop() is None:
            return
        by = _caller(sys._getframe(1))
        if by is not None:
            report(f"{SAYS}{event} in {by}")

    def sleep(seconds: float) -> None:
        hook("time.sleep", ())
        really(seconds)

    really, time.sleep = time.sleep, sleep  # no event of CPython 3.11
    sys.addaudithook(hook)


def _caller(frame: FrameType | None) -> str | None:
    """The place in the gateway's code that made a call; None if a test did, a fake, or a worker that starts."""
    found = None
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_OTHERS) and name != __file__:
            return None
        if name.endswith(_STARTS) and frame.f_code.co_name == "_serve":
            return None
        if found is None and name.startswith(_OURS):
            found = f"{name[len(_ROOT) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return found


if __name__ == "sitecustomize":
    install(lambda what: print(what, file=sys.stderr, flush=True))
