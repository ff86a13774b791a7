"""A client of raw bytes: it sees framing, half answers, resets and silence, which every real client hides."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_PATIENCE = 30.0


class Answer(NamedTuple):
    """One answer. `whole` says that its framing was kept to the end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    path: str, body: bytes = b"", headers: dict[str, str] | None = None, *, method: str = "POST", key: str = "lw-test"
) -> bytes:
    """The bytes of one request, with the rig's key unless the headers name another credential."""
    fields = {"host": "gateway", "content-type": "application/json"}
    fields.update({name.lower().replace("_", "-"): value for name, value in (headers or {}).items()})
    if key and not {"x-portkey-api-key", "authorization"} & fields.keys():
        fields["x-portkey-api-key"] = key
    if body or method != "GET":
        fields.setdefault("content-length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Line(asyncio.Protocol):
    """One connection to the gateway."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()
        """Everything that came and was not taken yet."""
        self.over = False
        """Whether the gateway ended the connection."""
        self.reset = False
        """Whether it did so with RST."""
        self.read = 0
        """How many bytes came in all."""

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.read += len(data)
        self._look()

    def eof_received(self) -> None:
        self.over = True
        self._look()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over = True
        self.reset = self.reset or isinstance(exc, ConnectionError)
        self.transport = None
        self._look()

    def _look(self) -> None:
        waiting, self._waiters = self._waiters, []
        for condition, future in waiting:
            if future.done():
                continue
            if condition():
                future.set_result(None)
            else:
                self._waiters.append((condition, future))

    # -- the test's side

    def send(self, data: bytes) -> None:
        """Writes bytes; on a connection that is gone, nothing happens."""
        if self.transport is not None:
            self.transport.write(data)

    async def until(self, condition: Callable[[], bool], timeout: float = _PATIENCE) -> None:
        """Waits until what came satisfies `condition`. Raises TimeoutError with what did come."""
        if condition():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((condition, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise TimeoutError(f"came only: {self.data[-500:]!r}, over: {self.over}") from None

    async def receive(self, part: bytes, timeout: float = _PATIENCE) -> bytes:
        """Waits until `part` has come, and takes everything up to its end."""
        await self.until(lambda: part in self.data or self.over, timeout)
        assert part in self.data, f"the connection ended before {part!r} came: {self.data[-500:]!r}"
        return self.take(self.data.index(part) + len(part))

    async def end(self, timeout: float = _PATIENCE) -> bytes:
        """Waits for the connection's end, and takes everything."""
        await self.until(lambda: self.over, timeout)
        return self.take(len(self.data))

    def take(self, size: int) -> bytes:
        """The first bytes of what came; fewer where there are no more."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    async def head(self, timeout: float = _PATIENCE) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        raw = (await self.receive(b"\r\n\r\n", timeout)).decode("latin-1")
        first, *lines = raw.rstrip("\r\n").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"the header {name} came twice"
            headers[name.lower()] = value.strip()
        return int(first.split(" ", 2)[1]), headers

    async def answer(self, timeout: float = _PATIENCE) -> Answer:
        """The next whole answer; `whole` is False where the connection ended within it."""
        status, headers = await self.head(timeout)
        if headers.get("transfer-encoding") == "chunked":
            body, whole = await self._chunks(timeout)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            await self.until(lambda: len(self.data) >= length or self.over, timeout)
            body = self.take(length)
            whole = len(body) == length
        elif status == 204:
            body, whole = b"", True
        else:
            body, whole = await self.end(timeout), not self.reset
        return Answer(status, headers, body, whole)

    async def _chunks(self, timeout: float) -> tuple[bytes, bool]:
        parts = []
        while True:
            await self.until(lambda: b"\r\n" in self.data or self.over, timeout)
            end = self.data.find(b"\r\n")
            if end < 0:
                return b"".join(parts), False
            length = int(self.data[:end], 16)
            needed = end + 2 + length + 2
            await self.until(lambda needed=needed: len(self.data) >= needed or self.over, timeout)  # type: ignore[misc]
            part = self.take(needed)[end + 2 :]
            if len(part) < length + 2:
                return b"".join([*parts, part]), False
            assert part[-2:] == b"\r\n", f"a chunk ends in {part[-2:]!r}"
            if length == 0:
                return b"".join(parts), True
            parts.append(part[:-2])

    def leave(self, *, reset: bool = False) -> None:
        """Closes the client's side: both directions, with FIN or RST."""
        if self.transport is None:
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.transport.abort()

    def pause(self) -> None:
        """Stops reading."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        assert self.transport is not None
        self.transport.resume_reading()


async def connect(port: int, *, receive_buffer: int | None = None) -> Line:
    """A connection to the gateway on loopback."""
    loop = asyncio.get_running_loop()
    if receive_buffer is None:
        _, line = await loop.create_connection(Line, "127.0.0.1", port)
        return line
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    _, line = await loop.create_connection(Line, sock=sock)
    return line


async def ask(port: int, raw: bytes, timeout: float = _PATIENCE) -> Answer:
    """Sends one request on a connection of its own and takes the answer."""
    line = await connect(port)
    try:
        line.send(raw)
        return await line.answer(timeout)
    finally:
        line.leave()


# -- event streams, read by the book


class Event(NamedTuple):
    """One server-sent event. `data` is decoded JSON, or the text where it is `[DONE]`."""

    name: str
    data: Any


def events(body: bytes) -> list[Event]:
    """The events of a whole body. Raises AssertionError where a strict reader would stumble: half an event at the end,
    unknown lines, data that is neither JSON nor `[DONE]`."""
    found = []
    body = body.replace(b"\r\n", b"\n")
    assert body == b"" or body.endswith(b"\n\n"), f"the stream ends within an event: {body[-80:]!r}"
    for block in body.split(b"\n\n")[:-1]:
        name, data = "", []
        for line in block.split(b"\n"):
            field, colon, value = line.partition(b":")
            if line.startswith(b":"):
                continue
            assert colon, f"a line without a colon: {line!r}"
            assert field in (b"event", b"data", b"id"), f"an unknown field: {line!r}"
            if field == b"event":
                name = value.strip().decode()
            elif field == b"data":
                data.append(value.removeprefix(b" ").decode())
        if data:
            text = "\n".join(data)
            found.append(Event(name, text if text == "[DONE]" else json.loads(text)))
    return found


def errors_in(found: list[Event]) -> list[Event]:
    """Those events that are errors, in either dialect."""
    return [event for event in found if isinstance(event.data, dict) and event.data.get("error") is not None]


def terminators_in(found: list[Event]) -> list[Event]:
    """Those events that say the answer is complete."""
    return [
        event
        for event in found
        if event.data == "[DONE]" or (isinstance(event.data, dict) and event.data.get("type") == "message_stop")
    ]
