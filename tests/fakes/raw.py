"""A client of bare sockets: it sends bytes that no HTTP library would, and reads answers without forgiving anything.

with Wire(gateway.port) as wire:
    wire.send(b"GET /v1/models HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
    assert wire.answer().status == 401
    assert wire.ended()
"""

from __future__ import annotations

import errno
import json
import re
import socket
from typing import Any, NamedTuple, Self

PATIENCE = 30.0
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\x20-\x7e]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_BODYLESS = (204, 304)


class Malformed(Exception):
    """What came is no well-formed HTTP/1.1 answer."""


class Answer(NamedTuple):
    """One answer. `informational` are the statuses (1xx) that came before it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    informational: tuple[int, ...]

    def header(self, name: str) -> str | None:
        """The value of a field, which must not stand there twice."""
        values = [value for other, value in self.headers if other.lower() == name]
        assert len(values) < 2, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The `error` object of either family's error body."""
        return dict(self.json()["error"])


class Wire:
    """One connection. Every wait is bounded by `patience` seconds, and then raises TimeoutError."""

    def __init__(self, port: int, host: str = "127.0.0.1", patience: float = PATIENCE) -> None:
        self._socket = socket.create_connection((host, port), patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, step: int = 0) -> Self:
        """Sends bytes, `step` of them in each write if given. A peer that has closed already is no error."""
        try:
            for at in range(0, len(data), step or max(1, len(data))):
                self._socket.sendall(data[at : at + step] if step else data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def finish(self) -> Self:
        """Sends no more (FIN), and still reads. A peer that has cut the connection already is no error."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
        return self

    def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, whole. Raises Malformed, EOFError when the connection ends before it begins."""
        informational = []
        while True:
            status, headers = self._head()
            if status >= 200:
                break
            informational.append(status)
        body = b"" if to_head or status in _BODYLESS else self._body(headers)
        return Answer(status, headers, body, tuple(informational))

    def informational(self) -> int:
        """The next head, which must be an interim one."""
        status, _ = self._head()
        assert status < 200, f"{status} came where an interim answer was due"
        return status

    def ended(self) -> bool:
        """Waits for the end of the connection; whether it came without another byte."""
        return not self._read and not self._more()

    def rest(self) -> bytes:
        """Everything until the connection ends."""
        while self._more():
            pass
        data, self._read = self._read, b""
        return data

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self._read += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while (at := self._read.find(mark)) < 0:
            if not self._more():
                if self._read:
                    raise Malformed(f"the connection ended after {self._read[:200]!r}")
                raise EOFError("the connection ended before an answer")
        data, self._read = self._read[:at], self._read[at + len(mark) :]
        return data

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            if not self._more():
                raise Malformed(f"the body ended after {len(self._read)} of {size} bytes")
        data, self._read = self._read[:size], self._read[size:]
        return data

    def _head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        first, *lines = self._until(b"\r\n\r\n").split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise Malformed(f"status line {first[:200]!r}")
        fields = []
        for line in lines:
            field = _FIELD.fullmatch(line)
            if field is None:
                raise Malformed(f"header line {line[:200]!r}")
            fields.append((field[1].decode("ascii"), field[2].decode("latin-1").strip()))
        return int(status[1]), tuple(fields)

    def _body(self, headers: tuple[tuple[str, str], ...]) -> bytes:
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        encodings = [value for name, value in headers if name.lower() == "transfer-encoding"]
        if len(lengths) + len(encodings) > 1:
            raise Malformed(f"the body has several lengths: {lengths} {encodings}")
        if encodings:
            if encodings != ["chunked"]:
                raise Malformed(f"transfer encoding {encodings}")
            return self._chunks()
        return self._take(int(lengths[0])) if lengths else self.rest()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._take(size)
            if self._take(2) != b"\r\n":
                raise Malformed("a chunk is longer than it says")
        if self._until(b"\r\n"):
            raise Malformed("a trailer")
        return body


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A plain, correct request; underscores in the names of `headers` are dashes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
