"""Any body that is no stream of events, on its way to the client as it comes.

Where nothing but the end of the connection, or of an array, says that it is all, the body is asked whether it is.
"""

from __future__ import annotations

import asyncio

from adapters import answers, closing
from adapters.errors import Kind, UpstreamError
from adapters.observe import Tap, tap
from adapters.types import Dialect, Usage
from proxy.errors import UpstreamFailure
from proxy.exchange import Exchange
from proxy.relay import ENOUGH
from proxy.seams import Reply


class Body:
    """Any other verbatim body, relayed as it comes. First `prime` until there is something to send; then `deliver`."""

    __slots__ = ("_ended", "_failure", "_live", "_loop", "_ready", "_reply", "_tap", "_waiter", "_x", "fault")

    def __init__(self, x: Exchange, reply: Reply, loop: asyncio.AbstractEventLoop, counts: Tap | None = None) -> None:
        self._x = x
        self._reply = reply
        self._loop = loop
        self._tap = tap(x.dialect) if counts is None else counts
        self._ready = b""
        self._live = False
        self._ended = False
        self._failure: UpstreamFailure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.fault: UpstreamError | None = None

    async def prime(self) -> None:
        """Waits for the first bytes, or if they begin an error for all of it. Raises UpstreamFailure when the body has
        broken off by then."""
        self._reply.pour(self)
        if not self._ready and not self._ended:
            await self._wait()
        while self._may_fail():
            await self._wait()
        if self._failure is not None:
            raise self._failure

    def _may_fail(self) -> bool:
        return not self._ended and len(self._ready) < ENOUGH and answers.begins_error(self._x.dialect, self._ready)

    def wrong(self) -> UpstreamError | None:
        """What is wrong with an answer of an inference dialect, as far as it is here."""
        reply = self._reply
        if reply.status != 200 or reply.shape.value(reply.raw_headers, b"content-encoding") is not None:
            return None
        return answers.failure(self._x.dialect, self._ready, whole=self._ended)

    async def deliver(self, status: int, head: bytes) -> None:
        """Sends head and body, and returns after the last byte. A body that breaks off cuts the client's connection:
        nothing else tells it that what it has is not all."""
        x, client = self._x, self._x.client
        x.committed = True
        length = self._reply.shape.value(self._reply.raw_headers, b"content-length")
        client.begin(status, head, None if length is None else int(length))
        self._live = True
        ready, self._ready = self._ready, b""
        client.write(ready, self._ended and self._failure is None)
        if self._failure is not None:
            self._cut(self._failure)
        elif not self._ended:
            self._reply.resume()
            client.feed_from(self._reply)
            await self._wait()
        if self.fault is not None:
            x.kind = self.fault.kind

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    @property
    def usage(self) -> Usage | None:
        """What the provider counted, if the end of the body says so."""
        return self._tap.usage()

    def data(self, data: bytes, end: bool) -> None:
        """Takes bytes from upstream."""
        self._tap.feed(data)
        short = end and self._is_short()
        self._ended = end
        if self._live:
            self._x.client.write(data, end and not short)
        else:
            self._ready += data
            if len(self._ready) > ENOUGH and not end:
                self._reply.pause()
        if short:
            self.fail(UpstreamFailure(Kind.BAD_UPSTREAM, "The provider's answer broke off.", sent=True))
        elif end or not self._live:
            self._wake()

    def _is_short(self) -> bool:
        """Whether a body that its connection's end or an array ends is JSON and stops before its own. Notes the
        provider's error where that is an array's last item."""
        reply, tap = self._reply, self._tap
        if self._x.dialect is Dialect.GEMINI_STREAM_ARRAY:
            self.fault = closing.item(self._x.dialect, tap)
            return not closing.ends_array(tap.tail()) or not (tap.finished() or self.fault is not None)
        if reply.framed:
            return False
        kind = reply.shape.value(reply.raw_headers, b"content-type") or b""
        if kind[:16] != b"application/json" or reply.shape.value(reply.raw_headers, b"content-encoding") is not None:
            return False
        return tap.tail().rstrip()[-1:] not in (b"}", b"]", b"")

    def fail(self, failure: UpstreamFailure) -> None:
        """The upstream broke off."""
        self._ended = True
        self._failure = failure
        # Whoever waits is woken before the cut cancels it: this is the provider's end, not the client's.
        self._wake()
        if self._live:
            self._cut(failure)

    def _cut(self, failure: UpstreamFailure) -> None:
        self._x.kind = failure.kind
        self.fault = failure.fault
        self._x.client.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
