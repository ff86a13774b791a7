"""A future whose waiter goes on in the very call that fulfils it, where nothing else waits for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any


class Turns:
    """Tells what comes alone from what comes in crowds."""

    __slots__ = ("_last", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._last = 0.0

    def alone(self) -> bool:
        """Whether nobody else has asked in this turn of the loop, or in this millisecond: uvloop's clock stands still
        within both."""
        now = self.loop.time()
        last, self._last = self._last, now
        return now != last


class Latch(asyncio.Future[None]):
    """What one task awaits, and whoever reads from a socket `open`s.

    An ordinary future wakes its task in the loop's next turn: a handle, a turn, and the caches have gone elsewhere.
    Here the task goes on inside `open`, so it has to be the last thing that its caller does. The seam is the one that
    asyncio has for futures of other makes: a task leaves its wake-up with `add_done_callback`.

    That is quicker for a request that comes alone (a stream's first chunk: a tenth of a millisecond), and a tenth dearer
    for one of many: thirty that are read, and then served, and then answered leave each part's code in the processor's
    caches for the next. So what comes in crowds waits for the next turn after all.
    """

    __slots__ = ("_context", "_turns", "_wake")

    def __init__(self, turns: Turns) -> None:
        super().__init__(loop=turns.loop)
        self._turns = turns
        self._wake: Callable[[Latch], object] | None = None

    def add_done_callback(self, fn: Callable[[Latch], object], /, *, context: Context | None = None) -> None:
        """Keeps the waiting task's wake-up; what else is to be told is told as by any future."""
        if self._wake is None and context is not None and not self.done():
            self._wake = fn
            self._context = context
        else:
            super().add_done_callback(fn, context=context)

    def open(self) -> None:
        """Fulfils the future, and returns once its task waits for something else. In a crowd, and where a task runs
        already, it goes on in the loop's next turn. Nothing happens if it is done."""
        if self.done():
            return
        super().set_result(None)
        wake = self._wake
        if wake is None:
            return
        if self._turns.alone() and asyncio.current_task(self._loop) is None:
            self._context.run(wake, self)
        else:
            self._loop.call_soon(wake, self, context=self._context)

    def set_result(self, result: None) -> None:
        """As a future's: the task goes on in the next turn."""
        super().set_result(result)
        self._soon()

    def set_exception(self, exception: type | BaseException) -> None:
        """As a future's: the task goes on in the next turn."""
        super().set_exception(exception)
        self._soon()

    def cancel(self, msg: Any = None) -> bool:
        """As a future's: the task goes on in the next turn."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._soon()
        return cancelled

    def _soon(self) -> None:
        if self._wake is not None:
            self._loop.call_soon(self._wake, self, context=self._context)
