"""The upstream connection: any split of an answer's bytes is the same answer, and doubt ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.errors import Kind
from proxy.address import AddressPolicy
from proxy.errors import UpstreamFailure
from proxy.seams import Origin, Timeouts
from proxy.transport import HttpTransport, http
from proxy.transport.upstream import Upstream
from proxy.turns import Turns
from tests.fakes.upstream import NEXT, End, Scripted, chunk, head, ok


class Wire:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False
        self.reading = True
        self.pauses = 0

    def write(self, data: bytes) -> None:
        self.sent += data

    def writelines(self, parts: Any) -> None:
        self.sent += b"".join(parts)

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    close = abort

    def pause_reading(self) -> None:
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        return None


class Pool:
    """A pool that only notes whether it got the connection back."""

    def __init__(self) -> None:
        self.given = 0
        self.dropped = 0

    def give(self, key: Any, connection: Any) -> None:
        self.given += 1

    def drop(self, key: Any, connection: Any) -> None:
        self.dropped += 1


class Sink:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended = 0
        self.failure: UpstreamFailure | None = None

    def data(self, data: bytes, end: bool) -> None:
        assert not self.ended
        assert self.failure is None
        self.pieces.append(data)
        self.ended += end

    def fail(self, failure: UpstreamFailure) -> None:
        assert not self.ended
        assert self.failure is None
        self.failure = failure


class Scene:
    """One connection on such a wire, with a request already on it."""

    def __init__(self) -> None:
        self.connection = Upstream(Turns(asyncio.get_running_loop()))
        self.wire = Wire()
        self.pool = Pool()
        self.connection.transport = self.wire  # type: ignore[assignment]
        self.connection.pool, self.connection.key = self.pool, object()  # type: ignore[assignment]
        self.asking: asyncio.Task[None] | None = None
        self.sink = Sink()

    @classmethod
    async def of(cls, how: str) -> Scene:
        """One that is `new`, or that is `warm`: it has brought a whole answer before, and is asked for heads alone."""
        scene = cls()
        if how == "warm":
            await scene.ask()
            await scene.take([ok(b'{"first":1}')])
            scene.connection.finish()
            assert scene.connection._quick
            scene.sink, scene.pool.given = Sink(), 0
        return scene

    async def ask(self) -> None:
        self.asking = asyncio.ensure_future(self.connection.exchange(b"POST / HTTP/1.1\r\n\r\n", b"{}", Timeouts()))
        await asyncio.sleep(0)

    async def take(self, pieces: list[bytes], *, eof: bool = False) -> None:
        """Feeds reads; pours into the sink as soon as the head is there."""
        poured = False
        for piece in pieces:
            if self.connection.transport is None or self.wire.aborted:
                break
            self.connection.data_received(piece)
            if self.connection._have_head and not poured:
                poured = True
                self.connection.pour(self.sink)
        if eof:
            self.connection.connection_lost(None)
        assert self.asking is not None
        await asyncio.gather(self.asking, return_exceptions=True)


HOW = pytest.mark.parametrize("how", ["new", "warm"])
BODY = b'{"text":"\xc3\xa9 0\\r\\n\\r\\n"}\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK'
CHUNKED = (
    head(200, transfer_encoding="chunked")
    + b"".join(chunk(BODY[at : at + 7]) for at in range(0, len(BODY), 7))
    + b"0\r\n\r\n"
)
ANSWERS = {
    "with a length": ok(BODY),
    "chunked": CHUNKED,
    "chunked with extensions": head(200, transfer_encoding="chunked") + b"2;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (BODY[:2], len(BODY) - 2, BODY[2:]),
    "after early hints": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok(BODY),
    "chunked after a hundred continue": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED,
}  # fmt: skip


def splits(data: bytes) -> list[list[bytes]]:
    """Every cut in two, one in three for each distance, and byte by byte."""
    found = [[data[:at], data[at:]] for at in range(1, len(data))]
    found += [[data[:at], data[at : at + 9], data[at + 9 :]] for at in range(1, len(data) - 9)]
    return [[data], [data[at : at + 1] for at in range(len(data))], *found]


@HOW
@pytest.mark.parametrize("answer", ANSWERS)
async def test_any_split_of_the_same_bytes_is_the_same_answer(answer: str, how: str) -> None:
    for pieces in splits(ANSWERS[answer]):
        scene = await Scene.of(how)
        await scene.ask()
        await scene.take(pieces)
        assert b"".join(scene.sink.pieces) == BODY, pieces
        assert scene.sink.ended == 1, pieces
        assert scene.connection.status == 200
        assert dict(scene.connection.raw_headers)[b"content-type"] == b"application/json"
        scene.connection.finish()
        assert (scene.pool.given, scene.pool.dropped) == (1, 0), pieces


@HOW
@pytest.mark.parametrize("answer", [name for name in ANSWERS if "after" not in name])
async def test_an_answer_cut_anywhere_is_a_failure_and_the_connections_end(answer: str, how: str) -> None:
    data = ANSWERS[answer]
    body_at = data.index(b"\r\n\r\n") + 4
    for at in range(len(data)):
        scene = await Scene.of(how)
        await scene.ask()
        await scene.take([data[:at]] if at else [], eof=True)
        failure = scene.sink.failure
        if at < body_at:
            assert scene.asking is not None
            raised = scene.asking.exception()
            assert isinstance(raised, UpstreamFailure)
            assert raised.kind is (Kind.UNREACHABLE if at == 0 else Kind.BAD_UPSTREAM)
        else:
            assert failure is not None, at
            assert failure.kind is Kind.BAD_UPSTREAM
            assert BODY.startswith(b"".join(scene.sink.pieces))
        scene.connection.finish()
        assert (scene.pool.given, scene.pool.dropped) == (0, 1)


@HOW
async def test_a_body_without_length_ends_with_its_connection(how: str) -> None:
    scene = await Scene.of(how)
    await scene.ask()
    await scene.take([b"HTTP/1.1 200 OK\r\n\r\nhalf", b" and half"], eof=True)
    assert (b"".join(scene.sink.pieces), scene.sink.ended) == (b"half and half", 1)
    assert not scene.connection.framed
    scene.connection.finish()
    assert (scene.pool.given, scene.pool.dropped) == (0, 1)


@HOW
@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_are_whole_at_once(status: int, how: str) -> None:
    scene = await Scene.of(how)
    await scene.ask()
    await scene.take([b"HTTP/1.1 %d X\r\n\r\n" % status])
    assert scene.connection.complete
    assert (scene.sink.pieces, scene.sink.ended) == ([b""], 1)
    assert scene.connection.take() == b""
    scene.connection.finish()
    assert scene.pool.given == 1


DOUBTFUL = {
    "more behind it": ok(BODY) + b"x",
    "another answer behind it": ok(BODY) + ok(b"{}"),
    "half an answer behind it": ok(BODY) + b"HTTP/1.1 200",
    "a wish to close": ok(BODY, connection="close"),
    "HTTP/1.0": ok(BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
}


@HOW
@pytest.mark.parametrize("doubt", DOUBTFUL)
async def test_a_connection_in_doubt_is_not_lent_again(doubt: str, how: str) -> None:
    scene = await Scene.of(how)
    await scene.ask()
    await scene.take([DOUBTFUL[doubt]])
    assert b"".join(scene.sink.pieces) in (b"", BODY)
    scene.connection.finish()
    assert (scene.pool.given, scene.pool.dropped) == (0, 1)


@HOW
@pytest.mark.parametrize("half", ["unread", "paused", "cancelled"])
async def test_a_connection_with_half_an_exchange_on_it_is_not_lent_again(half: str, how: str) -> None:
    scene = await Scene.of(how)
    await scene.ask()
    if half == "cancelled":
        assert scene.asking is not None
        scene.asking.cancel()
    else:
        scene.connection.data_received(ok(BODY)[:-1] if half == "unread" else ok(BODY))
    if half == "paused":
        scene.connection.pause()
    scene.connection.finish()
    scene.connection.finish()
    assert (scene.pool.given, scene.pool.dropped) == (0, 1)


async def test_bytes_on_an_idle_connection_end_it() -> None:
    scene = Scene()
    scene.connection.data_received(ok(b'{"poison":1}'))
    assert scene.wire.aborted
    assert scene.connection.should_close


async def test_many_bytes_before_anybody_takes_them_stop_the_reading_until_somebody_does() -> None:
    scene = Scene()
    await scene.ask()
    big = b"x" * 200_000
    scene.connection.data_received(head(content_length="1000000") + big)
    assert not scene.wire.reading
    scene.connection.pour(scene.sink)
    assert scene.wire.reading
    assert b"".join(scene.sink.pieces) == big


async def test_pausing_stops_the_clock_and_resuming_starts_it_anew() -> None:
    scene = Scene()
    await scene.ask()
    scene.connection.data_received(head(content_length="10") + b"a")
    scene.connection.pour(scene.sink)
    scene.connection.pause()
    assert scene.connection.deadline == float("inf")
    assert not scene.wire.reading
    scene.connection.resume()
    assert scene.connection.deadline < float("inf")
    assert scene.wire.reading


async def test_a_gathered_body_has_a_limit_and_a_failure_of_its_own() -> None:
    for pieces, limit in (([ok(b"x" * 100)], 99), ([head(content_length="100"), b"x" * 50, b"x" * 50], 99)):
        scene = Scene()
        await scene.ask()
        scene.connection.data_received(pieces[0])
        gathering = asyncio.ensure_future(scene.connection.gather(limit))
        await asyncio.sleep(0)
        for piece in pieces[1:]:
            scene.connection.data_received(piece)
        with pytest.raises(UpstreamFailure, match="larger than 99 bytes"):
            await gathering
    scene = Scene()
    await scene.ask()
    scene.connection.data_received(head(content_length="100") + b"x")
    gathering = asyncio.ensure_future(scene.connection.gather(1000))
    await asyncio.sleep(0)
    scene.connection.connection_lost(None)
    with pytest.raises(UpstreamFailure, match="broke off"):
        await gathering


# -- the whole transport, on real sockets


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    loop = asyncio.get_running_loop()
    made = HttpTransport(AddressPolicy(private=True), AddressPolicy(private=False), 30.0, loop)
    yield made
    await made.close()


def origin(upstream: Scripted, *, guarded: bool = False) -> Origin:
    return Origin("http", "127.0.0.1", upstream.port, guarded=guarded)


ASK = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n"


async def test_two_origins_of_one_address_share_its_connections(transport: HttpTransport) -> None:
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        for _ in range(3):
            reply = await transport.send(origin(upstream), ASK, b"{}", Timeouts())
            assert await reply.gather(10) == b"{}"
            reply.finish()
        assert len(upstream.connections) == 1


async def test_a_host_that_a_client_named_never_leads_to_a_private_address(transport: HttpTransport) -> None:
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        reply = await transport.send(origin(upstream), ASK, b"{}", Timeouts())
        reply.finish()
        # Not even over a connection that an operator's host has open.
        with pytest.raises(UpstreamFailure) as refused:
            await transport.send(origin(upstream, guarded=True), ASK, b"{}", Timeouts())
        assert refused.value.kind is Kind.FORBIDDEN
        assert len(upstream.connections) == 1


async def test_a_failure_says_whether_the_request_may_have_arrived(transport: HttpTransport) -> None:
    async with Scripted([End.FIN]) as upstream:
        with pytest.raises(UpstreamFailure) as failed:
            await transport.send(origin(upstream), ASK, b"{}", Timeouts())
        assert (failed.value.kind, failed.value.sent) == (Kind.UNREACHABLE, True)
    with pytest.raises(UpstreamFailure) as failed:
        await transport.send(origin(upstream), ASK, b"{}", Timeouts())
    assert (failed.value.kind, failed.value.sent) == (Kind.UNREACHABLE, False)


async def test_one_timer_watches_all_connections_and_rests_when_none_is_open(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_SWEEP", 0.01)
    async with Scripted([]) as upstream:
        limits = Timeouts(first_byte=0.05)
        sent = [transport.send(origin(upstream), ASK, b"{}", limits) for _ in range(20)]
        for failed in await asyncio.gather(*sent, return_exceptions=True):
            assert isinstance(failed, UpstreamFailure)
            assert failed.kind is Kind.TIMEOUT
        async with asyncio.timeout(30):
            while transport._sweeper is not None:
                await asyncio.sleep(0.01)
        assert not transport.active
        await upstream.until(lambda u: u.open == 0)


async def test_a_stale_connection_is_replaced_once_and_the_other_idle_ones_are_forgotten(
    transport: HttpTransport,
) -> None:
    async with Scripted([ok(b"{}"), NEXT, End.RST], [ok(b'{"fresh":1}')]) as upstream:
        reply = await transport.send(origin(upstream), ASK, b"{}", Timeouts())
        await reply.gather(10)
        reply.finish()
        reply = await transport.send(origin(upstream), ASK, b"{}", Timeouts())
        assert await reply.gather(100) == b'{"fresh":1}'
        reply.finish()
        assert [asked.connection for asked in upstream.requests] == [0, 0, 1]


async def test_closing_closes_every_connection(transport: HttpTransport) -> None:
    async with Scripted(play=lambda asked: [ok(b"{}")]) as upstream:
        reply = await transport.send(origin(upstream), ASK, b"{}", Timeouts())
        reply.finish()
        waiting = asyncio.ensure_future(transport.send(origin(upstream), ASK, b"{}", Timeouts()))
        await waiting
        await transport.close()
        await upstream.until(lambda u: u.open == 0)
