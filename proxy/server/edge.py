"""All client connections of a listener: who answers them, who watches them, and how they are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server  # not aiohttp.web, which is 0.5 MB more that nothing here uses

from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.server.door import Door
from proxy.turns import Turns

_SWEEP = 1.0  # seconds between two looks at the deadlines; limits fire that much late at most
_CUT_GRACE = 1.0
_PROMPTS = 1 << 20  # bytes of prompts that are looked at in one sweep, about 2.5 ms

Handle = Callable[[Exchange], Awaitable[None]]
Begin = Callable[[Door, RawRequestMessage, dict[bytes, bytes]], Exchange]
Turnstile = Callable[[Door, RawRequestMessage, dict[bytes, bytes], float], bytes | None]
"""Gives the whole answer to a request that is refused: of its connection, which has its body, its head, the fields that
are read, and the loop's time. None: it goes its usual way."""


class EdgeSettings:
    """Seconds and bytes that bound what one client may take."""

    __slots__ = ("body_timeout", "drain_idle", "header_timeout", "keepalive_timeout")

    def __init__(
        self,
        header_timeout: float = 10.0,
        body_timeout: float = 30.0,
        keepalive_timeout: float = 75.0,
        drain_idle: float = 5.0,
    ) -> None:
        self.header_timeout = header_timeout
        self.body_timeout = body_timeout
        self.keepalive_timeout = keepalive_timeout
        self.drain_idle = drain_idle


class Edge(Server):
    """All client connections of a worker. `begin` makes an exchange of a message, `handle` runs the pipeline."""

    def __init__(self, begin: Begin, handle: Handle, settings: EdgeSettings, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_never, handler_cancellation=True, loop=loop)
        self.begin = begin
        self.handle = handle
        self.settings = settings
        self.draining = False
        self.idle_time = settings.keepalive_timeout
        self.on_refused: Callable[[Refused, bytes], None] | None = None
        """Told of what is refused before it becomes an exchange, with the line of the trace id."""
        self.turnstile: Turnstile | None = None
        """Asked of each request before anything is made of it, while many are refused."""
        self.crowd: float = inf
        self.on_crowd: Callable[[], None] = _nobody
        """Told of each new connection while there are `crowd` of them or more."""
        self.loop = loop
        self.turns = Turns(loop)
        self._emptied: asyncio.Future[None] | None = None
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def __call__(self) -> RequestHandler:
        if len(self._connections) >= self.crowd:
            self.on_crowd()
        return Door(self, self.loop)

    @property
    def doors(self) -> list[Door]:
        """The open connections."""
        return [door for door in self.connections if isinstance(door, Door)]

    def _sweep(self) -> None:
        now = self.loop.time()
        room = _PROMPTS
        for door in self.doors:
            if door.deadline < now:
                door.expire()
            elif room > 0:
                room -= door.lighten()
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    def discourage(self) -> None:
        """From now on every answer says that its connection ends with it."""
        self.draining = True

    async def drain(self, timeout: float) -> None:
        """Lets requests in flight finish. When the time is over the rest is cut: streams with an error event in their
        dialect.

        A connection that has not been told so is not closed at once, even if it is idle: its client may be sending the
        next request just now, and would find nobody. It is told with that request's answer; only those that stay idle
        for `drain_idle` are closed.
        """
        self.draining = True
        self.idle_time = min(self.settings.drain_idle, self.idle_time)
        until = self.loop.time() + self.idle_time
        for door in self.doors:
            door.leave(until)
        await self._empty(timeout)
        for door in self.doors:
            door.cut()
        await self._empty(_CUT_GRACE)
        self._sweeper.cancel()
        for door in self.doors:
            door.abort()

    async def _empty(self, timeout: float) -> None:
        """Waits until no connection is left, or the time is over."""
        if not self.connections:
            return
        self._emptied = self.loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._emptied
        except TimeoutError:
            pass
        finally:
            self._emptied = None

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """A connection is gone."""
        # aiohttp keeps it in the list until its task has ended; drain waits for both, and the sockets are what counts.
        self._connections.pop(handler, None)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)


def _nobody() -> None:
    """Whom a crowd does not concern."""


async def _never(_: Any) -> StreamResponse:
    raise AssertionError("requests are served by the door itself")
