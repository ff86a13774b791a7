"""The edge: client connections, from bytes to an `Exchange` and back.

A `Door` is aiohttp's `RequestHandler` without its request and response objects: it keeps the C parser, its limits and
the handler's cancellation when the client leaves, and runs the pipeline in the connection's own task, straight from
the parsed message. aiohttp's objects are the dearest part of a tuned proxy, about a third of a request.

Before anything else each message passes one strict check. What two programs might read differently is refused here:
framing, Host, versions, upgrades, a second request before the first is answered.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from math import inf
from typing import Any

from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import HttpRequestParser, HttpVersion, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server  # not aiohttp.web, which is 0.5 MB more that nothing here uses

from adapters import errors
from adapters.errors import Kind
from proxy import headers
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.seams import Flow

_READ_LIMIT = 1 << 18
_HEAD_LIMIT = 65536
_LINE_LIMIT = 8190
_FIELD_LIMIT = 32768
_HEADERS = 100
_PIPELINED = 2  # requests that are parsed before the first is served; the second one is never answered
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
# What might be another path to another reader: empty and dot segments in any spelling, escapes that are none or stand
# for a control character, and everything that must not stand in a target at all.
_BAD_PATH = re.compile(
    r"(?:/|%2[fF]){2}|(?:/|%2[fF])\.\.?(?:/|;|%2[fF]|$)|%(?![0-9A-Fa-f]{2})|%(?:2[eE]|5[cC]|[01][0-9A-Fa-f]|7[fF])"
    r"|[^\x21\x22\x24-\x5b\x5d-\x7e]"
)
_BAD_QUERY = re.compile(r"[^\x21\x22\x24-\x7e]")
_SWEEP = 1.0  # seconds between two looks at the deadlines; limits fire that much late at most
_LINGER = 2.0
_CUT_GRACE = 1.0
_SEND_STALL = 60.0
_MIN_RATE = 1024  # bytes a second that a request body must bring, after a grace of ten seconds
_RATE_GRACE = 10.0

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} {_PHRASES.get(code, 'Status')}\r\n".encode() for code in range(200, 600)
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Handle = Callable[[Exchange], Awaitable[None]]
Begin = Callable[["Door", RawRequestMessage, dict[bytes, bytes]], Exchange]


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
        self.loop = loop
        self._emptied: asyncio.Future[None] | None = None
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def __call__(self) -> RequestHandler:
        return Door(self, self.loop)

    @property
    def doors(self) -> list[Door]:
        """The open connections."""
        return [door for door in self.connections if isinstance(door, Door)]

    def _sweep(self) -> None:
        now = self.loop.time()
        for door in self.doors:
            if door.deadline < now:
                door.expire()
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


async def _never(_: Any) -> StreamResponse:
    raise AssertionError("requests are served by the door itself")


class Door(RequestHandler):
    """One client connection, one request at a time. Implements `proxy.seams.Client` for the exchange in it."""

    __slots__ = (
        "_body_began",
        "_body_bytes",
        "_chunking",
        "_declared",
        "_edge",
        "_expects",
        "_fed",
        "_head",
        "_head_only",
        "_held",
        "_host",
        "_keep",
        "_linger",
        "_link",
        "_path",
        "_payload",
        "_pipelined",
        "_quick",
        "_reading_head",
        "_serving",
        "_source",
        "_started",
        "_version",
        "_whole",
        "deadline",
        "exchange",
        "trace",
    )

    _messages: list[Any]  # type: ignore[assignment] # a deque would be 700 bytes for each connection

    def __init__(self, edge: Edge, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            edge,
            loop=loop,
            keepalive_timeout=0,  # the edge's one timer closes idle connections
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=_LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_HEADERS,
            read_bufsize=_READ_LIMIT,
        )
        self._edge = edge
        self._messages = []
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._path = ""  # the address of the last request, which was in order
        self._host: bytes | None = None
        self._held = b""  # a body that came at once, not yet taken
        self._whole = False  # whether the last request came in one read
        self._quick = False  # whether the parser is shown heads only, see `_parse`
        self._source: Flow | None = None
        self._serving = False
        self._keep = True
        self._pipelined = False
        self._reading_head = False
        self._started = False
        self._chunking = False
        self._declared: bytes | None = None
        self._head = b""
        self._head_only = False
        self._expects = False
        self._linger = False
        self._link: asyncio.Transport | None = None
        self._fed = 0  # bytes read since the last request: as long as they are few, so are its headers
        self._version = HttpVersion11
        self._body_bytes = 0
        self._body_began = 0.0
        self.exchange: Exchange | None = None
        """What is under way on this connection."""
        self.deadline = loop.time() + edge.settings.header_timeout
        self.trace = b""

    def __repr__(self) -> str:
        return f"<Door {'serving' if self._serving else 'idle'}>"

    # -- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link = self.transport  # aiohttp forgets it on closing; a reader that stalls must still be cut
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            # A stalled reader costs kernel memory that no RSS shows: autotuning would grow it to megabytes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)

    def data_received(self, data: bytes) -> None:
        if self._force_close or self._close or self._linger:
            return
        if data and self._serving and self._payload.is_eof():
            # A second request before the first is answered. It is never read: the connection ends with this answer,
            # and until then its reads go on, so that the client's leaving is noticed.
            self._pipelined = True
            self._close = True
            return
        if self._parser is None:
            return
        try:
            messages, upgraded = self._parse(data)
        except HttpProcessingError as error:
            self._unreadable(error)
            return
        if not self._serving:
            self._fed += len(data)
        if messages:
            self._messages.extend(messages)
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        elif not self._serving and not self._reading_head:
            self._reading_head = True
            self.deadline = self._loop.time() + self._edge.settings.header_timeout
        if upgraded:
            self._close = True

    def _parse(self, data: bytes) -> tuple[Sequence[Any], bool]:
        """What bytes come to: messages with their bodies, and whether they ask for another protocol.

        Where the last request came in one read, so does the next one, as a rule: then the parser is shown its head
        only, and what follows is its body, if it is exactly as long as the head says. (For every body aiohttp's parser
        makes a `StreamReader`, a tenth of all the Python that a request costs here.) If it is not, a parser that takes
        bodies begins anew.
        """
        if self._whole and not self._serving and not self._messages:
            if not self._quick:
                self._quick = True
                self._parser = self._new_parser()
            end = data.find(b"\r\n\r\n") + 4
            found = self._at_once(data, end) if end > 3 else None
            if found is not None:
                return ((found, data[end:]),), False
        if self._quick:
            self._quick = False
            self._parser = self._new_parser()
        assert self._parser is not None
        messages, upgraded, _ = self._parser.feed_data(data)
        self._whole = len(messages) == 1 and messages[0][1].is_eof() and not upgraded and not messages[0][0].chunked
        return messages, upgraded

    def _at_once(self, data: bytes, end: int) -> RawRequestMessage | None:
        """The one message in `data`, if its body is what follows its head's `end`."""
        assert self._parser is not None
        try:
            messages, upgraded, _ = self._parser.feed_data(data[:end])
        except HttpProcessingError:
            return None  # the other parser says the same
        if len(messages) != 1 or upgraded:
            return None
        message: RawRequestMessage = messages[0][0]
        length = message.headers.get(CONTENT_LENGTH, "0")
        if message.chunked or not length.isdigit() or int(length) != len(data) - end:
            return None
        return message

    def _new_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            _READ_LIMIT,
            max_line_size=_LINE_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_HEADERS,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=0 if self._quick else _PIPELINED,
            response_with_body=not self._quick,
        )

    def _unreadable(self, error: HttpProcessingError) -> None:
        if self._serving or self._messages:
            self._close = True
            payload = self._payload if self._serving else self._messages[-1][1]
            if isinstance(payload, StreamReader) and not payload.is_eof() and payload.exception() is None:
                payload.set_exception(_bad_body())
            return
        too_long = isinstance(error, LineTooLong)
        status = 431 if too_long else 400
        what = "The request's line or a header is too long." if too_long else "The request is not valid HTTP/1.1."
        self._refuse(Refused(Kind.INVALID_REQUEST, what, status=status, close=True))
        self._close = True
        if self._waiter is not None:
            self._waiter.cancel()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """As in the transport: aiohttp's reader asks at every read, mostly for nothing."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline = self._loop.time() + _SEND_STALL
        if self._source is not None:
            self._source.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._linger:
            self.deadline = inf if self._serving else self._loop.time() + self._edge.idle_time
        if self._source is not None:
            self._source.resume()

    # -- the connection's life

    async def start(self) -> None:
        """Serves one request after the other until one of both sides wants no more."""
        loop = self._loop
        try:
            while not self._force_close:
                if not self._messages:
                    if self._close:
                        break
                    self._waiter = loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                if not self._quick and self._parser is not None:
                    self._parser.message_consumed()
                self._reading_head = False
                self.deadline = inf
                self._serving = True
                try:
                    x = self._next()
                    if x is not None:
                        self.exchange = x
                        await self._edge.handle(x)
                        if not self._payload.is_eof():
                            self._keep = False
                finally:
                    x = self.exchange = None
                    self._serving = False
                    self._source = None
                    self._held = b""
                    self._fed = 0
                if not self._keep or self._close or self._pipelined:
                    break
                self.deadline = loop.time() + self._edge.idle_time
            await self._close_kindly()
        finally:
            self._task_handler = None
            self.force_close()

    def _next(self) -> Exchange | None:
        """The next message as an exchange; None if it was refused. A plain function, so that a stream that is served
        for an hour does not hold the message all that time."""
        message, payload = self._messages.pop(0)
        if isinstance(payload, bytes):
            self._held, self._payload = payload, EMPTY_PAYLOAD
        else:
            self._payload = payload
        assert isinstance(message, RawRequestMessage)
        self._pipelined = bool(self._messages)
        self._started = self._chunking = self._expects = self._linger = False
        self._version = message.version
        # aiohttp's parser takes a trailer for a header of the next message: after chunks there is none.
        self._keep = not (message.should_close or message.chunked)
        self._head_only = message.method == "HEAD"
        self.trace = b""
        try:
            found = headers.read(message.raw_headers)
            check(message, found)
            host, path = found.get(b"host"), message.path
            if path != self._path or host != self._host or host is None:
                check_address(path, host, message.version)
                self._path, self._host = path, host
            if self._fed > _HEAD_LIMIT:
                _check_size(message)
            self._declared = found.get(b"content-length")
            self._expects = b"expect" in found and message.version == HttpVersion11
            return self._edge.begin(self, message, found)
        except Refused as refused:
            self._refuse(refused)
            self._keep = False
            return None

    async def _close_kindly(self) -> None:
        """Closing with unread input resets the connection, and the client may lose the answer just written. So the
        answer's end is told first, and what still comes is thrown away for a moment."""
        transport = self.transport
        if transport is None or (self._payload.is_eof() and not self._pipelined and not self._linger):
            return
        self._linger = True
        self.deadline = self._loop.time() + _LINGER
        if transport.can_write_eof():
            transport.write_eof()
        if self._payload.exception() is None and not self._payload.is_eof():
            self._payload.set_exception(_bad_body())
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def expire(self) -> None:
        """The deadline has passed: called by the edge's one timer."""
        self.deadline = inf
        if self._paused or self._link is None or self._link.is_closing():
            # Closing waits for what is buffered, and so for a reader that never reads.
            self.abort()
        elif self._serving and not self._linger:
            if self._payload.exception() is None and not self._payload.is_eof():
                self._payload.set_exception(
                    Refused(Kind.TIMEOUT, "The request's body did not arrive in time.", status=408, close=True)
                )
        else:
            self.force_close()

    def force_close(self) -> None:
        """Closes once everything is written, and reads no more."""
        super().force_close()
        self.deadline = self._loop.time() + _SEND_STALL

    def leave(self, until: float) -> None:
        """The worker is draining: whoever is idle until then, is closed. What is being sent or served is not idle."""
        if not self._serving and not self._messages and not self._reading_head:
            self.deadline = min(self.deadline, until)

    def cut(self) -> None:
        """The drain's time is over."""
        source = self._source
        if source is not None:
            source.cut(UpstreamFailure(Kind.OVERLOADED, "The gateway is shutting down.", sent=True))
        elif self._task_handler is not None:
            self._task_handler.cancel()

    # -- the exchange's side: proxy.seams.Client

    def arrived(self, limit: int) -> bytes | None:
        """The request's whole body, if it is here."""
        data = self._held
        if data:
            self._held = b""
        else:
            payload = self._payload
            if not payload.is_eof():
                return None
            data = payload.read_nowait(-1)
        if len(data) > limit:
            raise _too_large(limit)
        self._payload = EMPTY_PAYLOAD  # its reader is not needed for the hour that the answer may take
        return data

    async def body(self, limit: int) -> bytes:
        """The request's whole body, bounded in size and time."""
        data = self.arrived(limit)
        if data is not None:
            return data
        if self._declared is not None and int(self._declared) > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise _too_large(limit)
        self._payload = EMPTY_PAYLOAD
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives."""
        payload = self._payload
        if self._held:
            data, self._held = self._held, b""
            yield data
            return
        if self._expects and not payload.is_eof() and self.transport is not None:
            self.transport.write(_CONTINUE)
            self._expects = False
        self._body_began = self._loop.time()
        self._body_bytes = 0
        try:
            while True:
                now = self._loop.time()
                elapsed = now - self._body_began
                if elapsed > _RATE_GRACE and self._body_bytes < _MIN_RATE * (elapsed - _RATE_GRACE):
                    raise Refused(Kind.TIMEOUT, "The request's body comes too slowly.", status=408, close=True)
                self.deadline = now + self._edge.settings.body_timeout
                part = await payload.readany()
                if not part:
                    return
                self._body_bytes += len(part)
                yield part
        finally:
            # An iteration left early ends whenever its last reference goes: maybe when the connection lingers already.
            if not self._linger:
                self.deadline = inf

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer in one write."""
        self._started = True
        transport = self.transport
        if transport is None:
            return
        if status in (204, 304):
            body, length = b"", b""
        else:
            length = b"content-length: %d\r\n" % len(body)
        if self._head_only:
            body = b""
        transport.write(b"%b%b%b%b%b\r\n%b" % (STATUS_LINES[status], head, self.trace, length, self._ending(), body))

    def begin(self, status: int, head: bytes, length: int | None) -> None:
        """Begins an answer; its head leaves with the first bytes."""
        self._started = True
        self._chunking = length is None and self._version == HttpVersion11
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._chunking:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b""
            self._keep = False
        self._head = b"%b%b%b%b%b\r\n" % (STATUS_LINES[status], head, self.trace, framing, self._ending())

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes, and whether they were the last."""
        transport = self.transport
        if transport is None:
            return
        if self._chunking:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if end:
                data += b"0\r\n\r\n"
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            transport.write(data)

    def hang_up(self) -> None:
        """The connection ends with this answer."""
        self._keep = False

    def abort(self) -> None:
        """Cuts the connection."""
        self._keep = False
        if self._link is not None:
            self._link.abort()

    def feed_from(self, source: Flow | None) -> None:
        """Whom to pause while the client reads too slowly."""
        self._source = source
        if source is not None and self._paused:
            source.pause()

    @property
    def answered(self) -> bool:
        """Whether an answer was begun."""
        return self._started

    def _ending(self) -> bytes:
        if not self._keep or self._close or self._edge.draining or self._pipelined or not self._payload.is_eof():
            self._keep = False
            return b"connection: close\r\n"
        if self._version == HttpVersion10:
            return b"connection: keep-alive\r\n"
        return b""

    def _refuse(self, refused: Refused) -> None:
        """Answers a request that never became an exchange."""
        self._keep = False
        self._linger = True
        body = errors.body("openai", refused.kind, refused.message, param=refused.param, code=refused.code)
        if not self.trace:
            self.trace = b"x-portkey-trace-id: %b\r\n" % secrets.token_hex(16).encode()
        self.respond(refused.status, b"content-type: application/json\r\n", body)
        if self._edge.on_refused is not None:
            self._edge.on_refused(refused, self.trace)


def _too_large(limit: int) -> Refused:
    return Refused(
        Kind.TOO_LARGE, f"The request's body is larger than {limit} bytes.", code="request_too_large", close=True
    )


def _bad_body() -> Refused:
    return Refused(Kind.INVALID_REQUEST, "The request's body is not framed as its head says.", close=True)


# -- the strict check


def check(message: RawRequestMessage, found: dict[bytes, bytes]) -> None:
    """Refuses what an edge must not guess about. Raises Refused; the connection closes with the answer."""
    if message.version not in (HttpVersion11, HttpVersion10):
        raise _refusal("Only HTTP/1.0 and HTTP/1.1 are spoken here.", 505)
    if message.method not in _METHODS:
        raise _refusal("This method is not supported.", 501)
    if message.upgrade or b"upgrade" in found:
        raise _refusal("Upgrading the connection is not supported.", 400)
    encoding = found.get(b"transfer-encoding")
    if encoding is not None:
        if encoding.lower() != b"chunked" or message.version == HttpVersion10:
            raise _refusal("The only transfer encoding accepted is chunked, in HTTP/1.1.", 501)
        if b"content-length" in found:
            raise _refusal("A request has a content length or a transfer encoding, not both.", 400)
    length = found.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 18):
        raise _refusal("The content length is not a number.", 400)
    expect = found.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise _refusal("The only expectation met is 100-continue.", 417)


def check_address(target: str, host: bytes | None, version: HttpVersion) -> None:
    """The same for what a message is addressed to."""
    if host is None:
        if version == HttpVersion11:
            raise _refusal("The Host header is missing.", 400)
    elif not _HOST.fullmatch(host):
        raise _refusal("The Host header is malformed.", 400)
    if not _PLAIN_PATH.fullmatch(target):
        _check_target(target)


def _check_size(message: RawRequestMessage) -> None:
    if sum(len(name) + len(value) for name, value in message.raw_headers) > _HEAD_LIMIT:
        raise _refusal("The headers are too large.", 431)


def _check_target(target: str) -> None:
    path, _, query = target.partition("?")
    if path[:1] != "/":
        raise _refusal("The request target must be a path.", 400)
    if _BAD_PATH.search(path):
        raise _refusal("The path is malformed.", 400)
    if _BAD_QUERY.search(query):
        raise _refusal("The query is malformed.", 400)


def _refusal(what: str, status: int) -> Refused:
    return Refused(Kind.INVALID_REQUEST, what, status=status, close=True)
