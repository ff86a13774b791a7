"""Answers onto sockets, byte by byte and as the mode says: pace, framing, and every way to break off."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import socket
import struct
import termios
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from http import HTTPStatus
from itertools import islice
from typing import Any

from aiohttp import web

from proxy.mock.answer import Answer, Pairs, Stream, Whole
from proxy.mock.ledger import Ledger, Record
from proxy.mock.modes import BEFORE_HEAD, Cut, CutPoint, Mode

_DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_IDLE_DELAY = 0.01
_DELIVERY_TRIES = 200
_SLICE = 64 * 1024
_BOMB_SIZE = 100 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_IDLE_408 = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LATE_BODY = b'{"object":"unsolicited","note":"an answer to nobody"}'
_LATE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_LATE_BODY),
    _LATE_BODY,
)


class Sent(web.StreamResponse):
    """Tells aiohttp that the answer has been written already, and whether the connection may be used again."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._reusable = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._reusable

    async def prepare(self, request: web.BaseRequest) -> None:
        """Writes nothing."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes nothing."""


class _Broken(Exception):
    """The connection was broken off, as the mode says."""


class Wire:
    """Writes one answer, and keeps count in its record of the body's bytes that the kernel has taken."""

    def __init__(self, request: web.BaseRequest, mode: Mode, ledger: Ledger, record: Record) -> None:
        self._request = request
        self._mode = mode
        self._ledger = ledger
        self._record = record
        self._cut = mode.cut
        self._chunked = False

    async def send(self, answer: Answer, headers: Pairs) -> bool | None:
        """Sends `answer`; `headers` are the family's. True: whole, and the connection may be used again; False: whole,
        and it may not; None: broken off by the mode. Raises ConnectionError when the peer is gone."""
        mode = self._mode
        if mode.latency:
            await asyncio.sleep(mode.latency / 1000)
        try:
            return await self._send(answer, headers)
        except _Broken:
            return None

    async def _send(self, answer: Answer, headers: Pairs) -> bool:
        mode = self._mode
        if self._cut and self._cut.at == BEFORE_HEAD:
            await self._break(self._cut.how)
        body, length = _body(answer, mode)
        framing = self._framing(answer, length)
        if framing == "length" and length is None:
            body = list(body)
            length = sum(map(len, body))
        if mode.short and length is not None:
            self._cut = CutPoint(Cut.FIN, length // 2)
        self._chunked = framing == "chunked"
        keep = not (mode.close or framing == "close" or self._request.version < (1, 1))
        head = _head(answer, mode, (*headers, *_framing_headers(framing, length, keep)))
        if self._request.method == "HEAD":
            await self._write(head)
            return keep
        await self._write_body(head, body, at_once=isinstance(answer, Whole))
        if self._chunked:
            await self._write(b"0\r\n\r\n")
        await self._afterthoughts()
        return keep

    def _framing(self, answer: Answer, length: int | None) -> str:
        if self._mode.short:
            return "length"
        if self._mode.framing:
            return self._mode.framing
        if length is not None and isinstance(answer, Whole):
            return "length"
        return "chunked" if self._request.version >= (1, 1) else "close"

    async def _write_body(self, head: bytes, body: Iterable[bytes], *, at_once: bool) -> None:
        """Head and body; a whole body leaves in one write with its head unless the mode wants it otherwise."""
        mode = self._mode
        if not at_once or mode.ttft or mode.split or self._cut:
            await self._write(head)
            head = b""
        if mode.ttft:
            await asyncio.sleep(mode.ttft / 1000)
        if self._cut and self._cut.at == 0:
            await self._break(self._cut.how)
        first = True
        for piece in filter(None, _resplit(body, mode.split) if mode.split else body):
            if not first:
                await asyncio.sleep(mode.gap / 1000)
            first = False
            await self._write_piece(head, piece)
            head = b""
        if head:
            await self._write(head)

    async def _write_piece(self, head: bytes, piece: bytes) -> None:
        sent = self._record.sent
        cut = self._cut if self._cut and sent + len(piece) >= self._cut.at else None
        kept = piece[: cut.at - sent] if cut else piece
        data = kept
        if self._chunked:
            data = b"%x\r\n%b%b" % (len(piece), kept, b"\r\n" if kept == piece else b"")
        await self._write(head + data)
        self._record.sent += len(kept)
        if cut:
            await self._break(cut.how)

    async def _write(self, data: bytes) -> None:
        writer = self._request.writer
        await writer.write(data)
        await writer.drain()

    async def _break(self, how: Cut) -> None:
        transport = self._request.transport
        if how is Cut.STALL:
            await asyncio.get_running_loop().create_future()
        elif transport is None:
            raise ConnectionResetError("the peer left before the cut")
        elif how is Cut.FIN:
            transport.close()
        else:
            sock = transport.get_extra_info("socket")
            await _delivered(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            transport.abort()
        raise _Broken

    async def _afterthoughts(self) -> None:
        mode, loop, transport = self._mode, asyncio.get_running_loop(), self._request.transport
        if mode.late:
            await self._write(_LATE)
            self._ledger.unsolicited += 1
        if mode.idle_408 and transport:
            loop.call_later(_IDLE_DELAY, self._send_408, transport)
        if mode.idle_close is not None and transport:
            loop.call_later(mode.idle_close / 1000, self._close_idle, transport)

    def _send_408(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.write(_IDLE_408)
            self._ledger.unsolicited += 1

    def _close_idle(self, transport: asyncio.Transport) -> None:
        if not self._ledger.busy(self._request.protocol):
            transport.close()


def _body(answer: Answer, mode: Mode) -> tuple[Iterable[bytes], int | None]:
    """The body in the pieces it is written in, and its length where that is known beforehand."""
    if isinstance(answer, Whole):
        body = answer.body
        if mode.bomb:
            body = _bomb(b" ", body)
        elif mode.gzip:
            body = gzip.compress(body, mtime=0)
        return (body[at : at + _SLICE] for at in range(0, len(body), _SLICE)), len(body)
    events = _steered(answer, mode)
    if mode.bomb:
        return [_bomb(b":", b"\n\n" + b"".join(events))], None
    return _gzipped(events) if mode.gzip else events, None


def _steered(stream: Stream, mode: Mode) -> Iterator[bytes]:
    limit = mode.error_after if mode.error_after is not None else mode.truncate_events
    yield from islice(stream.events, limit)
    if mode.error_after is not None:
        yield stream.error


def _gzipped(events: Iterable[bytes]) -> Iterator[bytes]:
    deflate = zlib.compressobj(wbits=_GZIP)
    for event in events:
        yield deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH)
    yield deflate.flush()


@cache
def _bomb_head(filler: bytes) -> tuple[Any, bytes]:
    """A gzip stream in progress, and its first bytes: 100 MiB of `filler`."""
    deflate = zlib.compressobj(wbits=_GZIP)
    block = filler * (1024 * 1024)
    return deflate, b"".join(deflate.compress(block) for _ in range(_BOMB_SIZE // len(block)))


def _bomb(filler: bytes, tail: bytes) -> bytes:
    started, head = _bomb_head(filler)
    deflate = started.copy()
    ending: bytes = deflate.compress(tail) + deflate.flush()
    return head + ending


def _resplit(body: Iterable[bytes], size: int) -> Iterator[bytes]:
    rest = b""
    for piece in body:
        rest += piece
        whole = len(rest) - len(rest) % size
        for at in range(0, whole, size):
            yield rest[at : at + size]
        rest = rest[whole:]
    if rest:
        yield rest


def _framing_headers(framing: str, length: int | None, keep: bool) -> Pairs:
    fields = {
        "length": (("content-length", str(length)),),
        "chunked": (("transfer-encoding", "chunked"),),
        "close": (),
    }[framing]
    return fields if keep else (*fields, ("connection", "close"))


def _head(answer: Answer, mode: Mode, headers: Pairs) -> bytes:
    status = answer.status if isinstance(answer, Whole) else 200
    fields = [("date", _DATE), ("server", "mock"), ("content-type", answer.content_type), *headers]
    fields += answer.headers if isinstance(answer, Whole) else (("cache-control", "no-cache"),)
    if mode.gzip or mode.bomb:
        fields.append(("content-encoding", "gzip"))
    if mode.set_cookie:
        fields.append(("set-cookie", "session=mock; Path=/; HttpOnly"))
    fields += [(f"x-mock-header-{i:04}", "v" * 32) for i in range(mode.headers)]
    lines = [f"HTTP/1.1 {status} {_reason(status)}", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


async def _delivered(sock: Any) -> None:
    """Waits (bounded) until the peer's kernel has all that was sent: a reset discards what is still on its way."""
    for _ in range(_DELIVERY_TRIES):
        try:
            waiting = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except OSError:
            return
        if not waiting:
            return
        await asyncio.sleep(0.001)
