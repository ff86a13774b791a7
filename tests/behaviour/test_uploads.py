"""Bodies that only pass through: whole, in bounded memory, once, and no further than the provider wants them."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from tests.behaviour.client import connect, request
from tests.behaviour.rig import Rig, api_key
from tests.fakes.provider import Provider
from tests.fakes.upstream import NEXT, Asked, End, Scripted, ok

PATH = "/v1/anything"
FORM = "multipart/form-data; boundary=here"


def upload(size: int | None, **headers: str) -> bytes:
    """The head of an upload; `size` None is a chunked one."""
    framing = {"transfer-encoding": "chunked"} if size is None else {"content-length": str(size)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-type": FORM, "x-portkey-virtual-key": "openai", **framing, **named}
    raw = request(PATH, b"", fields)
    return raw.replace(b"content-length: 0\r\n", b"") if size is None else raw


def form(size: int) -> bytes:
    return b'--here\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n--here--\r\n' % (
        os.urandom(size)
    )


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_arrives_byte_for_byte_whatever_its_framing(provider: Provider, chunked: bool) -> None:
    body = form(300_000)
    async with Rig(openai=provider.url) as rig:
        line = await connect(rig.port)
        line.send(upload(None if chunked else len(body)))
        for at in range(0, len(body), 65_537):
            piece = body[at : at + 65_537]
            line.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await asyncio.sleep(0)
        if chunked:
            line.send(b"0\r\n\r\n")
        answer = await line.answer()
    assert answer.status == 200
    assert provider.last.sha256 == hashlib.sha256(body).hexdigest()
    assert provider.last.size == len(body)
    assert provider.last.header("content-type") == FORM


async def test_the_first_bytes_of_an_upload_reach_the_provider_before_its_last_ones_are_sent() -> None:
    async with Scripted([ok(b"{}")]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        line.send(upload(10) + b"12345")
        await upstream.until(lambda u: u.connections and u.last.unread.endswith(b"12345"))
        line.send(b"67890")
        assert (await line.answer()).status == 200
        assert upstream.requests[0].body == b"1234567890"


@pytest.mark.parametrize("waits", [False, True])
async def test_an_answer_before_the_end_of_an_upload_reaches_the_client_at_once(
    provider: Provider, waits: bool
) -> None:
    """`waits`: the client sends no more before it is answered."""
    async with Rig(openai=provider.at(early=1, status=413)) as rig:
        line = await connect(rig.port)
        line.send(upload(50_000_000) + b"x" * 1000)
        if not waits:
            for _ in range(100):
                line.send(b"y" * 65_536)
                await asyncio.sleep(0)
        answer = await line.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        assert answer.json()["error"]["message"]
        # A client that goes on for ever, or never closes, is not waited for.
        line.send(b"z" * 1000)
        await line.end()
        await rig.until(lambda: rig.quiet and not rig.gateway.edge.connections)


@pytest.mark.parametrize("how", End)
async def test_a_provider_that_leaves_within_an_upload_is_a_bad_gateway(how: End) -> None:
    async with Scripted(on_connect=[]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        line.send(upload(50_000_000) + b"x" * 1000)
        await upstream.until(lambda u: u.received > 1000)
        upstream.last.end(how)
        answer = await line.answer()
        assert answer.status == 502
        assert answer.json()["error"]["type"] == "upstream_error"
        await rig.until(lambda: rig.quiet)


async def test_a_provider_that_stops_reading_stops_the_client() -> None:
    async with Scripted(on_connect=[]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        line.send(upload(500_000_000))
        await upstream.until(lambda u: u.connections)
        transport = upstream.last.transport
        assert transport is not None
        assert line.transport is not None
        transport.pause_reading()
        sent = 0
        while line.transport.get_write_buffer_size() == 0:
            line.send(b"x" * 1_000_000)
            sent += 1_000_000
            for _ in range(50):
                await asyncio.sleep(0.001)
        assert sent < 30_000_000
        line.leave()
        transport.resume_reading()
        await upstream.until(lambda u: u.open == 0)
        await rig.until(lambda: rig.quiet)


async def test_a_client_that_leaves_within_its_upload_takes_the_providers_connection_with_it() -> None:
    async with Scripted(on_connect=[]) as upstream, Rig(openai=upstream.url) as rig:
        for reset in (False, True):
            line = await connect(rig.port)
            line.send(upload(1_000_000) + b"x" * 1000)
            await upstream.until(lambda u: u.open == 1 and u.last.transport is not None)
            line.leave(reset=reset)
            await upstream.until(lambda u: u.open == 0)
            await rig.until(lambda: rig.quiet)
        rows = await rig.usage()
        assert [row["outcome"] for row in rows] == ["cancelled", "cancelled"]


RETRIES = {"retry": {"attempts": 3, "on_status_codes": [502, 503]}, "virtual_key": "openai"}
FALLBACK = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai"}, {"virtual_key": "openai-two"}]}


@pytest.mark.parametrize("config", [RETRIES, FALLBACK], ids=["retry", "fallback"])
async def test_an_upload_that_was_begun_is_never_sent_a_second_time(config: dict[str, object]) -> None:
    def play(asked: Asked) -> list[bytes]:
        return [ok(b'{"error":{"message":"overloaded"}}', 503)]

    async with Scripted(play=play) as upstream:
        rig = Rig(openai=upstream.url, openai_two=upstream.url, configs={"pc-test": config})
        async with rig:
            rig.gateway.pipeline._forwarder._sleep = at_once
            body = form(1000)
            line = await connect(rig.port)
            line.send(upload(len(body), x_portkey_config="pc-test", x_portkey_virtual_key="") + body)
            answer = await line.answer()
    assert answer.status == 503
    assert [asked.body for asked in upstream.requests] == [body]


async def test_an_upload_whose_provider_was_never_reached_goes_to_the_next_target(provider: Provider) -> None:
    async with Scripted() as nobody:
        dead = nobody.url
    async with Rig(openai=dead, openai_two=provider.url, configs={"pc-test": FALLBACK}) as rig:
        body = form(1000)
        line = await connect(rig.port)
        line.send(upload(len(body), x_portkey_config="pc-test", x_portkey_virtual_key="") + body)
        answer = await line.answer()
    assert answer.status == 200
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
    assert provider.last.sha256 == hashlib.sha256(body).hexdigest()


async def test_uploads_never_meet_a_connection_that_may_be_stale() -> None:
    async with Scripted([ok(b"{}"), NEXT, End.RST], [ok(b"{}")]) as upstream, Rig(openai=upstream.url) as rig:
        assert (await rig.chat()).status == 200
        body = form(1000)
        line = await connect(rig.port)
        line.send(upload(len(body)) + body)
        assert (await line.answer()).status == 200
        assert [asked.connection for asked in upstream.requests] == [0, 1]


async def test_a_hundred_continue_is_said_only_to_those_who_may_upload(provider: Provider) -> None:
    async with Rig(openai=provider.url, keys=(api_key("admin", "lw-admin", scopes=("admin",)),)) as rig:
        line = await connect(rig.port)
        line.send(upload(5, expect="100-continue", x_portkey_api_key="lw-nobody"))
        assert (await line.answer()).status == 401
        line = await connect(rig.port)
        line.send(upload(5, expect="100-continue", x_portkey_api_key="lw-admin"))
        assert (await line.answer()).status == 403
        line = await connect(rig.port)
        line.send(upload(5, expect="100-continue"))
        assert await line.receive(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.send(b"12345")
        assert (await line.answer()).status == 200
        assert provider.last.size == 5


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


async def test_the_slow_part_of_an_upload_is_not_the_providers_time() -> None:
    """The provider's limit for the first byte begins when it has the whole request."""
    async with (
        Scripted([ok(b"{}")]) as upstream,
        Rig(openai=upstream.url, timeouts={"first_byte_timeout": 0.5, "idle_timeout": 30.0}) as rig,
    ):
        line = await connect(rig.port)
        line.send(upload(2) + b"1")
        await upstream.until(lambda u: u.received)
        await asyncio.sleep(0.7)
        line.send(b"2")
        assert (await line.answer()).status == 200
