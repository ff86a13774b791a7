"""A connection to an upstream, and the exchange on it: a request goes out, its answer goes to whoever takes it."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from math import inf
from time import monotonic
from typing import Any, Protocol

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError

from adapters.errors import Kind
from proxy.errors import UpstreamFailure
from proxy.headers import NO_SHAPE
from proxy.seams import Sink, Timeouts
from proxy.transport.answer import Answer
from proxy.transport.body import NOTHING, Gather, all_of
from proxy.transport.failures import too_large
from proxy.turns import Turns

_AHEAD = 65536  # bytes of one read that may come before anybody takes them
_JOIN_BELOW = 65536  # below this, one joined write is cheaper than two buffers


class Pool(Protocol):
    """Where a connection goes when its exchange is over."""

    def give(self, key: ConnectionKey, connection: Upstream) -> None:
        """Takes a clean connection back."""

    def drop(self, key: ConnectionKey, connection: Upstream) -> None:
        """Closes a connection that nobody may use again."""


class Upstream(Answer):
    """One connection. It serves one exchange at a time: `send`, head, body, `finish`."""

    __slots__ = (
        "_failure",
        "_flowing",
        "_idle",
        "_poll",
        "_sink",
        "_turns",
        "born",
        "busy",
        "deadline",
        "got_bytes",
        "key",
        "pool",
        "touched",
    )

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns.loop)
        self._turns = turns
        self.pool: Pool | None = None
        self.key: ConnectionKey | None = None
        self.born = monotonic()
        self.deadline = inf
        self.got_bytes = False
        self.touched = False  # whether anything was read since the last sweep, which then moves the deadline
        self.busy = False
        self._sink: Sink | None = None
        self._failure: UpstreamFailure | None = None
        self._idle = 0.0
        self._flowing = True
        self._poll: select.poll | None = None

    def __repr__(self) -> str:
        state = "IDLE" if not self.busy else "BODY" if self._have_head else "HEAD"
        return f"<Upstream {self.key.host if self.key else '?'} {state}>"

    # -- the exchange's side

    async def exchange(self, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> None:
        """Writes a request and returns when the head of the answer is here."""
        transport = self.transport
        assert transport is not None
        self.busy = True
        self._have_head = self.got_bytes = self._whole = False
        self._informational = 0
        self._first = b""
        self._failure = None
        self._idle = timeouts.idle
        self.deadline = self._loop.time() + timeouts.first_byte
        if self._parser is None:
            self._parser = self._new_parser()
        try:
            if not isinstance(body, bytes):
                transport.write(head)
                await self._upload(body, timeouts)
            elif len(body) < _JOIN_BELOW:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            if self._failure is not None:
                raise self._failure
            if not self._have_head:
                waiter = self._head_waiter = self._loop.create_future()
                await waiter
                self._head_waiter = None
        except BaseException:
            # Cancelled, timed out, broken: whatever it was, this connection has half an exchange on it. Even when its
            # answer is complete, the rest of its request may be missing, and the next one would be taken for that.
            self._head_waiter = None
            self._should_close = True
            self.finish()
            raise

    async def _upload(self, pieces: AsyncIterator[bytes], timeouts: Timeouts) -> None:
        """Sends a body as it comes. An answer before its end (413, 401 …) ends it: the rest would go nowhere."""
        answered = self._head_waiter = self._loop.create_future()
        feeding = self._loop.create_task(self._feed(pieces))
        try:
            await asyncio.wait((feeding, answered), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()
                self.deadline = self._loop.time() + timeouts.first_byte
            else:
                self._should_close = True
        finally:
            self._head_waiter = None
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if answered.done():
                answered.exception()  # the failure it may carry is raised where the head is waited for

    async def _feed(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            if self._failure is not None or self.transport is None:
                return
            self.deadline = self._loop.time() + self._idle
            self.transport.write(piece)
            if self._paused:
                try:
                    await self._drain_helper()
                except ConnectionError:
                    return  # connection_lost has said so already, in our words

    def take(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        return all_of(self._body._buffer)

    async def gather(self, limit: int) -> bytes:
        if self.complete:
            data = self.take()
            if len(data) > limit:
                raise too_large(limit)
            return data
        gather = Gather(self._loop, limit)
        self.pour(gather)
        return await gather.done

    def pour(self, sink: Sink) -> None:
        if self._failure is not None:
            sink.fail(self._failure)
            return
        self.resume()
        self._sink = sink
        self._drain()

    def pause(self) -> None:
        if self._flowing and self.transport is not None:
            self._flowing = False
            self.deadline = inf
            self._pause_transport_reading()

    def resume(self) -> None:
        if not self._flowing:
            self._flowing = True
            self.deadline = self._loop.time() + self._idle
            self._resume_transport_reading()

    def cut(self, failure: UpstreamFailure) -> None:
        self._fail(failure.kind, failure.message)

    def finish(self) -> None:
        if not self.busy:
            return
        self.busy = False
        self._sink = None
        self.deadline = inf
        only, self._first = self._first, b""
        pool, key, transport = self.pool, self.key, self.transport
        assert pool is not None
        assert key is not None
        if (
            transport is None
            or self._failure is not None
            or self._should_close
            or self._body._buffer
            or transport.is_closing()
            # An early answer may come while the request is still on its way out: the next one must not follow it.
            or transport.get_write_buffer_size()
            or not ((only and self._quick and self._whole and self._flowing) or self._has_ended())
        ):
            pool.drop(key, self)
            return
        if self._chunked or self._quick != self._whole:
            # After chunks, aiohttp's parser takes a trailer for a header of the next answer, which may be another
            # tenant's. Else the next answer will probably come as this one did. Made now, while nobody waits for it.
            self._quick = self._whole
            self._parser = self._new_parser()
        self._have_head = False
        self._body = NOTHING
        self.raw_headers, self.shape = (), NO_SHAPE
        pool.give(key, self)

    def _has_ended(self) -> bool:
        """Whether the answer is complete, and the parser does not hold the beginning of a second one: it would become
        that of the next tenant."""
        parser = self._parser
        if parser is None or self._upgraded or not (self._have_head and self._body._eof and self._flowing):
            return False
        try:
            return parser.feed_eof() is None
        except (HttpProcessingError, aiohttp.ClientPayloadError):
            return False

    def usable(self) -> bool:
        """Whether it is open and nothing waits to be read, neither bytes nor an end. The loop may not have come to look
        yet."""
        transport = self.transport
        if transport is None or transport.is_closing() or self._should_close:
            return False
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    # -- the socket's side

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            # Nobody asked: a 408 on an idle connection, or worse. It must not become anybody's answer.
            self._should_close = True
            self._abort()
            return
        self.touched = True
        fault = ""
        try:
            if self.got_bytes:
                if self._first:
                    self._forget_head()
                parser = self._parser
                if parser is None:
                    return
                messages, upgraded, _ = parser.feed_data(data)
                if messages or upgraded:
                    fault = self._read_heads(messages, upgraded)
            else:
                self.got_bytes = True
                fault = self._read_first(data)
        except HttpProcessingError:
            fault = "The provider's answer is not valid HTTP."
        if fault:
            self._fail(Kind.BAD_UPSTREAM, fault)
            return
        sink = self._sink
        if sink is None:
            if self._have_head:
                self._tell(data)
            return
        body = self._body
        if len(body._buffer) == 1 and not body._eof and body._exception is None and self._failure is None:
            sink.data(body._buffer.pop(), False)
        else:
            self._drain()

    def _tell(self, data: bytes) -> None:
        """A read has brought the head, or more of a body that nobody has taken yet."""
        if len(data) > _AHEAD and not self._body._eof:
            self.pause()  # until somebody takes it: one turn of the loop can bring megabytes
        if self._head_waiter is not None:
            # Last, because the exchange goes on inside: it may end, and the next one begin here.
            self._turns.open(self._head_waiter)

    def _drain(self) -> None:
        """Hands the sink all that has arrived."""
        body, sink = self._body, self._sink
        if sink is None or self._failure is not None:
            return
        if body._exception is not None:
            self._fail(Kind.BAD_UPSTREAM, "The provider's answer broke off.")
            return
        end = body._eof
        if body._buffer or end:
            if end:
                self._sink = None
                self.deadline = inf
            sink.data(all_of(body._buffer), end)

    def connection_lost(self, exc: BaseException | None) -> None:
        parser, self._parser = self._parser, None
        if self.busy and self._failure is None and not self.complete:
            self._end_of_bytes(parser)
        super().connection_lost(exc)

    def _end_of_bytes(self, parser: Any) -> None:
        if not self._have_head:
            kind = Kind.BAD_UPSTREAM if self.got_bytes else Kind.UNREACHABLE
            self._fail(kind, "The provider closed the connection before it answered.")
            return
        try:
            if parser is not None:
                parser.feed_eof()
        except (HttpProcessingError, aiohttp.ClientPayloadError):
            self._fail(Kind.BAD_UPSTREAM, "The provider's answer broke off.")
            return
        if not self._body._eof:
            self._fail(Kind.BAD_UPSTREAM, "The provider's answer broke off.")
        elif self._sink is not None:
            self._drain()

    def progress(self, now: float) -> None:
        """Something was read since the last look: the time to the next read begins anew."""
        self.touched = False
        if self._flowing and self.deadline != inf:
            self.deadline = now + self._idle

    def expire(self) -> None:
        """The deadline has passed: called by the transport's one timer."""
        what = "sent no more data" if self._have_head else "did not answer"
        self._fail(Kind.TIMEOUT, f"The provider {what} in time.")

    def _fail(self, kind: Kind, message: str) -> None:
        if self._failure is not None:
            return
        failure = self._failure = UpstreamFailure(kind, message, sent=True)
        self.deadline = inf
        self._should_close = True
        sink, self._sink = self._sink, None
        self._abort()
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)
        elif sink is not None:
            sink.fail(failure)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
