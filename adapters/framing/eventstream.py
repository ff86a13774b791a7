"""AWS's binary event streams (`application/vnd.amazon.eventstream`).

A frame is: total length u32, length of the headers u32, CRC-32 of those eight bytes; headers; payload; CRC-32 of all
before it. A header is: length of the name u8, name, type u8 (7: string), length u16, value. All big-endian.
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html

As with `sse.Events`: any cut of the same bytes gives the same events, time is linear, memory bounded. A wrong checksum
ends the stream: what follows cannot be told from what was never sent.
"""

from __future__ import annotations

import struct
from binascii import crc32

import msgspec

from adapters.framing.sse import EVENT_LIMIT, Event

_PRELUDE = struct.Struct(">III")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")
_LEAST = 16  # a frame without headers and payload
_STRING = 7
_KNOWN = 32  # blocks of headers remembered: a stream repeats half a dozen
# Sizes of header values by type: true, false, byte, short, int, long, bytes, string, timestamp, UUID. None: it is told.
_SIZES: dict[int, int | None] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, _STRING: None, 8: 8, 9: 16}

FAILED = b"!"
"""The beginning of an event's name when it is an exception or an error of the service."""


class Frames:
    """Cuts a byte stream into events: (event type, payload). One per stream."""

    __slots__ = ("_held", "_known", "_limit", "fault", "overflow")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self.overflow = False
        self.fault = ""
        self._limit = limit
        self._held = bytearray()
        self._known: dict[bytes, bytes] = {}

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished frame are held."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes; returns the events they complete, in order. Returns [] for ever after `overflow`."""
        if self.overflow:
            return []
        held = self._held
        buffer: bytes | bytearray = data
        if held:
            held += data
            buffer = held
        events: list[Event] = []
        at = 0
        size = len(buffer)
        while size - at >= _LEAST:
            total, length, checksum = _PRELUDE.unpack_from(buffer, at)
            if crc32(buffer[at : at + 8]) != checksum or length > total - _LEAST:
                self._break("The provider's event stream is damaged: a frame's prelude has a wrong checksum.")
                break
            if total > self._limit:
                self._break("The provider sent an event that is too large.")
                break
            end = at + total
            if end > size:
                break
            frame = bytes(buffer[at : end - 4])
            if crc32(frame) != _U32.unpack_from(buffer, end - 4)[0]:
                self._break("The provider's event stream is damaged: a frame has a wrong checksum.")
                break
            block = frame[12 : 12 + length]
            name = self._known.get(block)
            if name is None:
                try:
                    name = self._named(block)
                except (struct.error, IndexError, KeyError):
                    self._break("The provider's event stream is damaged: a frame's headers cannot be read.")
                    break
            payload = frame[12 + length :]
            if name[:1] == FAILED and not payload:
                payload = _told(block)
            events.append((name, payload))
            at = end
        if buffer is held:
            del held[:at]
        elif at < size:
            held += buffer[at:]
        return events

    def close(self) -> list[Event]:
        """Nothing: a frame that is not whole is none."""
        self._held.clear()
        return []

    def _break(self, fault: str) -> None:
        self.overflow = True
        self.fault = fault

    def _named(self, block: bytes) -> bytes:
        headers = _headers(block)
        kind = headers.get(b":message-type", b"event")
        if kind == b"event":
            name = headers.get(b":event-type", b"")
        else:
            name = FAILED + (headers.get(b":exception-type") or headers.get(b":error-code", b""))
        if len(self._known) < _KNOWN:
            self._known[block] = name
        return name


def _headers(block: bytes) -> dict[bytes, bytes]:
    """The string headers of a frame. Raises struct.error, IndexError or KeyError for what is no block of headers."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(block):
        end = at + 1 + block[at]
        name, kind = block[at + 1 : end], block[end]
        at = end + 1
        size = _SIZES[kind]
        if size is None:
            size = _U16.unpack_from(block, at)[0]
            at += 2
        if at + size > len(block):
            raise IndexError(at)
        if kind == _STRING:
            found[name] = block[at : at + size]
        at += size
    return found


def _told(block: bytes) -> bytes:
    """The payload of an error that has its message in its headers."""
    return msgspec.json.encode({"message": _headers(block).get(b":error-message", b"").decode("utf-8", "replace")})


def frame(name: str, payload: bytes, kind: str = "event") -> bytes:
    """One frame, as services send it: for the mock provider and tests. `kind` is event or exception."""
    headers = b""
    for key, value in (
        (f":{kind}-type", name),
        (":content-type", "application/json"),
        (":message-type", kind),
    ):
        headers += bytes((len(key),)) + key.encode() + bytes((_STRING,)) + _U16.pack(len(value)) + value.encode()
    start = struct.pack(">II", _LEAST + len(headers) + len(payload), len(headers))
    whole = start + _U32.pack(crc32(start)) + headers + payload
    return whole + _U32.pack(crc32(whole))
