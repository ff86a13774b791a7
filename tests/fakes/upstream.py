"""A scripted upstream: raw bytes and faults, connection by connection, in the test's own loop.

    async with Scripted([ok(b"{}")], [End.RST]) as upstream:      # first connection answers, second is reset
    async with Scripted(play=lambda asked: [head, b"data: …", End.FIN]) as upstream:

A script is a list of steps played once a request has been read: bytes are written, an `asyncio.Event` is waited for,
`NEXT` reads the connection's next request, an `End` ends the connection. A script that is over leaves the connection
open and silent; the test may go on by hand: `upstream.last.write(b"…")`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from types import TracebackType
from typing import Any, NamedTuple, Self

_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class End(Enum):
    """How a connection ends: with FIN or with RST."""

    FIN = "fin"
    RST = "rst"


class _Next(Enum):
    NEXT = "next"


NEXT = _Next.NEXT
"""Waits for the next request on the same connection."""

Step = bytes | End | asyncio.Event | _Next
Script = Iterable[Step]


class Asked(NamedTuple):
    """One request as it came. `connection` numbers the connections from 0."""

    head: bytes
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode()

    def header(self, name: str) -> str | None:
        """The value of a header field, whatever its case."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.strip().decode()
        return None

    def json(self) -> Any:
        return json.loads(self.body)


class Connection(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, upstream: Scripted) -> None:
        self._upstream = upstream
        self.unread = b""
        """What came of a request that is not complete yet."""
        self._steps: Iterator[Step] | None = None
        self._asked = False
        self._waiting: asyncio.Task[None] | None = None
        self.number = -1
        self.transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        """Done when the connection is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.number = len(self._upstream.connections)
        self._upstream.connections.append(self)
        self._upstream.open += 1
        if self._upstream.on_connect:
            self._play(self._upstream.on_connect)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._upstream.open -= 1
        self.transport = None
        if self._waiting is not None:
            self._waiting.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.unread += data
        self._upstream.received += len(data)
        while (asked := self._request()) is not None:
            self._upstream.requests.append(asked)
            if self._steps is None:
                self._steps = iter(self._upstream.script_of(asked))
            self._advance()

    def _request(self) -> Asked | None:
        head, mark, rest = self.unread.partition(b"\r\n\r\n")
        if not mark:
            return None
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            end = rest.find(b"0\r\n\r\n")
            while end > 0 and rest[end - 2 : end] != b"\r\n":
                end = rest.find(b"0\r\n\r\n", end + 1)
            if end < 0:
                return None
            body, self.unread = unchunked(rest[: end + 5]), rest[end + 5 :]
        else:
            length = int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if len(rest) < length:
                return None
            body, self.unread = rest[:length], rest[length:]
        return Asked(head, body, self.number)

    def _play(self, steps: Script) -> None:
        self._steps = iter(steps)
        self._advance()

    def _advance(self) -> None:
        """Plays on until something must be waited for."""
        assert self._steps is not None
        for step in self._steps:
            if isinstance(step, asyncio.Event):
                if not step.is_set():
                    self._waiting = asyncio.ensure_future(self._wait(step))
                    return
            elif step is NEXT:
                return
            elif isinstance(step, End):
                self.end(step)
                return
            else:
                self.write(step)

    async def _wait(self, event: asyncio.Event) -> None:
        await event.wait()
        self._waiting = None
        self._advance()

    # -- by hand

    def write(self, data: bytes) -> None:
        """Sends bytes, if the peer is still there."""
        if self.transport is not None:
            self.transport.write(data)

    def end(self, how: End) -> None:
        """Ends the connection; what was written before still arrives."""
        transport = self.transport
        if transport is None:
            return
        if how is End.FIN:
            transport.close()
            return
        sock = transport.get_extra_info("socket")
        while transport.get_write_buffer_size() or _unsent(sock):
            pass  # Loopback: the peer's kernel takes it in no time, and a reset must not overtake it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        transport.abort()


class Scripted:
    """The upstream. `scripts` are for the first, second … connection, the last one for all further ones;
    `play` instead gives the script for each request. `on_connect` is played before anything was read.
    """

    def __init__(
        self, *scripts: Script, play: Callable[[Asked], Script] | None = None, on_connect: Script | None = None
    ) -> None:
        self._scripts = [list(script) for script in scripts]
        self._playing = play
        self.on_connect = on_connect
        self.connections: list[Connection] = []
        self.requests: list[Asked] = []
        self.open = 0
        """Connections open now."""
        self.received = 0
        """Bytes that came, whole requests or not."""
        self._server: asyncio.Server | None = None
        self.port = 0

    def script_of(self, asked: Asked) -> Script:
        """What is played for this request."""
        if self._playing is not None:
            return self._looped(asked)
        return self._scripts[min(asked.connection, len(self._scripts) - 1)] if self._scripts else ()

    def _looped(self, asked: Asked) -> Iterator[Step]:
        # A connection that is kept alive asks again: each request has its own script.
        assert self._playing is not None
        while True:
            yield from self._playing(self.requests[-1])
            yield NEXT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Connection:
        """The latest connection."""
        return self.connections[-1]

    async def until(self, condition: Callable[[Self], Any], timeout: float = 30) -> None:
        """Waits until `condition` of this upstream holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition(self):
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.gather(*(connection.closed for connection in self.connections))
        await self._server.wait_closed()


def _unsent(sock: Any) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])


# -- pieces of answers


def head(status: int = 200, content_type: str = "application/json", **fields: str) -> bytes:
    """The head of an answer; underscores in field names are dashes."""
    lines = [f"HTTP/1.1 {status} Something", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def ok(body: bytes, status: int = 200, **fields: str) -> bytes:
    """A whole JSON answer with its length."""
    return head(status, content_length=str(len(body)), **fields) + body


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


SSE = "text/event-stream"
LAST_CHUNK = b"0\r\n\r\n"
SSE_HEAD = head(content_type=SSE, transfer_encoding="chunked")


def stream(*events: bytes) -> list[Step]:
    """The steps of a whole event stream, one chunk an event."""
    return [SSE_HEAD, *(chunk(event) for event in events), LAST_CHUNK]


def unchunked(data: bytes) -> bytes:
    """A chunked body, decoded. Raises ValueError where it is not one."""
    body = b""
    while True:
        size, mark, data = data.partition(b"\r\n")
        if not mark:
            raise ValueError("the chunked body breaks off")
        length = int(size, 16)
        if length == 0:
            return body
        if data[length : length + 2] != b"\r\n":
            raise ValueError("a chunk does not end where it should")
        body, data = body + data[:length], data[length + 2 :]


class Flood:
    """An upstream that answers every request with as many pieces as fast as its peer reads, and no faster.

    `pieces` are (first, repeated, last) bytes of a body by path; `sent` counts the bytes that the latest peer took.
    """

    def __init__(self, pieces: dict[str, tuple[bytes, bytes, bytes]], count: int) -> None:
        self._pieces = pieces
        self._count = count
        self._server: asyncio.Server | None = None
        self.port = 0
        self.open = 0
        self.sent = 0
        self.complete = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        writer.transport.set_write_buffer_limits(0)
        try:
            while True:
                await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        length = int(asked.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        streamed = b'"stream"' in body and b"true" in body
        path = asked.split(b" ", 2)[1].decode()
        first, repeated, last = self._pieces[path if streamed else path + " whole"]
        self.sent = 0
        size = len(first) + len(repeated) * self._count + len(last)
        kind = SSE if streamed else "application/json"
        writer.write(head(content_type=kind, content_length=str(size)) + first)
        for _ in range(self._count):
            writer.write(repeated)
            await writer.drain()
            self.sent += len(repeated)
        writer.write(last)
        await writer.drain()
        self.complete += 1

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
