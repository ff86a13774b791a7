"""An incremental reader of multipart/form-data that keeps no file: size and digest are all it remembers of one."""

from __future__ import annotations

import hashlib
import re
from email.message import Message

import msgspec

_VALUE_LIMIT = 64 * 1024
_HEADERS_LIMIT = 16 * 1024
_PARAMETER = re.compile(rb'(\w+)="([^"]*)"')


class Part(msgspec.Struct):
    """One part: a field (`filename` None, `value` its first 64 KiB) or a file."""

    name: str
    filename: str | None = None
    content_type: str = ""
    size: int = 0
    sha256: str = ""
    value: bytes = b""


class Form:
    """Feed it the body in any pieces; `parts` holds the parts that are complete. It never raises on bad input."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = bytearray(b"\r\n")
        self._part: Part | None = None
        self._hash = hashlib.sha256()
        self._in_headers = False
        self.parts: list[Part] = []

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body."""
        self._buffer += data
        while self._read_headers() if self._in_headers else self._read_content():
            pass

    def file(self) -> Part | None:
        """The first part that is a file."""
        return next((part for part in self.parts if part.filename is not None), None)

    def field(self, name: str) -> str | None:
        """The text of the first field of that name."""
        found = next((part for part in self.parts if part.name == name and part.filename is None), None)
        return None if found is None else found.value.decode(errors="replace")

    def _read_content(self) -> bool:
        """Consumes content up to the next delimiter; True when one was found."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            # All but what may be the beginning of a delimiter is content.
            self._take(max(0, len(self._buffer) - len(self._delimiter) + 1))
            return False
        if len(self._buffer) < at + len(self._delimiter) + 2:
            return False
        self._take(at)
        if self._part is not None:
            self._part.sha256 = self._hash.hexdigest()
            self.parts.append(self._part)
            self._part = None
        last = self._buffer[len(self._delimiter) : len(self._delimiter) + 2] == b"--"
        del self._buffer[: len(self._delimiter)]
        self._in_headers = not last
        return self._in_headers

    def _read_headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            del self._buffer[_HEADERS_LIMIT:]
            return False
        self._part = _part(bytes(self._buffer[:end]))
        self._hash = hashlib.sha256()
        del self._buffer[: end + 4]
        self._in_headers = False
        return True

    def _take(self, count: int) -> None:
        if self._part is not None:
            self._hash.update(memoryview(self._buffer)[:count])
            self._part.size += count
            self._part.value += bytes(self._buffer[: min(count, _VALUE_LIMIT - len(self._part.value))])
        del self._buffer[:count]


def boundary(content_type: str) -> str | None:
    """The boundary of a multipart/form-data content type, None for any other."""
    message = Message()
    message["content-type"] = content_type
    return message.get_boundary() if message.get_content_type() == "multipart/form-data" else None


def _part(head: bytes) -> Part:
    part = Part("")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            part.content_type = value.strip().decode(errors="replace")
        elif name.strip().lower() == b"content-disposition":
            parameters = dict(_PARAMETER.findall(value))
            part.name = parameters.get(b"name", b"").decode(errors="replace")
            filename = parameters.get(b"filename")
            part.filename = None if filename is None else filename.decode(errors="replace")
    return part
