"""The only way bytes reach an upstream.

aiohttp gives the connector (DNS, TLS, happy eyeballs, the pool) and the C response parser; between them stands a
connection of our own, `Upstream`, because three things must hold that `ClientSession` cannot promise:

- a pooled connection on which anything arrived while idle is never used again: those bytes would become the answer
  of the next tenant;
- an answer's bytes reach their reader in the loop turn in which they came, without a task in between;
- one coarse timer watches all connections, not one timer for each.

No redirects, no cookies, no decompression, no proxy variables: none of that machinery is here to be switched off.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import re
import select
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from math import inf
from time import monotonic
from typing import Any

import aiohttp
import msgspec
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import weakref_handle
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from adapters.errors import Kind
from proxy.address import BLOCKED, AddressPolicy
from proxy.errors import UpstreamFailure
from proxy.headers import NO_SHAPE, Shape, shape_of
from proxy.resolver import Resolver
from proxy.seams import Lines, Origin, Reply, Sink, Timeouts

_PARSE_LIMIT = 1 << 18  # above uvloop's largest read, so that one read never pauses the parser
_EMPTY_STATUS = frozenset((204, 304))
_WITH_BODY = frozenset(range(200, 600)) - _EMPTY_STATUS
_MAX_INFORMATIONAL = 8
_SWEEP = 0.05  # seconds between two looks at the deadlines; limits fire that much late at most
_AHEAD = 65536  # bytes of one read that may come before anybody takes them
_JOIN_BELOW = 65536  # below this, one joined write is cheaper than two buffers
_SOON = 0.001
_MAX_AGE = 300.0  # seconds a connection lives at most, so that a changed DNS record takes effect


class Upstream(ResponseHandler):
    """One connection. It serves one exchange at a time: `send`, head, body, `finish`."""

    # A thousand open streams are a thousand of these: slots and lists instead of a dict and deques are 3 KB for each.
    __slots__ = (
        "_body",
        "_busy",
        "_by_length",
        "_chunked",
        "_failure",
        "_first",
        "_flowing",
        "_have_head",
        "_head_waiter",
        "_idle",
        "_informational",
        "_poll",
        "_quick",
        "_sink",
        "_whole",
        "born",
        "deadline",
        "got_bytes",
        "key",
        "pool",
        "raw_headers",
        "shape",
        "status",
        "touched",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._buffer = _NO_MESSAGES  # aiohttp's queue of answers, which are taken straight from the parser here
        self.pool: GuardedConnector | None = None
        self.key: ConnectionKey | None = None
        self.born = monotonic()
        self.deadline = inf
        self.status = 0
        self.raw_headers: Lines = ()
        self.shape = NO_SHAPE
        self.got_bytes = False
        self.touched = False  # whether anything was read since the last sweep, which then moves the deadline
        self._busy = False
        self._have_head = False
        self._head_waiter: asyncio.Future[None] | None = None
        self._body: StreamReader | _Held = _NOTHING
        self._informational = 0
        self._sink: Sink | None = None
        self._failure: UpstreamFailure | None = None
        self._idle = 0.0
        self._chunked = False
        self._by_length = False
        self._first = b""  # the first read of an answer, until the second
        self._flowing = True
        self._poll: select.poll | None = None
        self._whole = False  # whether the answer came in one read, with a length
        self._quick = False  # whether the parser is shown heads only, see `_at_once`

    def __repr__(self) -> str:
        state = "IDLE" if not self._busy else "BODY" if self._have_head else "HEAD"
        return f"<Upstream {self.key.host if self.key else '?'} {state}>"

    # -- the exchange's side

    async def exchange(self, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> None:
        """Writes a request and returns when the head of the answer is here."""
        transport = self.transport
        assert transport is not None
        self._busy = True
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

    def _new_parser(self) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            _PARSE_LIMIT,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=128,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
            response_with_body=not self._quick,
        )

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

    @property
    def complete(self) -> bool:
        return self._have_head and self._body._eof

    @property
    def framed(self) -> bool:
        return self._chunked or self._by_length

    def take(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        return _all_of(self._body._buffer)

    async def gather(self, limit: int) -> bytes:
        if self.complete:
            data = self.take()
            if len(data) > limit:
                raise _too_large(limit)
            return data
        gather = _Gather(self._loop, limit)
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
        if not self._busy:
            return
        self._busy = False
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
            # tenant's. Else the next answer will probably come as this one did.
            self._parser = None
            self._quick = self._whole
        self._have_head = False
        self._body = _NOTHING
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

    @property
    def should_close(self) -> bool:
        return self._should_close or self._upgraded

    # -- the socket's side

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # Nobody asked: a 408 on an idle connection, or worse. It must not become anybody's answer.
            self._should_close = True
            self._abort()
            return
        self.touched = True
        if self.got_bytes:
            self._first = b""
        else:
            self.got_bytes = True
            self._first = data
            if self._quick and self._at_once(data):
                return
        parser = self._parser
        if parser is None:
            return
        try:
            messages, upgraded, _ = parser.feed_data(data)
        except HttpProcessingError:
            self._fail(Kind.BAD_UPSTREAM, "The provider's answer is not valid HTTP.")
            return
        if messages or upgraded:
            self._on_heads(messages, upgraded)
            if self._first and self._have_head:
                if self._body._eof:
                    self._whole = self.shape.lengths == 1
                elif self._chunked:
                    self._loop.call_later(_SOON, self._forget_head)  # not now: the first bytes are on their way
        sink = self._sink
        if sink is not None and self._have_head:
            body = self._body
            if len(body._buffer) == 1 and not body._eof and body._exception is None and self._failure is None:
                sink.data(body._buffer.pop(), False)
            else:
                self._drain()
        elif len(data) > _AHEAD and self._have_head and not self._body._eof:
            self.pause()  # until somebody takes it: one turn of the loop can bring megabytes

    def _at_once(self, data: bytes) -> bool:
        """Takes an answer that is all in one read: the parser sees its head only, and what follows is the body, if it
        is exactly as long as the head says. aiohttp's parser makes a `StreamReader` for every body, a seventh of all
        the Python that a whole answer costs here. Anything else: False, and a parser that takes it all."""
        end = data.find(b"\r\n\r\n") + 4
        parser = self._parser
        if end > 3 and parser is not None:
            messages: Sequence[tuple[RawResponseMessage, Any]] = ()
            try:
                messages, _, _ = parser.feed_data(data[:end])
            except HttpProcessingError:
                pass  # the other parser says the same
            if len(messages) == 1:
                message = messages[0][0]
                raw = message.raw_headers
                shape = shape_of(raw)
                at = shape.length_at
                if (
                    at >= 0
                    and raw[at][1] == b"%d" % (len(data) - end)
                    and message.code in _WITH_BODY
                    and message.version[0] == 1
                ):
                    self._whole = self._by_length = True
                    self._chunked = False
                    self._take_head(message, shape, _Held([data[end:]]))
                    return True
        self._quick = False
        self._parser = self._new_parser()
        return False

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp's reader asks for this at every read; without a pause there is nothing to do, and doing it all the
        same would run the parser twice for each read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _on_heads(self, messages: Any, upgraded: bool) -> None:
        message: RawResponseMessage
        for message, body in messages:
            if 100 <= message.code < 200:
                self._informational += 1
                if upgraded or message.code == 101 or self._informational > _MAX_INFORMATIONAL:
                    self._fail(Kind.BAD_UPSTREAM, "The provider switched protocols or sent no final answer.")
                    return
                continue
            if self._have_head:
                # A second answer to one request. The first one stands; the connection is poisoned.
                self._should_close = True
                return
            raw = message.raw_headers
            shape = shape_of(raw)
            empty = message.code in _EMPTY_STATUS
            self._chunked = message.chunked
            self._by_length = shape.lengths > 0 or empty
            if not 200 <= message.code < 600 or message.version[0] != 1:
                self._fail(Kind.BAD_UPSTREAM, "The provider's answer is not valid HTTP.")
                return
            if shape.lengths + shape.encodings > 1 or (shape.encodings and not _is_chunked(shape, raw)):
                self._fail(Kind.BAD_UPSTREAM, "The provider's answer has contradictory lengths.")
                return
            if empty or body is EMPTY_PAYLOAD:
                body = _NOTHING
            else:
                body.__class__ = _Arrived
                body._buffer = list(body._buffer)
                body._http_chunk_splits = None
            self._take_head(message, shape, body)

    def _take_head(self, message: RawResponseMessage, shape: Shape, body: StreamReader | _Held) -> None:
        if message.should_close:
            self._should_close = True
        self.status = message.code
        self.raw_headers = message.raw_headers
        self.shape = shape
        self._body = body
        self._have_head = True
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _forget_head(self) -> None:
        """Goes on with a fresh parser, if the first one stands between two chunks: if it was fed one read, and that
        ended with a chunk.

        aiohttp's parser keeps every header field until the next answer's head, which for an open stream is 6 KB that
        nobody reads. A fresh one, told only that chunks follow, keeps none.
        """
        data, self._first = self._first, b""
        if not data or self._parser is None or self._body._eof:
            return
        end_of_head = data.find(b"\r\n\r\n")
        if end_of_head < 0 or not _between_chunks(data, end_of_head + 4):
            return
        parser = self._new_parser()
        messages, _, _ = parser.feed_data(_CHUNKS_FOLLOW)
        body = messages[0][1]
        body.__class__ = _Arrived
        body._buffer = self._body._buffer
        body._http_chunk_splits = None
        self._body, self._parser = body, parser

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
            sink.data(_all_of(body._buffer), end)

    def connection_lost(self, exc: BaseException | None) -> None:
        parser, self._parser = self._parser, None
        if self._busy and self._failure is None and not self.complete:
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


def _is_chunked(shape: Shape, raw: Lines) -> bool:
    return (shape.value(raw, b"transfer-encoding") or b"").lower() == b"chunked"


_NO_MESSAGES: deque[Any] = deque()
_CHUNKS_FOLLOW = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")


def _between_chunks(data: bytes, at: int) -> bool:
    """Whether `data` is, from there on, whole chunks and nothing else."""
    while at < len(data):
        head = _CHUNK_HEAD.match(data, at)
        if head is None:
            return False
        at = head.end() + int(head[1], 16)
        if data[at : at + 2] != b"\r\n":
            return False
        at += 2
    return at == len(data)


class _Arrived(StreamReader):
    """What of a body has arrived and was not taken yet.

    aiohttp's parser makes a `StreamReader` for every body, with waiters, water marks and chunk offsets that nobody
    here uses: the connection's sink takes what a read brought in the same call, and pausing is ours. Of all that only
    the buffer stays. (Paced streams: 14 µs of Python for an event before, 8 µs after.)
    """

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        self._buffer.append(data)
        return False

    def feed_eof(self) -> None:
        self._eof = True

    def begin_http_chunk_receiving(self) -> None: ...

    def end_http_chunk_receiving(self) -> None: ...


class _Held(msgspec.Struct, eq=False, gc=False):
    """A body that came at once."""

    _buffer: Any  # a list of bytes
    _eof: bool = True
    _exception: BaseException | None = None


class _Nothing:
    """The body of an answer that has none. aiohttp's own lacks the attributes that are looked at here."""

    _eof = True
    _exception = None
    _buffer: deque[bytes] = deque()


_NOTHING: Any = _Nothing()


def _all_of(buffer: deque[bytes] | list[bytes]) -> bytes:
    if len(buffer) == 1:
        return buffer.pop()
    data = b"".join(buffer)
    buffer.clear()
    return data


class _Gather:
    """A sink that collects a body up to a limit."""

    __slots__ = ("_limit", "_parts", "_size", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.done: asyncio.Future[bytes] = loop.create_future()
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit

    def data(self, data: bytes, end: bool) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self.done.done():
            return
        if self._size > self._limit:
            self.done.set_exception(_too_large(self._limit))
        elif end:
            self.done.set_result(b"".join(self._parts))

    def fail(self, failure: UpstreamFailure) -> None:
        if not self.done.done():
            self.done.set_exception(failure)


def _too_large(limit: int) -> UpstreamFailure:
    return UpstreamFailure(Kind.BAD_UPSTREAM, f"The provider's answer is larger than {limit} bytes.", sent=True)


class GuardedConnector(TCPConnector):
    """aiohttp's connector and pool, with one more rule: what is not surely clean is not lent again."""

    def __init__(self, policy: AddressPolicy, keepalive: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            limit=0,
            keepalive_timeout=keepalive,
            ttl_dns_cache=60,
            socket_factory=functools.partial(_socket, policy),
            loop=loop,
        )
        self._resolver = Resolver(self._resolver)
        self._factory = functools.partial(Upstream, loop)  # type: ignore[assignment]
        self._keepalive = keepalive

    def lend(self, key: ConnectionKey) -> Upstream | None:
        """An idle connection, the one used last first, so that surplus ones age out. None: connect."""
        idle = self._conns.get(key)
        if not idle:
            return None
        now = monotonic()
        while idle:
            connection, since = idle.pop()
            assert isinstance(connection, Upstream)
            if now - since <= self._keepalive and now - connection.born <= _MAX_AGE and connection.usable():
                self._acquired.add(connection)
                return connection
            connection.abort()
        return None

    async def _get(self, key: ConnectionKey, traces: Any) -> Connection | None:
        """None: whoever connects has asked `lend` already, or must not have a used connection."""
        return None

    def give(self, key: ConnectionKey, connection: Upstream) -> None:
        """Takes a clean connection back."""
        self._acquired.discard(connection)
        self._conns[key].append((connection, monotonic()))
        if self._cleanup_handle is None:
            self._cleanup_handle = weakref_handle(self, "_cleanup", self._keepalive, self._loop)

    def drop(self, key: ConnectionKey, connection: Upstream) -> None:
        """Closes a connection that nobody may use again."""
        self._release_acquired(key, connection)
        if connection.transport is not None and not connection.transport.is_closing():
            _hang_up(connection.transport)
        connection.abort()

    def forget(self, key: ConnectionKey) -> None:
        """Closes all idle connections there: one of them has just proved stale."""
        for connection, _ in self._conns.pop(key, ()):
            connection.abort()


def _hang_up(transport: asyncio.BaseTransport) -> None:
    """Tells the peer now that it is over. An abort would tell it when the loop comes to it; by then the permit that
    this call held may be in use again, and the provider see one more in flight than it may."""
    plain = transport.get_extra_info("socket")
    if plain is None or plain.fileno() < 0:
        return
    borrowed = socket.socket(fileno=plain.fileno())
    try:
        borrowed.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was over already
    finally:
        borrowed.detach()


def _socket(policy: AddressPolicy, address: Any) -> socket.socket:
    family, kind, protocol, _, sockaddr = address
    policy.check(sockaddr[0])
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    # A stalled client must not let the kernel pull megabytes from a fast provider.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made


Handle = tuple[GuardedConnector, ClientRequest, ConnectionKey]


class HttpTransport:
    """The real `Transport`: pooled HTTP/1.1 over TCP and TLS, one per worker.

    Two connectors, two pools: hosts that an operator set may be private, hosts that a client named may not.
    """

    def __init__(
        self, operator: AddressPolicy, client: AddressPolicy, keepalive: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._operator = GuardedConnector(operator, keepalive, loop)
        self._client = GuardedConnector(client, keepalive, loop)
        self.active: set[Upstream] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, origin: Origin, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> Reply:
        pool, request, key = origin.handle or self.prepare(origin)
        # A body that is only passed on cannot be sent twice, so it never meets a connection that may be stale.
        connection = pool.lend(key) if isinstance(body, bytes) else None
        if connection is not None:
            try:
                self._watch(connection)
                await connection.exchange(head, body, timeouts)
                if connection.status != 408 or not connection.should_close:
                    return connection
                # The farewell of an idle connection, which crossed our request: not an answer to it.
                connection.finish()
            except UpstreamFailure as failure:
                # The provider closed the idle connection as we wrote: not one byte came back. Once more, afresh.
                if failure.kind is not Kind.UNREACHABLE:
                    raise
                pool.forget(key)
        connection = await self._connect(pool, request, timeouts)
        connection.pool, connection.key = pool, key
        self._watch(connection)
        await connection.exchange(head, body, timeouts)
        return connection

    @property
    def busy(self) -> int:
        """Connections with an exchange on them."""
        return sum(connection._busy for connection in self.active)

    @property
    def idle(self) -> int:
        """Connections that wait in the pools for their next exchange."""
        return sum(len(kept) for pool in (self._operator, self._client) for kept in pool._conns.values())

    def prepare(self, origin: Origin) -> Handle:
        """What connecting to an address needs, made once for each: its pool, and aiohttp's forms of it."""
        url = URL.build(scheme=origin.scheme, host=origin.host, port=origin.port)
        request = ClientRequest("POST", url, loop=self._loop)
        # aiohttp's key has a place for what a proxy is told; here it tells apart whose connections these are.
        key = request.connection_key._replace(proxy_headers_hash=origin.credential)
        handle = (self._client if origin.guarded else self._operator, request, key)
        origin.handle = handle
        return handle

    def _watch(self, connection: Upstream) -> None:
        self.active.add(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    async def _connect(self, pool: GuardedConnector, request: ClientRequest, timeouts: Timeouts) -> Upstream:
        try:
            lent = await pool.connect(
                request, [], ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect)
            )
        except TimeoutError as error:
            raise UpstreamFailure(Kind.TIMEOUT, "The provider could not be reached in time.", sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from error
        connection = lent.protocol
        assert isinstance(connection, Upstream)
        lent._protocol = None  # its bookkeeping is ours from here: Upstream.finish() gives back or drops
        return connection

    def _sweep(self) -> None:
        """Expires what is late and forgets what is idle: one timer for every connection of the worker."""
        now = self._loop.time()
        idle = []
        late = []
        for connection in self.active:
            if not connection._busy:
                idle.append(connection)
            elif connection.touched:
                connection.progress(now)
            elif connection.deadline < now:
                late.append(connection)
        self.active.difference_update(idle)
        for connection in late:
            connection.expire()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep) if self.active else None

    async def close(self) -> None:
        """Closes every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.active):
            connection.abort()
        await self._operator.close()
        await self._client.close()


_WHY = {
    errno.ECONNREFUSED: "nothing listens at its address and port",
    errno.EHOSTUNREACH: "there is no way to its host",
    errno.ENETUNREACH: "there is no way to its host",
}


def _unreachable(error: Exception) -> UpstreamFailure:
    blocked = _blocked(error)
    if blocked is not None:
        return blocked
    what = "connection failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = "its host name does not resolve"
    elif isinstance(error, aiohttp.ClientSSLError):
        what = "its certificate or TLS handshake was refused"
    elif isinstance(error, aiohttp.ClientConnectorError):
        what = _WHY.get(error.os_error.errno or 0, what)
    return UpstreamFailure(Kind.UNREACHABLE, f"The provider could not be reached: {what}.", sent=False)


def _blocked(error: BaseException | None) -> UpstreamFailure | None:
    for _ in range(8):
        if isinstance(error, PermissionError) and error.filename == BLOCKED:
            return UpstreamFailure(Kind.FORBIDDEN, "Invalid custom host: its address is not allowed.", sent=False)
        if error is None:
            break
        error = error.__cause__ or error.__context__
    return None
