"""AWS's event streams: any cut gives the same events, and what is damaged is never passed on."""

from __future__ import annotations

import struct
from binascii import crc32
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.framing.eventstream import Frames, frame
from adapters.framing.sse import Event

EVENTS = [(b"messageStart", b'{"role":"assistant"}'), (b"empty", b""), (b"contentBlockDelta", b"\0\xff" * 200)]
STREAM = b"".join(frame(name.decode(), payload) for name, payload in EVENTS)


def fed(frames: Frames, *pieces: bytes) -> list[Event]:
    return [event for piece in pieces for event in frames.feed(piece)]


def test_frames_are_those_of_the_sdks_own_parser() -> None:
    eventstream = pytest.importorskip("botocore.eventstream")
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(STREAM)
    assert [(each.headers[":event-type"].encode(), each.payload) for each in buffer] == EVENTS


def test_every_cut_gives_the_same_events() -> None:
    assert fed(Frames(), STREAM) == EVENTS
    for at in range(len(STREAM)):
        frames = Frames()
        assert fed(frames, STREAM[:at], STREAM[at:]) == EVENTS
        assert not frames.pending
    assert fed(Frames(), *(STREAM[at : at + 1] for at in range(len(STREAM)))) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_any_cuts_give_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(edges)]
    assert fed(Frames(), *pieces) == EVENTS


def test_a_flipped_bit_anywhere_ends_the_stream_before_its_frame() -> None:
    first = len(frame(*[EVENTS[0][0].decode(), EVENTS[0][1]]))
    for at in range(len(STREAM)):
        broken = bytearray(STREAM)
        broken[at] ^= 1
        frames = Frames()
        got = fed(frames, bytes(broken))
        assert frames.overflow or frames.pending  # a length that is now too long is waited for, for ever
        assert got == EVENTS[: len(got)]
        assert len(got) == (0 if at < first else len(got))
        assert frames.feed(STREAM) == [] or frames.pending


def test_an_exception_is_told_apart_from_an_event() -> None:
    frames = Frames()
    payload = b'{"message":"slow down"}'
    assert frames.feed(frame("throttlingException", payload, "exception")) == [(b"!throttlingException", payload)]


def test_an_error_that_has_its_message_in_its_headers_is_read() -> None:
    headers = b""
    for name, value in ((b":message-type", b"error"), (b":error-code", b"Internal"), (b":error-message", b"oh")):
        headers += bytes((len(name),)) + name + b"\x07" + struct.pack(">H", len(value)) + value
    start = struct.pack(">II", 16 + len(headers), len(headers))
    whole = start + struct.pack(">I", crc32(start)) + headers
    assert Frames().feed(whole + struct.pack(">I", crc32(whole))) == [(b"!Internal", b'{"message":"oh"}')]


def test_a_frame_that_claims_too_much_is_refused_at_once() -> None:
    start = struct.pack(">II", 1 << 30, 0)
    frames = Frames()
    assert frames.feed(start + struct.pack(">I", crc32(start)) + b"\0\0\0\0") == []
    assert frames.overflow
    assert "too large" in frames.fault


@given(st.binary(max_size=400))
def test_junk_never_raises(data: bytes) -> None:
    frames = Frames()
    frames.feed(data)
    frames.feed(data)


@given(st.binary(max_size=60))
def test_junk_headers_never_raise(block: bytes) -> None:
    start = struct.pack(">II", 16 + len(block), len(block))
    whole = start + struct.pack(">I", crc32(start)) + block
    Frames().feed(whole + struct.pack(">I", crc32(whole)))
