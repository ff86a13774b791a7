from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.framing.sse import Event, Events

CASES: list[tuple[str, bytes, list[Event]]] = [
    ("a named event", b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
    ("an event without a name", b"data: 1\n\n", [(b"", b"1")]),
    ("two events in one read", b"data: 1\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")]),
    ("CRLF", b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [(b"a", b"1"), (b"", b"2")]),
    ("CR", b"event: a\rdata: 1\r\rdata: 2\r\r", [(b"a", b"1"), (b"", b"2")]),
    (
        "mixed line endings",
        b"event: a\rdata: 1\n\r\ndata: 2\r\n\ndata: 3\n\r",
        [(b"a", b"1"), (b"", b"2"), (b"", b"3")],
    ),
    ("several data lines", b"data: a\ndata: b\ndata:\n\n", [(b"", b"a\nb\n")]),
    ("no space after the colon", b"event:a\ndata:1\n\n", [(b"a", b"1")]),
    ("only one space is dropped", b"data:  1\n\n", [(b"", b" 1")]),
    ("data before the name", b"data: 1\nevent: a\n\n", [(b"a", b"1")]),
    ("the last name counts", b"event: a\nevent: b\ndata: 1\n\n", [(b"b", b"1")]),
    ("comments", b": hello\n\n: more\ndata: 1\n: end\n\n", [(b"", b"1")]),
    (
        "a keep-alive comment between events",
        b"data: 1\n\n: OPENROUTER PROCESSING\n\ndata: 2\n\n",
        [(b"", b"1"), (b"", b"2")],
    ),
    ("id, retry and unknown fields", b"id: 7\nretry: 10\nfoo: bar\ndata: 1\n\n", [(b"", b"1")]),
    ("a field without a colon", b"data\n\n", [(b"", b"")]),
    ("an event without data is none", b"event: a\n\ndata: 1\n\n", [(b"", b"1")]),
    ("a byte order mark", b"\xef\xbb\xbfdata: 1\n\n", [(b"", b"1")]),
    ("a byte order mark later on is not one", b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [(b"", b"1")]),
    ("half a byte order mark is not one", b"\xef\xbbdata: 1\n\ndata: 2\n\n", [(b"", b"2")]),
    ("many empty lines", b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", [(b"", b"1"), (b"", b"2")]),
    ("characters of several bytes", "data: žluťoučký 🐎\n\n".encode(), [(b"", "žluťoučký 🐎".encode())]),
    ("an unfinished event", b"data: 1\n\ndata: 2\n", [(b"", b"1")]),
    ("nothing", b"", []),
]
IDS = [name for name, _, _ in CASES]


@pytest.mark.parametrize(("data", "events"), [case[1:] for case in CASES], ids=IDS)
def test_reads_every_form_of_the_format(data: bytes, events: list[Event]) -> None:
    assert Events().feed(data) == events


@pytest.mark.parametrize(("data", "events"), [case[1:] for case in CASES], ids=IDS)
def test_any_cut_gives_the_same_events(data: bytes, events: list[Event]) -> None:
    for cut in range(len(data) + 1):
        parser = Events()
        assert parser.feed(data[:cut]) + parser.feed(data[cut:]) == events, cut


@pytest.mark.parametrize(("data", "events"), [case[1:] for case in CASES], ids=IDS)
def test_byte_by_byte_gives_the_same_events(data: bytes, events: list[Event]) -> None:
    parser = Events()
    assert [event for byte in data for event in parser.feed(bytes([byte]))] == events


PIECES = st.sampled_from(
    [b"\n", b"\r", b"\r\n", b"data", b":", b" ", b"event", b"x", b"data: 1\n\n", b"\xef\xbb\xbf", b""]
)


def by_the_book(data: bytes) -> list[Event]:
    """The format's own description, line by line and slow."""
    events: list[Event] = []
    name, lines = b"", []
    for line in data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        if not line:
            if lines:
                events.append((name, b"\n".join(lines)))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return events


@given(st.lists(PIECES, max_size=30))
def test_agrees_with_the_formats_own_description_however_it_is_cut(pieces: list[bytes]) -> None:
    parser = Events()
    assert [event for piece in pieces for event in parser.feed(piece)] == by_the_book(b"".join(pieces))


def test_says_whether_an_event_is_unfinished() -> None:
    parser = Events()
    parser.feed(b"data: 1\n\n")
    assert not parser.pending
    parser.feed(b"data")
    assert parser.pending


def test_closing_gives_an_event_that_lacks_only_its_empty_line() -> None:
    parser = Events()
    assert parser.feed(b"event: a\ndata: 1\n") == []
    assert parser.close() == [(b"a", b"1")]
    assert parser.close() == []


def test_closing_without_anything_held_gives_nothing() -> None:
    assert Events().close() == []


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_event_of_just_the_limit_passes_and_one_byte_more_ends_the_stream(size: int) -> None:
    fits = b"data: " + b"x" * 26
    for event, overflow in ((fits, False), (fits + b"x", True)):
        parser = Events(limit=32)
        stream = b"data: 1\n\n" + event + b"\n\ndata: 2\n\n"
        events = [e for at in range(0, len(stream), size) for e in parser.feed(stream[at : at + size])]
        assert parser.overflow is overflow
        assert events == [(b"", b"1")] + ([] if overflow else [(b"", b"x" * 26), (b"", b"2")])


def test_after_an_overflow_nothing_comes_and_nothing_is_kept() -> None:
    parser = Events(limit=8)
    assert parser.feed(b"data: 123456789") == []
    assert parser.overflow
    assert parser.feed(b"\n\ndata: 1\n\n") == []
    assert parser.close() == []
    assert not parser.pending


def test_one_megabyte_in_one_byte_pieces_is_one_event() -> None:
    # Quadratic work would need hours here and run into the suite's time limit.
    parser = Events()
    events = [event for piece in [b"data: ", *[b"x"] * 1_000_000, b"\n", b"\n"] for event in parser.feed(piece)]
    assert [len(data) for _, data in events] == [1_000_000]


def test_an_event_of_very_many_lines_in_small_pieces_is_read_once() -> None:
    parser = Events()
    events = [event for piece in [*[b"data: x\n"] * 100_000, b"\n"] for event in parser.feed(piece)]
    assert [data.count(b"\n") for _, data in events] == [99_999]
