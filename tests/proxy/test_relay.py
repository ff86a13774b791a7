"""The relays alone: what goes in comes out in the same call, whole events only, whatever the reads were."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import Kind
from adapters.registry import codec
from adapters.types import Call, Dialect
from proxy.errors import UpstreamFailure
from proxy.exchange import Exchange
from proxy.headers import shape_of
from proxy.relay import Events
from proxy.verbatim import Body
from tests.behaviour.client import errors_in, events, terminators_in
from tests.behaviour.test_cuts import ANTHROPIC, OPENAI

EARLY = UpstreamFailure(Kind.BAD_UPSTREAM, "The provider's answer broke off.", sent=True)


class Client:
    """Remembers what it was told to write, call by call."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.status = 0
        self.length: int | None = None
        self.ended = False
        self.aborted = False
        self.hung_up = False
        self.source: Any = None
        self.answered = False

    def begin(self, status: int, head: bytes, length: int | None) -> None:
        self.status, self.length = status, length

    def write(self, data: bytes, end: bool = False) -> None:
        assert not self.ended
        assert not self.aborted
        self.writes.append(data)
        self.ended = end

    def hang_up(self) -> None:
        self.hung_up = True

    def abort(self) -> None:
        self.aborted = True

    def feed_from(self, reply: Any) -> None:
        self.source = reply

    @property
    def said(self) -> bytes:
        return b"".join(self.writes)


class Reply:
    """An answer whose body the test feeds."""

    def __init__(self, *, framed: bool = True, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = 200
        self.framed = framed
        self.raw_headers = headers
        self.shape = shape_of(headers)
        self.sink: Any = None
        self.paused = False

    def pour(self, sink: Any) -> None:
        self.sink = sink

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


def exchange(client: Client, dialect: Dialect = Dialect.OPENAI_CHAT) -> Exchange:
    x = Exchange(client, None, "POST", "/v1/x", "", {}, (), "r1", "t1", 0.0)  # type: ignore[arg-type]
    x.dialect = dialect
    return x


class Scene:
    """A relay between such a reply and such a client, delivering."""

    def __init__(self, kind: str = "verbatim", *, framed: bool = True) -> None:
        self.client, self.reply = Client(), Reply(framed=framed)
        client, upstream = DIALECTS[kind]
        decoder = None
        if client is not upstream:
            call = Call(client, "m", True, b'{"model":"m","messages":[],"stream":true,"max_tokens":9}', "r1", 1)
            decoder = codec(client, upstream).stream(call)
        self.x = exchange(self.client, client)
        self.loop = asyncio.new_event_loop()
        self.relay = Events(self.x, self.reply, decoder, self.loop)  # type: ignore[arg-type]
        self.relay._reply.pour(self.relay)

    def live(self) -> None:
        """Goes through `deliver` as far as it goes without the loop."""
        self._delivering = self.relay.deliver(200, b"")

    def close(self) -> None:
        self._delivering.cancel()
        self.loop.close()


DIALECTS = {
    "verbatim": (Dialect.OPENAI_CHAT, Dialect.OPENAI_CHAT),
    "verbatim messages": (Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES),
    "chat to anthropic": (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES),
    "messages to openai": (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT),
    "verbatim responses": (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_RESPONSES),
    "verbatim gemini": (Dialect.GEMINI_GENERATE, Dialect.GEMINI_GENERATE),
}
STREAMS = {
    "verbatim": b"".join(OPENAI),
    "verbatim messages": b"".join(ANTHROPIC),
    "chat to anthropic": b"".join(ANTHROPIC),
    "messages to openai": b"".join(OPENAI),
}


def run(kind: str, pieces: list[bytes], *, live_after: int = 0, framed: bool = True) -> Scene:
    """Feeds the pieces; the client is there after so many of them."""
    scene = Scene(kind, framed=framed)
    if live_after == 0:
        scene.live()
    for number, piece in enumerate(pieces, 1):
        scene.relay.data(piece, number == len(pieces))
        if number == live_after:
            scene.live()
    return scene


@pytest.mark.parametrize("kind", STREAMS)
def test_every_split_in_two_gives_the_same_stream(kind: str) -> None:
    data = STREAMS[kind]
    whole = run(kind, [data])
    expected = whole.client.said
    assert terminators_in(events(expected)) == events(expected)[-1:]
    assert expected == data or not kind.startswith("verbatim")
    whole.close()
    for at in range(1, len(data)):
        for live_after in (0, 1):
            scene = run(kind, [data[:at], data[at:]], live_after=live_after)
            assert scene.client.said == expected, at
            assert scene.client.ended
            assert not scene.client.hung_up
            scene.close()


@pytest.mark.parametrize("kind", STREAMS)
@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_any_split_gives_whole_events_and_the_same_stream(kind: str, cuts: list[int]) -> None:
    data = STREAMS[kind]
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    whole = run(kind, [data])
    scene = run(kind, pieces)
    assert scene.client.said == whole.client.said
    for write in scene.client.writes:
        events(write)  # each write alone is well-formed
    whole.close()
    scene.close()


@pytest.mark.parametrize("kind", STREAMS)
def test_what_comes_goes_out_in_the_same_call(kind: str) -> None:
    scene = Scene(kind)
    scene.live()
    parts = ANTHROPIC if "anthropic" in kind or kind.endswith("messages") else OPENAI
    for part in parts[:-1]:
        before = len(scene.client.writes)
        scene.relay.data(part, False)
        if b'"Gr' in part or b"DONE" in part:
            assert len(scene.client.writes) == before + 1
            assert b"Gr" in scene.client.writes[-1] or b"DONE" in scene.client.writes[-1]
    scene.close()


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_any_line_ending_passes_and_ends_an_event(line: str) -> None:
    events_of = [f"data: {n}{line}{line}".encode() for n in range(4)]
    data = b"".join(events_of) + f"data: [DONE]{line}{line}".encode()
    for at in range(1, len(data)):
        scene = run("verbatim", [data[:at], data[at:]])
        assert scene.client.said == data
        ends = [b"".join(events_of[:n]) for n in range(5)] + [data]
        # Where the cut falls between a CR and its LF, the LF may come with the next event.
        assert (
            any(scene.client.writes[1].rstrip(b"\r\n") == end.rstrip(b"\r\n") for end in ends)
            or len(scene.client.writes) == 2
        ), at
        scene.close()


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_cut_at_any_byte_ends_in_one_error_event(kind: str) -> None:
    data = STREAMS[kind]
    for at in range(len(data) - 2):
        for how in ("fail", "end"):
            scene = Scene(kind, framed=False)
            scene.live()
            scene.relay.data(data[:at], False)
            if how == "fail":
                scene.relay.fail(EARLY)
            else:
                scene.relay.data(b"", True)
            found = events(scene.client.said)
            assert len(errors_in(found)) == 1, (at, how)
            assert found[-1] is errors_in(found)[0]
            assert terminators_in(found) == []
            assert scene.client.ended
            assert scene.client.hung_up
            assert scene.x.kind is Kind.BAD_UPSTREAM
            scene.close()


def test_text_that_looks_like_an_end_marker_is_none() -> None:
    for text in ("[DONE]", "data: [DONE]", "\ndata: [DONE]\n\n", "event: error", '{"error"', '"finish_reason": "stop"'):
        event = b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()
        scene = run("verbatim", [event])
        assert len(errors_in(events(scene.client.said))) == 1, text
        scene.close()
    for text in ("message_stop", "event: message_stop", "\nevent: message_stop\n\n", '"type":"error"'):
        body = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        event = b"event: content_block_delta\ndata: %b\n\n" % json.dumps(body).encode()
        scene = run("verbatim messages", [event])
        assert len(errors_in(events(scene.client.said))) == 1, text
        scene.close()


def test_a_providers_own_error_event_ends_its_stream_and_no_second_one_is_added() -> None:
    for kind, event in (
        ("verbatim", b'data: {"error":{"message":"no","type":"server_error"}}\n\n'),
        (
            "verbatim messages",
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
        ),
    ):
        start = STREAMS[kind][: STREAMS[kind].index(b"\n\n") + 2]
        scene = run(kind, [start, event], framed=False)
        assert scene.client.said == start + event
        scene.close()


TOLD = {
    "verbatim": (b'data: {"choices":[]}\n\n', b'data: {"error":{"message":"no","type":"overloaded_error"}}\n\n'),
    "verbatim messages": (
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
    ),
    "verbatim responses": (
        b'event: response.created\ndata: {"type":"response.created"}\n\n',
        b'event: response.failed\ndata: {"type":"response.failed","response":{"error":{"code":"overloaded"}}}\n\n',
    ),
    "verbatim gemini": (
        b'data: {"candidates":[]}\r\n\r\n',
        b'data: {"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}\r\n\r\n',
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_a_providers_own_error_is_the_fault_whatever_the_reads_and_cut_anywhere_it_is_still_one(kind: str) -> None:
    begun, error = TOLD[kind]
    data = begun + error
    for at in range(len(begun), len(data)):
        for framed in (True, False):
            scene = run(kind, [data[:at], data[at:], b""], framed=framed)
            assert scene.client.said == data, at
            assert scene.relay.fault is not None
            assert scene.x.kind is scene.relay.fault.kind is Kind.OVERLOADED, at
            scene.close()
        scene = run(kind, [begun, data[len(begun) : at], b""], framed=True)
        assert scene.x.kind in (Kind.BAD_UPSTREAM, Kind.OVERLOADED), at
        assert scene.relay.fault is not None
        assert b"error" in scene.client.said
        scene.close()


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("size", [6_000, 100_000])
def test_a_long_error_is_told_as_far_as_it_fits(kind: str, size: int) -> None:
    """Such as that of Responses, which repeats the request."""
    begun, error = TOLD[kind]
    words = b"It broke. " + b"x" * size
    long = error.replace(b'"no"', b'"%b"' % words).replace(b'"overloaded"', b'"overloaded","message":"%b"' % words)
    data = begun + long
    for step in (len(data), 1_400, 40_000, len(begun)):
        reads = [data[at : at + step] for at in range(0, len(data), step)] if step > len(begun) else [begun, long]
        scene = run(kind, [*reads, b""], framed=True)
        assert scene.client.said == data, step
        fault = scene.relay.fault
        assert fault is not None, step
        assert fault.message.startswith("It broke. xxx"), step
        assert fault.message.endswith("[…]"), step
        assert scene.x.kind is Kind.OVERLOADED, step
        scene.close()


def test_a_long_event_that_is_no_error_is_none() -> None:
    long = b'data: {"choices":[{"delta":{"content":"\\"error\\": {\\"message\\": 1%b"}}]}\n\n' % (b"x" * 9_000)
    for end in (b"data: [DONE]\n\n", b""):
        scene = run("verbatim", [TOLD["verbatim"][0], long, end, b""], framed=True)
        assert (scene.relay.fault is None) == bool(end)
        assert scene.x.kind in (None, Kind.BAD_UPSTREAM)
        scene.close()


@pytest.mark.parametrize("broken", [False, True])
def test_what_breaks_after_a_providers_own_error_changes_nothing(broken: bool) -> None:
    for kind, parts in TOLD.items():
        scene = Scene(kind)
        scene.live()
        for part in parts:
            scene.relay.data(part, False)
        if broken:
            scene.relay.fail(EARLY)
        else:
            scene.relay.data(b"", True)
        assert scene.client.said == b"".join(parts), kind
        assert scene.x.kind is Kind.OVERLOADED, kind
        scene.close()


def test_streams_of_responses_and_gemini_cut_at_any_byte_end_in_one_error_event() -> None:
    completed = b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n'
    finished = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n'
    for kind, end in (("verbatim responses", completed), ("verbatim gemini", finished)):
        data = TOLD[kind][0] + end
        for at in range(1, len(data) - 4):
            for framed in (True, False):
                scene = run(kind, [data[:at], b""], framed=framed)
                found = [each for each in events(scene.client.said) if "error" in each.data]
                assert len(found) == 1, (kind, at)
                assert scene.x.kind is Kind.BAD_UPSTREAM
                scene.close()
        whole = run(kind, [data, b""])
        assert whole.client.said == data
        assert whole.x.kind is None
        whole.close()


def test_an_event_that_never_ends_is_refused_at_a_limit() -> None:
    scene = Scene()
    scene.live()
    for _ in range(10):
        scene.relay.data(b"x" * 1_000_000, False)
    (error,) = errors_in(events(scene.client.said))
    assert "too large" in error.data["error"]["message"]
    assert scene.client.ended
    scene.close()


def test_before_the_client_is_there_a_fast_provider_waits() -> None:
    scene = Scene()
    event = b"data: %b\n\n" % (b"x" * 100_000)
    scene.relay.data(event, False)
    assert scene.reply.paused
    scene.live()
    assert not scene.reply.paused
    assert scene.client.said == event
    assert scene.client.source is scene.reply
    scene.close()


# -- other bodies


class BodyScene:
    def __init__(self, length: int | None) -> None:
        self.client = Client()
        headers = () if length is None else ((b"content-length", b"%d" % length),)
        self.reply = Reply(headers=headers)
        self.x = exchange(self.client)
        self.loop = asyncio.new_event_loop()
        self.relay = Body(self.x, self.reply, self.loop)  # type: ignore[arg-type]

    def start(self, coroutine: Any) -> Any:
        """Runs a coroutine to its first wait."""
        try:
            coroutine.send(None)
        except StopIteration:
            return None
        return coroutine


def test_a_body_is_begun_only_when_its_first_bytes_are_here() -> None:
    scene = BodyScene(10)
    priming = scene.start(scene.relay.prime())
    assert priming is not None
    scene.relay.data(b"12345", False)
    assert scene.client.status == 0
    with pytest.raises(StopIteration):
        priming.send(None)
    delivering = scene.start(scene.relay.deliver(200, b""))
    assert (scene.client.status, scene.client.length, scene.client.said) == (200, 10, b"12345")
    scene.relay.data(b"67890", True)
    assert (scene.client.said, scene.client.ended) == (b"1234567890", True)
    delivering.close()
    scene.loop.close()


def test_a_body_that_breaks_off_before_its_first_byte_is_a_failed_attempt() -> None:
    scene = BodyScene(10)
    priming = scene.start(scene.relay.prime())
    scene.relay.fail(EARLY)
    with pytest.raises(UpstreamFailure):
        priming.send(None)
    assert scene.client.status == 0
    assert not scene.client.aborted
    scene.loop.close()


@pytest.mark.parametrize("when", ["before the client is there", "after"])
def test_a_body_that_breaks_off_later_cuts_the_client_off(when: str) -> None:
    scene = BodyScene(10)
    priming = scene.start(scene.relay.prime())
    scene.relay.data(b"12345", False)
    with pytest.raises(StopIteration):
        priming.send(None)
    if when == "after":
        delivering = scene.start(scene.relay.deliver(200, b""))
        scene.relay.fail(EARLY)
        with pytest.raises(StopIteration):
            delivering.send(None)
    else:
        scene.relay.fail(EARLY)
        assert scene.start(scene.relay.deliver(200, b"")) is None
    assert scene.client.said == b"12345"
    assert scene.client.aborted
    assert not scene.client.ended
    assert scene.x.kind is Kind.BAD_UPSTREAM
    scene.loop.close()


def responses_event(number: int, **fields: Any) -> bytes:
    value = {"type": "response.output_text.delta", "sequence_number": number, "delta": '"sequence_number":99', **fields}
    return b"event: response.output_text.delta\r\ndata: %b\r\n\r\n" % json.dumps(value).encode()


@pytest.mark.parametrize(("line", "size"), [(b"\n", 3), (b"\r\n", 3), (b"\n", 9000)])
def test_the_error_that_ends_a_verbatim_responses_stream_has_the_next_number(line: bytes, size: int) -> None:
    parts = [responses_event(number, padding="x" * size).replace(b"\r\n", line) for number in range(4)]
    data = b"".join(parts)
    for whole in range(1, 5):
        end = sum(map(len, parts[:whole]))
        for at in (end, end + 20, end + len(parts[0]) - 3):
            if at > len(data):
                continue
            scene = Scene("verbatim responses")
            scene.live()
            # Bytes do not come as events do.
            for start in range(0, at, 700):
                scene.relay.data(data[start : min(start + 700, at)], False)
            scene.relay.fail(EARLY)
            *said, error = [
                json.loads(text[6:]) for text in scene.client.said.decode().splitlines() if text.startswith("data: ")
            ]
            assert error["type"] == "error"
            assert [each["sequence_number"] for each in (*said, error)] == list(range(whole + 1))
            scene.close()
