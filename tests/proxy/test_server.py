"""The edge: what one client connection gets, and how long it may take."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.server import door, edge
from tests.behaviour.client import Line, connect, request
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.fakes.provider import Provider, steered

HEALTH = request("/healthz", method="GET")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture
async def rig(provider: Provider) -> AsyncIterator[Rig]:
    async with Rig(openai=provider.url, anthropic=provider.url) as running:
        yield running


@pytest.fixture
async def hasty(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A gateway that waits for nobody longer than a moment."""
    monkeypatch.setattr(edge, "_SWEEP", 0.05)
    limits = {"header_timeout": 0.3, "body_timeout": 0.1, "keepalive_timeout": 0.1}
    async with Rig(openai=provider.url, anthropic=provider.url, server=limits) as running:
        yield running


def chat(rig: Rig, path: str = "/v1/chat/completions", body: Any = CHAT, **fields: str) -> bytes:
    return rig.raw(path, body, vk="anthropic" if "messages" in path else "openai", **fields)


async def drip(line: Line, data: bytes) -> None:
    """Sends a byte now and then, for ever, or until the gateway has had enough."""
    for byte in data * 10_000:
        if line.over:
            return
        line.send(bytes([byte]))
        await asyncio.sleep(0.01)


# -- one connection


async def test_a_connection_serves_one_request_after_the_other(rig: Rig) -> None:
    line = await connect(rig.port)
    traces = set()
    for _ in range(20):
        line.send(chat(rig))
        answer = await line.answer()
        assert answer.status == 200
        assert "connection" not in answer.headers
        traces.add(answer.headers["x-portkey-trace-id"])
    assert len(traces) == 20
    line.leave()


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_a_request_in_the_smallest_pieces_is_served(rig: Rig, provider: Provider, before: int) -> None:
    line = await connect(rig.port)
    raw = chat(rig)
    for _ in range(before):
        line.send(raw)
        assert (await line.answer()).status == 200
    for byte in raw:
        line.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await line.answer()).status == 200
    assert provider.last.body == raw.partition(b"\r\n\r\n")[2]
    line.leave()


async def test_a_later_request_cut_in_two_anywhere_is_the_same_request(rig: Rig, provider: Provider) -> None:
    line = await connect(rig.port)
    raw = chat(rig)
    for at in range(len(raw)):
        line.send(raw[:at])
        for _ in range(3):
            await asyncio.sleep(0)
        line.send(raw[at:])
        assert (await line.answer()).status == 200, at
        assert provider.last.body == raw.partition(b"\r\n\r\n")[2]
    line.leave()


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_the_beginning_of_the_next_request_is_not_lost_with_the_end_of_this_one(rig: Rig, before: int) -> None:
    line = await connect(rig.port)
    raw = chat(rig)
    for _ in range(before):
        line.send(raw)
        assert (await line.answer()).status == 200
    for at in (1, 3, 30):
        line.send(raw + raw[:at])
        assert (await line.answer()).status == 200
        line.send(raw[at:])
        assert (await line.answer()).status == 200, at
    line.leave()


async def test_an_answer_to_head_has_the_length_but_not_the_body(rig: Rig) -> None:
    line = await connect(rig.port)
    for path in ("/healthz", "/v1/models"):
        line.send(request(path, method="HEAD"))
        status, headers = await line.head()
        assert status == 200
        assert int(headers["content-length"]) > 10
    line.send(HEALTH)
    assert (await line.answer()).json()["status"] == "success"
    line.leave()


async def test_a_client_of_http_1_0_gets_no_chunks(rig: Rig) -> None:
    for keep, expected in ((b"", False), (b"connection: keep-alive\r\n", True)):
        for stream in (False, True):
            line = await connect(rig.port)
            raw = chat(rig, body={**CHAT, "stream": stream}).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + keep, 1)
            line.send(raw)
            answer = await line.answer()
            assert answer.status == 200
            assert "transfer-encoding" not in answer.headers
            assert (answer.headers.get("connection") == "keep-alive") == (expected and not stream)
            assert stream == (b"data: [DONE]" in answer.body)
            line.leave()


@pytest.mark.parametrize(
    ("path", "extra", "status"),
    [
        ("/healthz?" + "a" * 9000, b"", 414),
        ("/healthz", b"x-long: %b\r\n" % (b"a" * 40_000), 431),
        ("/healthz", b"".join(b"x-%d: y\r\n" % number for number in range(120)), 431),
        ("/healthz", b"".join(b"x-%d: %b\r\n" % (number, b"a" * 10_000) for number in range(7)), 431),
    ],
)
async def test_a_head_that_is_too_large_is_told_what_of_it_is(rig: Rig, path: str, extra: bytes, status: int) -> None:
    line = await connect(rig.port)
    line.send(b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n" % (path.encode(), extra))
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.headers["x-portkey-trace-id"]
    assert answer.json()["error"]["message"]
    assert await line.end() == b""


async def test_an_answer_that_lasts_takes_nothing_from_the_next_request(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lasts, a connection lets go of its parser and of the prompt."""
    monkeypatch.setattr(edge, "_SWEEP", 0.01)
    body = {**CHAT, "stream": True, "messages": [{"role": "user", "content": "some more words " * 100}]}
    async with Rig(openai=provider.url) as rig:
        slow = chat(rig, body={**body, "model": steered("gpt-4o", gap=20, chunks=8)})
        quick = chat(rig, body={**body, "model": steered("gpt-4o", chunks=8)})
        line = await connect(rig.port)

        def light() -> bool:
            (here,) = rig.gateway.edge.doors
            return here._serving and here._parser is None

        for cut in (0, len(slow) - 100, slow.index(b"\r\n\r\n") + 4, 100):
            line.send(slow[:cut])
            await asyncio.sleep(0.01)
            line.send(slow[cut:])
            await rig.until(light)
            assert (await line.answer()).body.endswith(b"data: [DONE]\n\n")
            line.send(chat(rig, body={**CHAT, "model": steered("gpt-4o", latency=50)}))
            assert (await line.answer()).status == 200
        for byte in quick:
            line.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await line.answer()).status == 200
        assert provider.last.body == quick.partition(b"\r\n\r\n")[2]
        # What has come of the next request by then is kept: but that it has, is only known when it goes on.
        line.send(slow + quick[:30])
        assert (await line.answer()).status == 200
        line.send(quick[30:])
        assert (await line.answer()).status == 200
        line.leave()
        streams = [row for row in await rig.usage() if row["streamed"]]
    assert [row["estimated"] for row in streams] == [1] * 7
    assert len({row["input_tokens"] for row in streams}) == 1
    assert streams[0]["input_tokens"] > 300


async def test_streams_that_come_in_one_turn_mix_with_nothing(rig: Rig) -> None:
    """What waits for the end of a turn is written before whatever ends the stream or follows it."""
    lines = [await connect(rig.port) for _ in range(80)]
    sizes = {}
    for number, line in enumerate(lines):
        prompt = {**CHAT, "stream": True, "model": steered("gpt-4o", gap=1 + number % 2, chunks=4 + number % 7)}
        line.send(chat(rig, body=prompt))
    for number, line in enumerate(lines):
        answer = await line.answer()
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert sizes.setdefault(number % 7, answer.body.count(b"\n\n")) == answer.body.count(b"\n\n")
        line.send(chat(rig))
    for line in lines:
        assert (await line.answer()).status == 200
        line.leave()
    assert len(set(sizes.values())) == 7


async def test_a_second_request_before_the_first_is_answered_is_never_read(rig: Rig, provider: Provider) -> None:
    line = await connect(rig.port)
    line.send(chat(rig, body={**CHAT, "model": steered("gpt-4o", latency=100)}))
    await provider.until(lambda stats: stats["open"] == 1)
    line.send(chat(rig) * 40)
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await line.end() == b""
    assert provider.stats["requests"] == 1


async def test_what_comes_with_the_end_of_a_request_that_is_served_already_is_never_read(
    rig: Rig, provider: Provider
) -> None:
    line = await connect(rig.port)
    raw = chat(rig)
    line.send(raw[:-5])
    await rig.until(lambda: rig.in_flight)
    line.send(raw[-5:] + raw)
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await line.end() == b""
    assert provider.stats["requests"] == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_pipelines_cannot_hide_that_it_left(rig: Rig, provider: Provider, reset: bool) -> None:
    lines = [await connect(rig.port) for _ in range(20)]
    for line in lines:
        line.send(chat(rig, body={**CHAT, "model": steered("gpt-4o", latency=30_000)}) * 40)
    await provider.until(lambda stats: stats["open"] == 20)
    for line in lines:
        line.leave(reset=reset)
    await provider.until(lambda stats: stats["open"] == 0)
    assert provider.stats["requests"] == 20
    await rig.until(lambda: rig.quiet)


async def test_a_client_that_says_it_sends_no_more_has_left(rig: Rig, provider: Provider) -> None:
    # HTTP cannot tell half a close from a whole one, and a request that nobody waits for costs money.
    line = await connect(rig.port)
    line.send(chat(rig, body={**CHAT, "model": steered("gpt-4o", latency=30_000)}))
    await provider.until(lambda stats: stats["open"] == 1)
    assert line.transport is not None
    line.transport.write_eof()
    await provider.until(lambda stats: stats["open"] == 0)
    assert await line.end() == b""


# -- what every answer says


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"x_portkey_trace_id": "mine"}, "mine"),
        ({"x_loopway_trace_id": "mine"}, "mine"),
        ({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "ab" * 16),
        ({"x_portkey_trace_id": "mine", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "mine"),
        ({"x_portkey_trace_id": "t" * 1000}, "t" * 256),
        ({"traceparent": "00-short"}, None),
        ({}, None),
    ],
)
async def test_every_answer_bears_the_trace(rig: Rig, fields: dict[str, str], expected: str | None) -> None:
    for path, body in (
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", MESSAGES),
        ("/v1/chat/completions", b"{"),
        ("/x", b""),
    ):
        answer = await rig.post(path, body, vk="openai" if body is CHAT else "anthropic", **fields)
        trace = answer.headers["x-portkey-trace-id"]
        assert trace == expected if expected else re.fullmatch(r"[0-9a-f]{32}", trace)


async def test_a_refused_head_is_answered_in_json_and_told_to_close(rig: Rig) -> None:
    line = await connect(rig.port)
    line.send(b"NONSENSE\r\n\r\n")
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-portkey-trace-id"]
    assert b"NONSENSE" not in answer.body
    assert await line.end() == b""


# -- 100-continue


def expecting(rig: Rig, path: str = "/v1/chat/completions", **fields: str) -> tuple[bytes, bytes]:
    head, _, body = chat(rig, path, expect="100-continue", **fields).partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/files"])
async def test_a_client_is_told_to_go_on_once_it_may_come_in(rig: Rig, provider: Provider, path: str) -> None:
    head, body = expecting(rig, path)
    line = await connect(rig.port)
    line.send(head)
    assert await line.receive(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    line.send(body)
    assert (await line.answer()).status in (200, 400)
    assert provider.last.body == body
    line.leave()


@pytest.mark.parametrize(
    "fields", [{"x_portkey_api_key": "wrong"}, {"content_length": "999999999999"}, {"content_type": "x/y"}]
)
async def test_a_client_that_may_not_come_in_is_not_told_to_go_on(rig: Rig, fields: dict[str, str]) -> None:
    head, _ = expecting(rig, **fields)
    line = await connect(rig.port)
    line.send(head)
    answer = await line.answer()
    assert answer.status in (400, 401, 413)
    assert answer.headers["connection"] == "close"
    assert await line.end() == b""


async def test_where_nothing_is_nobody_is_told_to_go_on(rig: Rig) -> None:
    head, _ = expecting(rig, "/elsewhere")
    line = await connect(rig.port)
    line.send(head)
    assert (await line.answer()).status == 404
    assert await line.end() == b""


async def test_a_body_that_is_here_already_needs_no_leave(rig: Rig) -> None:
    line = await connect(rig.port)
    line.send(b"".join(expecting(rig)))
    assert (await line.answer()).status == 200
    line.leave()


# -- the slow


@pytest.mark.parametrize(
    "begun", [b"", b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-y: ", b"\r\n\r\n"]
)
async def test_a_head_that_does_not_come_is_not_waited_for(hasty: Rig, begun: bytes) -> None:
    line = await connect(hasty.port)
    line.send(begun)
    await line.end()


async def test_a_head_that_drips_is_not_waited_for(hasty: Rig) -> None:
    line = await connect(hasty.port)
    await asyncio.wait_for(drip(line, b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x-y: z\r\n" * 90), 60)
    assert line.over


async def test_a_second_head_that_drips_is_not_waited_for(hasty: Rig) -> None:
    line = await connect(hasty.port)
    line.send(HEALTH)
    assert (await line.answer()).status == 200
    await asyncio.wait_for(drip(line, HEALTH[:-2] + b"x-y: z\r\n" * 90), 60)
    assert line.over


async def test_an_idle_connection_is_closed(hasty: Rig) -> None:
    line = await connect(hasty.port)
    line.send(HEALTH)
    assert (await line.answer()).status == 200
    assert await line.end() == b""


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/files", "/v1/virtual-keys"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_does_not_come_is_not_waited_for(
    hasty: Rig, provider: Provider, path: str, chunked: bool
) -> None:
    head, _, body = chat(hasty, path).partition(b"\r\n\r\n")
    if chunked:
        head = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked", head)
        body = b"ffff\r\n" + body
    line = await connect(hasty.port)
    line.send(head + b"\r\n\r\n" + body[:20])
    answer = await line.answer()
    assert answer.status == (403 if "virtual" in path else 408)
    assert answer.headers["connection"] == "close"
    assert answer.json()["error"]["message"]
    assert ("type" in answer.json()) == ("messages" in path)
    assert await line.end() == b""
    await hasty.until(lambda: hasty.quiet)
    await provider.until(lambda stats: stats["open"] == 0)


async def test_a_body_that_drips_is_not_waited_for(
    rig: Rig, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_RATE_GRACE", 0.1)
    head, _, _ = chat(rig, content_length="100000").partition(b"\r\n\r\n")
    line = await connect(rig.port)
    line.send(head + b"\r\n\r\n")
    await asyncio.wait_for(drip(line, b" "), 60)
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert "slowly" in answer.json()["error"]["message"]
    assert provider.stats["requests"] == 0


async def test_many_slow_clients_do_not_slow_the_others(hasty: Rig) -> None:
    slow = [await connect(hasty.port) for _ in range(200)]
    for line in slow:
        line.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    for _ in range(20):
        assert (await hasty.post("/v1/chat/completions", CHAT, vk="openai")).status == 200
    for line in slow:
        await line.end()


async def test_a_body_in_many_chunks_is_put_together(rig: Rig, provider: Provider) -> None:
    body = json.dumps({**CHAT, "user": "u" * 20_000}).encode()
    head = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked", chat(rig).partition(b"\r\n\r\n")[0])
    line = await connect(rig.port)
    line.send(head + b"\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    answer = await line.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert provider.last.body == body
    line.leave()
