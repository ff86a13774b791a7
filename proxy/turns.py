"""What is done in the very call that reads, and what waits for the end of the loop's turn."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any, Protocol

_CROWD = 32  # writes that wait at most, so that none waits long


class Writer(Protocol):
    """Who may write at the end of a turn."""

    unsent: bytes
    transport: asyncio.Transport | None


class Turns:
    """The turns of one loop, as those see them who read from its sockets.

    A future wakes its task in the loop's next turn: a handle, a turn, and the caches have gone elsewhere. `open` lets
    the task go on inside the call. That is quicker for what comes alone (a stream's first chunk: a tenth of a
    millisecond), and a tenth dearer for one of many: thirty requests that are read, and then served, and then answered
    leave each part's code in the processor's caches for the next. So only the first that comes in a turn goes on at
    once.

    So it is with the bytes of streams. Each `write` that finds its reader asleep wakes it, which costs more than the
    write; of thirty that follow each other closely, one or two do (two wake-ups in five less, over all).
    """

    __slots__ = ("_last", "_late", "_wrote", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._last = self._wrote = 0.0
        self._late: list[Writer] = []

    def first(self) -> bool:
        """Whether nobody has asked in this turn yet: who writes now, writes at once."""
        now = self.loop.time()
        last, self._wrote = self._wrote, now
        return now != last

    def later(self, writer: Writer) -> None:
        """Lets a writer write when what came with its bytes has been read."""
        late = self._late
        if not late:
            self.loop.call_soon(self._flush)
        late.append(writer)
        if len(late) == _CROWD:
            self._flush()

    def _flush(self) -> None:
        late, self._late = self._late, []
        for writer in late:
            data, writer.unsent = writer.unsent, b""
            transport = writer.transport
            if transport is not None:
                transport.write(data)

    def open(self, waiter: asyncio.Future[None]) -> None:
        """Fulfils a future, and returns once the one task that waits for it waits for something else: so it has to be
        the last thing that its caller does. In a crowd, and where a task runs already, the waiting one goes on in the
        loop's next turn. Nothing happens if the future is done."""
        if waiter.done():
            return
        now = self.loop.time()  # uvloop's clock stands still within a turn, and within a millisecond
        last, self._last = self._last, now
        if now != last and asyncio.current_task(self.loop) is None:
            waiting: list[tuple[Any, Context]] = waiter._callbacks or []
            if len(waiting) == 1:
                ((wake, context),) = waiting
                waiter.remove_done_callback(wake)
                waiter.set_result(None)
                context.run(wake, waiter)
                return
        waiter.set_result(None)
