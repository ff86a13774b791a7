"""What every machine over a stream of events does alike: it never raises, stops at the first error, and calls a stream
without its end marker cut short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Raw

from adapters.errors import TRAITS, Kind, UpstreamError
from adapters.framing.sse import Event, Events
from adapters.types import Usage
from adapters.unsaid import Look
from adapters.values import UNREADABLE


class Framing(Protocol):
    """Cuts a byte stream into events, however it was cut before."""

    overflow: bool
    """Whether the stream cannot be read any further; `fault` says why."""

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are held."""

    @property
    def fault(self) -> str:
        """What is wrong with the stream."""

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes; returns the events they complete, in order."""

    def close(self) -> list[Event]:
        """What is left at the end."""


class Machine:
    """A stream decoder without its dialect. A subclass gives `_take`, and sets `_over` when the end marker came.

    See `adapters.types.StreamDecoder` for the promises.
    """

    __slots__ = ("_events", "_over", "error", "unsaid", "usage")

    framing: Callable[[], Framing] = Events
    """What cuts the stream into events."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None
        self.unsaid: tuple[str, ...] = ()
        self._events = type(self).framing()
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes from upstream; returns what they complete. Never raises, see `error`."""
        if self._over:
            return b""
        out: list[bytes] = []
        events = self._events
        try:
            self._take(events.feed(data), out)
        except UNREADABLE:
            self._fail("The provider sent an event that is not of its dialect.")
        if events.overflow:
            self._fail(events.fault)
        return b"".join(out)

    def close(self) -> bytes:
        """The upstream ended; returns the rest. Sets `error` when nothing proves the answer whole."""
        if self._over:
            return b""
        out: list[bytes] = []
        try:
            self._take(self._events.close(), out)
            if self._is_whole():
                self._complete(out)
        except UNREADABLE:
            # Half an event: the stream was cut, which is said below.
            pass
        self._fail("The upstream ended the stream early.")
        return b"".join(out)

    def _is_whole(self) -> bool:
        """Whether something else than the dialect's end marker, which never came, proves the answer whole."""
        return False

    def _complete(self, out: list[bytes]) -> None:
        """Tells the end of such an answer."""

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        """Translates events into `out`, stopping once `_over`. May raise what msgspec raises for junk."""
        raise NotImplementedError

    def _heed(self, look: Look | None, data: bytes | Raw) -> None:
        """Looks at an event for what the client is not told. Not for words: they are many, and have nothing else."""
        if look is not None:
            self._leave(*look(data))

    def _leave(self, *names: str) -> None:
        """Names what the client is not told."""
        if names:
            self.unsaid = tuple(dict.fromkeys((*self.unsaid, *names)))

    def _fail(self, message: str) -> None:
        """Ends the stream with an error, unless it is over already."""
        self._end(UpstreamError(Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status, message))

    def _end(self, error: UpstreamError | None = None) -> None:
        if not self._over:
            self._over = True
            self.error = error
