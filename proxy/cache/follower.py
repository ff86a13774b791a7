"""One of those who wait for the same call, and the bytes that are kept for them.

A follower that reads slowly falls behind and catches up from what is kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapters import errors
from adapters.errors import UpstreamError
from adapters.types import Usage
from proxy.errors import UpstreamFailure
from proxy.exchange import Exchange
from proxy.outcome import Outcome

if TYPE_CHECKING:
    from proxy.cache.flight import Flight

_AT_ONCE = 1 << 16  # bytes written in one go to a follower that catches up


class Kept:
    """The chunks of an answer that somebody may still need, numbered from its first one on. `size` is in bytes."""

    __slots__ = ("_chunks", "_first", "size")

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []
        self._first = 0

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, data: bytes) -> None:
        """Keeps one more."""
        self._chunks.append(data)
        self.size += len(data)

    def after(self, at: int) -> tuple[bytes, int, bool]:
        """The bytes from a chunk on, a piece at most; the chunk after them; and whether nothing is kept after that."""
        index = at - self._first
        chunks = self._chunks
        if index == len(chunks) - 1:
            return chunks[index], at + 1, True
        taken: list[bytes] = []
        size = 0
        while index < len(chunks) and size < _AT_ONCE:
            taken.append(chunks[index])
            size += len(chunks[index])
            index += 1
        return b"".join(taken), self._first + index, index == len(chunks)

    def forget(self, before: int) -> None:
        """Lets go of the chunks before that one."""
        count = before - self._first
        self.size -= sum(map(len, self._chunks[:count]))
        del self._chunks[:count]
        self._first = before

    def whole(self) -> bytes:
        """All of it, if nothing was let go."""
        return b"".join(self._chunks)


class Follower:
    """One asker of a flight. Once `outcome` is there it is that outcome's relay: see `proxy.relay`."""

    __slots__ = ("_at", "_done", "_ending", "_flight", "_live", "_paused", "outcome", "x")
    fault: UpstreamError | None = None  # nothing went wrong that the call itself has not told

    def __init__(self, flight: Flight, x: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        self.x = x
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self._flight = flight
        self._done: asyncio.Future[None] = loop.create_future()
        self._at = 0
        self._live = False
        self._paused = False
        self._ending = False

    def __repr__(self) -> str:
        return f"Follower({self.x.request_id} at {self._at}{', paused' if self._paused else ''})"

    # -- a relay

    async def deliver(self, status: int, head: bytes) -> None:
        """Sends everything from the first byte on, and returns after the last."""
        x, flight = self.x, self._flight
        x.committed = True
        x.client.begin(status, head, flight.length)
        self._live = True
        x.client.feed_from(self)
        self.pump()
        try:
            await self._done
        except asyncio.CancelledError:
            await flight.leave(self)
            raise
        if flight.kind is not None:
            x.kind = flight.kind

    @property
    def usage(self) -> Usage | None:
        """What the call used, for the one asker whom it is counted for."""
        return self._flight.bill(self)

    # -- what its outcome holds

    def finish(self) -> None:
        """Whoever holds the outcome lets go of it."""
        self._flight.drop(self)

    # -- the client's side of the flow

    def pause(self) -> None:
        """The client reads slowly."""
        self._paused = True
        self._flight.balance()

    def resume(self) -> None:
        """It reads again."""
        self._paused = False
        self.pump()
        self._flight.balance()

    def cut(self, failure: UpstreamFailure) -> None:
        """Ends this follower's answer, and only its."""
        if self._done.done():
            return
        x = self.x
        x.kind = failure.kind
        x.client.hang_up()
        if self._flight.stream:
            x.client.write(errors.event(x.dialect.family, failure.kind, failure.message), end=True)
        else:
            x.client.abort()
        self._done.set_result(None)

    # -- the flight's side

    @property
    def slow(self) -> bool:
        """Whether it cannot take bytes now."""
        return self._paused and not self._done.done()

    @property
    def at(self) -> int:
        """The number of the chunk that it needs next."""
        return self._at

    def pump(self) -> None:
        """Writes what there is, as long as the client takes it."""
        flight, kept = self._flight, self._flight.kept
        while self._live and not self._paused and not self._ending:
            data, self._at, last = kept.after(self._at)
            last = last and flight.ended
            if not data and not last:
                return
            if last:
                self._ending = True
                if flight.kind is not None:
                    self.x.client.hang_up()
                if flight.aborted:
                    self.x.client.write(data)
                    self.x.client.abort()
                else:
                    self.x.client.write(data, end=True)
                flight.written(self)
                return
            self.x.client.write(data)

    def end(self) -> None:
        """Everything is written and the call's account is made up."""
        if not self._done.done():
            self._done.set_result(None)

    @property
    def written(self) -> bool:
        """Whether its last byte is written."""
        return self._ending
