"""Counts bytecodes: what Python executes for a piece of work, the same on every machine and under any load."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

# The rig's own functions stand where the operating system would be.
_NOT_OURS = ("loadtests", "asyncio")


class Bytecodes:
    """A context in which every bytecode of Python code is counted, by module."""

    def __init__(self) -> None:
        self.by_module: Counter[str] = Counter()

    def __enter__(self) -> Bytecodes:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    @property
    def total(self) -> int:
        """All bytecodes but those of the rig and the event loop."""
        return sum(n for name, n in self.by_module.items() if not name.startswith(_NOT_OURS))

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.by_module[frame.f_globals.get("__name__", "?")] += 1
        return self._trace


async def bytecodes_of(work: Callable[[], Awaitable[object] | None], times: int = 10) -> float:
    """Bytecodes for one call of `work`: the median of several, after as many to warm up. Timers that come due in
    between, more of them on a busy machine, have no part in it."""
    for _ in range(times):
        found = work()
        if found is not None:
            await found
    each = []
    with Bytecodes() as counted:
        for _ in range(times):
            before = counted.total
            found = work()
            if found is not None:
                await found
            each.append(counted.total - before)
    return statistics.median(each)
