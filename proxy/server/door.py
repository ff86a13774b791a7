"""One client connection: its life from request to request, and what an exchange sees of its client."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from adapters import errors
from adapters.errors import Kind
from proxy import headers
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange, Proof
from proxy.seams import Flow
from proxy.server.check import HEAD_LIMIT, bad_body, check, check_address, check_size, too_large, unreadable
from proxy.server.messages import Messages

if TYPE_CHECKING:
    from proxy.server.edge import Edge, Turnstile

_LINGER = 2.0
_SEND_STALL = 60.0
_MUCH = 1 << 14  # bytes that are not worth holding back until a turn ends
_MIN_RATE = 1024  # bytes a second that a request body must bring, after a grace of ten seconds
_RATE_GRACE = 10.0

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} {_PHRASES.get(code, 'Status')}\r\n".encode() for code in range(200, 600)
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Door(Messages):
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
        "_parsed",
        "_path",
        "_payload",
        "_pipelined",
        "_reading_head",
        "_source",
        "_started",
        "_version",
        "deadline",
        "exchange",
        "proof",
        "trace",
        "unsent",
    )

    def __init__(self, edge: Edge, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(edge, loop)
        self._edge = edge
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._path = ""  # the address of the last request, which was in order
        self._host: bytes | None = None
        self._held = b""  # a body that came at once, not yet taken
        self._source: Flow | None = None
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
        self._parsed = False  # whether the last read of a body that came in several ended with it
        self._link: asyncio.Transport | None = None
        self._fed = 0  # bytes read since the last request: as long as they are few, so are its headers
        self._version = HttpVersion11
        self._body_bytes = 0
        self._body_began = 0.0
        self.exchange: Exchange | None = None
        """What is under way on this connection."""
        self.deadline = loop.time() + edge.settings.header_timeout
        self.trace = b""
        self.unsent = b""
        """What was written in this turn and waits for its end."""
        self.proof = Proof()

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
            self._go_no_further()
            return
        if self._parser is None:
            return
        payload = self._payload
        before = payload.total_bytes
        try:
            messages, upgraded = self._parse(data)
        except HttpProcessingError as error:
            self._unreadable(error)
            return
        if self._serving:
            self._parsed = payload.is_eof() and payload.total_bytes - before == len(data)
        else:
            self._fed += len(data)
        if upgraded:
            self._close = True
        if messages and self._serving:  # the end of this request's body was in the same read
            self._go_no_further()
        elif messages:
            self._messages.extend(messages)
            waiter = self._waiter
            if waiter is not None and (self._edge.turnstile is None or not self._turned_away(self._edge.turnstile)):
                self._edge.turns.open(waiter)  # last, because the request is served inside
        elif not self._serving and not self._reading_head:
            self._reading_head = True
            self.deadline = self._loop.time() + self._edge.settings.header_timeout

    def _go_no_further(self) -> None:
        """A second request came before the first was answered. It is never read: the connection ends with this answer,
        and until then its reads go on, so that the client's leaving is noticed."""
        self._pipelined = True
        self._close = True

    def _turned_away(self, turnstile: Turnstile) -> bool:
        """Whether the request that has just come was refused at once. Only one that came whole and leaves nothing to
        decide about its connection is; no task wakes for it."""
        message, payload = self._messages[0]
        transport = self.transport
        if (
            len(self._messages) > 1
            or not (isinstance(payload, bytes) or (payload.is_eof() and payload.exception() is None))
            or message.should_close
            or message.chunked
            or message.version != HttpVersion11
            or transport is None
            or self._paused
            or self._edge.draining
        ):
            return False
        if not isinstance(payload, bytes):
            payload = payload.read_nowait(-1)
            self._messages[0] = message, payload  # where it is found if it goes its usual way
        self._held, self._payload = payload, EMPTY_PAYLOAD
        now = self._loop.time()
        try:
            answer = turnstile(self, message, self._in_order(message), now)
        except Refused:
            return False  # for what it is malformed in, it is told where all are
        finally:
            self._held = b""
        if answer is None:
            return False
        self._messages.clear()
        if not self._quick and self._parser is not None:
            self._parser.message_consumed()
        self._reading_head = False
        self._fed = 0
        self.deadline = now + self._edge.idle_time
        transport.write(answer)
        return True

    def _unreadable(self, error: HttpProcessingError) -> None:
        if self._serving or self._messages:
            self._close = True
            payload = self._payload if self._serving else self._messages[-1][1]
            if isinstance(payload, StreamReader) and not payload.is_eof() and payload.exception() is None:
                payload.set_exception(bad_body())
            return
        self._refuse(unreadable(error))
        self._close = True
        if self._waiter is not None:
            self._waiter.cancel()

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
                    if self._parser is None and self.transport is not None:
                        self._parser = self._new_parser()  # see `lighten`
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
        self._started = self._chunking = self._expects = self._linger = self._parsed = False
        self._version = message.version
        # aiohttp's parser takes a trailer for a header of the next message: after chunks there is none.
        self._keep = not (message.should_close or message.chunked)
        self._head_only = message.method == "HEAD"
        self.trace = b""
        try:
            found = self._in_order(message)
            self._declared = found.get(b"content-length")
            self._expects = b"expect" in found and message.version == HttpVersion11
            return self._edge.begin(self, message, found)
        except Refused as refused:
            self._refuse(refused)
            self._keep = False
            return None

    def _in_order(self, message: RawRequestMessage) -> dict[bytes, bytes]:
        """The fields of a message that the gateway reads. Raises Refused for one that it must not guess about."""
        found = headers.read(message.raw_headers)
        check(message, found)
        host, path = found.get(b"host"), message.path
        if path != self._path or host != self._host or host is None:
            check_address(path, host, message.version)
            self._path, self._host = path, host
        if self._fed > HEAD_LIMIT:
            check_size(message)
        return found

    async def _close_kindly(self) -> None:
        """Closing with unread input resets the connection, and the client may lose the answer just written. So the
        answer's end is told first, and what still comes is thrown away for a moment."""
        transport = self.transport
        if transport is None or (self._payload.is_eof() and not self._pipelined and not self._linger):
            return
        self._linger = True
        self.deadline = self._loop.time() + _LINGER
        self.flush()
        if transport.can_write_eof():
            transport.write_eof()
        if self._payload.exception() is None and not self._payload.is_eof():
            self._payload.set_exception(bad_body())
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

    def lighten(self) -> int:
        """Called by the edge's one timer: an answer that lasts does not need what read its request. aiohttp's parser
        keeps every header field until the next request's head, which is 3.5 KB for an open stream. Returns how many
        bytes of the prompt had to be looked at."""
        x = self.exchange
        if x is None or self._messages or not self._payload.is_eof():
            return 0
        if self._whole or self._parsed:  # else the beginning of another request may be in it
            self._parser = None
        return x.lighten()

    def force_close(self) -> None:
        """Closes once everything is written, and reads no more."""
        self.flush()
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
            raise too_large(limit)
        self._payload = EMPTY_PAYLOAD  # its reader is not needed for the hour that the answer may take
        return data

    async def body(self, limit: int) -> bytes:
        """The request's whole body, bounded in size and time."""
        data = self.arrived(limit)
        if data is not None:
            return data
        if self._declared is not None and int(self._declared) > limit:
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit)
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
        if self.unsent:
            self.flush()
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
        if self.unsent:
            self.unsent += data
        elif data:
            turns = self._edge.turns
            if turns.first() or len(data) > _MUCH:  # a flood has to find out at once that its reader is slow
                transport.write(data)
            else:
                self.unsent = data
                turns.later(self)

    def flush(self) -> None:
        """Writes what waited for the end of the turn."""
        data, self.unsent = self.unsent, b""
        transport = self.transport
        if data and transport is not None:
            transport.write(data)

    def hang_up(self) -> None:
        """The connection ends with this answer."""
        self._keep = False

    def abort(self) -> None:
        """Cuts the connection."""
        self._keep = False
        self.flush()
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
