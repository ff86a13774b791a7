"""The mock provider misbehaves exactly as told, and its ledger stays honest meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import signal
import socket
import struct
import sys
from typing import Any, NamedTuple

import aiohttp
import anthropic
import openai
import pytest

from proxy.errors import StartupError
from proxy.mock import Mock, modes
from tests.fakes.provider import BEARER, CHAT, HELLO, Provider, mode_text, provider, steered

__all__ = ["provider"]


def chat_body(content: str = "Hello there", **fields: Any) -> bytes:
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **fields}).encode()


class Received(NamedTuple):
    """What a raw socket saw: all bytes, and whether the connection was reset."""

    data: bytes
    reset: bool

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]


async def open_raw(provider: Provider, mode: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    fields = f"host: mock\r\nauthorization: Bearer sk-test\r\nx-mock-mode: {mode}\r\ncontent-length: {len(body)}"
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
    return reader, writer


async def raw(provider: Provider, mode: str, body: bytes = b"") -> Received:
    """Sends one request and reads until the mock ends the connection."""
    reader, writer = await open_raw(provider, mode, body or chat_body())
    data, reset = b"", False
    try:
        while part := await reader.read(65536):
            data += part
    except ConnectionResetError:
        reset = True
    writer.close()
    return Received(data, reset)


# --- Modes ----------------------------------------------------------------------------------------------------------


def test_later_modes_win_and_unknown_ones_are_named() -> None:
    assert modes.parse("chunks=3,latency=5", "chunks=4") == modes.Mode(chunks=4, latency=5)
    with pytest.raises(ValueError, match="unknown field `chunk`"):
        modes.parse("chunk=3")
    assert modes.split_model("gpt-4o::chunks=3") == ("chunks=3", "gpt-4o")
    assert modes.split_model("mixtral::8x7b") == ("", "mixtral::8x7b")
    assert modes.split_path("/__mode/status=500%2Ckey=a/v1/models") == ("status=500,key=a", "/v1/models")


async def test_header_wins_over_model_and_model_over_path(provider: Provider) -> None:
    base = provider.at(status=500)
    async with aiohttp.ClientSession(headers=BEARER) as session:
        url, model = f"{base}/v1/chat/completions", steered("gpt-4o", status=501)
        async with session.post(url, json=CHAT) as by_path:
            assert by_path.status == 500
        async with session.post(url, json={**CHAT, "model": model}) as by_model:
            assert by_model.status == 501
        async with session.post(url, json={**CHAT, "model": model}, headers={"x-mock-mode": "status=502"}) as by_header:
            assert by_header.status == 502
    assert provider.last.model == "gpt-4o"
    assert provider.last.route == "/v1/chat/completions"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 529])
async def test_errors_come_in_the_shape_of_the_provider(provider: Provider, status: int) -> None:
    async with provider.openai() as openai_sdk, provider.anthropic() as anthropic_sdk:
        model = steered("m", status=status, retry_after=7)
        with pytest.raises(openai.APIStatusError) as by_openai:
            await openai_sdk.chat.completions.create(model=model, messages=HELLO)
        with pytest.raises(anthropic.APIStatusError) as by_anthropic:
            await anthropic_sdk.messages.create(model=model, messages=HELLO, max_tokens=5)
    assert by_openai.value.status_code == by_anthropic.value.status_code == status
    assert by_openai.value.response.headers["retry-after"] == "7"
    assert by_anthropic.value.response.json()["type"] == "error"


async def test_the_first_requests_of_a_key_fail_and_the_next_succeed(provider: Provider) -> None:
    async def status_of(key: str) -> int:
        body = {**CHAT, "model": steered("gpt-4o", fail_first=2, status=503, key=key)}
        return (await provider.post("/v1/chat/completions", body, **BEARER))[0]

    assert [await status_of("a") for _ in range(3)] == [503, 503, 200]
    assert await status_of("b") == 503
    provider.reset()
    assert await status_of("a") == 503


async def test_size_and_chunks_shape_the_answer(provider: Provider) -> None:
    async with provider.openai() as client:
        sized = await client.chat.completions.create(model=steered("m", size=1000), messages=HELLO, max_tokens=5)
        stream = await client.chat.completions.create(model=steered("m", chunks=50), messages=HELLO, stream=True)
        deltas = [chunk.choices[0].delta.content async for chunk in stream]
    assert len(sized.choices[0].message.content or "") == 1000
    assert len([delta for delta in deltas if delta]) == 50


async def test_echo_puts_the_received_request_into_the_content(provider: Provider) -> None:
    body = {**CHAT, "model": "gpt-4o::echo=1"}
    _, answer = await provider.post("/v1/chat/completions?x=1", body, **BEARER, **{"X-Own": "yes"})
    seen = json.loads(answer["choices"][0]["message"]["content"])
    assert ["X-Own", "yes"] in seen["headers"]
    assert seen["query"] == "x=1"
    assert seen["body_sha256"] == hashlib.sha256(json.dumps(body).encode()).hexdigest()


# --- Faults ---------------------------------------------------------------------------------------------------------


STREAM = chat_body(stream=True)


async def test_a_connection_can_be_cut_before_the_headers(provider: Provider) -> None:
    assert await raw(provider, "reset_after=0") == (b"", True)
    assert await raw(provider, "fin_after=0") == (b"", False)
    assert provider.last.state == "faulted"


@pytest.mark.parametrize("how", ["reset_after", "fin_after"])
async def test_a_stream_can_be_cut_at_any_byte(provider: Provider, how: str) -> None:
    whole = b"".join((await raw(provider, "framing=close", STREAM)).body.split(b"\r\n"))
    for at in (1, 100, 250, len(whole)):
        received = await raw(provider, f"{how}={at},framing=close", STREAM)
        assert received.body == whole[:at]
        assert received.reset is (how == "reset_after")
    headers_only = await raw(provider, f"{how}=head", STREAM)
    assert headers_only.head.startswith(b"HTTP/1.1 200")
    assert headers_only.body == b""


async def test_a_cut_within_a_chunk_leaves_the_chunk_incomplete(provider: Provider) -> None:
    received = await raw(provider, "fin_after=10", STREAM)
    size, _, sent = received.body.partition(b"\r\n")
    assert len(sent) == 10 < int(size, 16)


async def test_a_short_body_is_half_of_what_was_declared(provider: Provider) -> None:
    for body in (chat_body(), STREAM):
        received = await raw(provider, "short=1", body)
        declared = int(received.head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert len(received.body) == declared // 2
        assert not received.reset


async def test_a_stall_keeps_silent_until_the_peer_leaves(provider: Provider) -> None:
    reader, writer = await open_raw(provider, "stall_after=20,framing=close", STREAM)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    await reader.readexactly(20)
    assert provider.stats["open"] == 1
    writer.close()
    await provider.until(lambda stats: stats["aborted"] == 1 and stats["open"] == 0)
    assert provider.last.sent == 20


async def test_truncated_streams_end_cleanly_without_their_end_marker(provider: Provider) -> None:
    received = await raw(provider, "truncate_events=2,close=1", STREAM)
    assert received.body.endswith(b"\r\n0\r\n\r\n")
    assert received.body.count(b"data: ") == 2
    assert b"[DONE]" not in received.body


async def test_errors_within_a_stream_reach_both_sdks(provider: Provider) -> None:
    async with provider.openai() as openai_sdk, provider.anthropic() as anthropic_sdk:
        model = steered("m", error_after=3)
        with pytest.raises(openai.APIError, match="server had an error"):
            async for _ in await openai_sdk.chat.completions.create(model=model, messages=HELLO, stream=True):
                pass
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async for _ in await anthropic_sdk.messages.create(model=model, messages=HELLO, max_tokens=9, stream=True):
                pass


async def test_bodies_come_in_each_framing(provider: Provider) -> None:
    framed = {name: await raw(provider, f"framing={name},close=1") for name in ("close", "chunked", "length")}
    assert b"transfer-encoding: chunked" in framed["chunked"].head
    assert b"content-length: " in framed["length"].head
    assert b"content-length" not in framed["close"].head
    assert json.loads(framed["close"].body) == json.loads(framed["length"].body)


async def test_split_writes_pieces_of_that_size(provider: Provider) -> None:
    received = await raw(provider, "split=7,close=1", STREAM)
    sizes = [int(size, 16) for size in received.body.split(b"\r\n")[::2] if size]
    assert set(sizes[:-2]) == {7}
    assert sizes[-1] == 0


async def test_wrong_answers_come_on_request(provider: Provider) -> None:
    async with aiohttp.ClientSession(headers=BEARER) as session:

        async def ask(mode: str, **fields: Any) -> tuple[aiohttp.ClientResponse, bytes]:
            url = f"{provider.url}/v1/chat/completions"
            async with session.post(
                url, json={**CHAT, **fields}, headers={"x-mock-mode": mode}, allow_redirects=False
            ) as answer:
                return answer, await answer.read()

        junk, body = await ask("junk=1")
        assert (junk.status, junk.content_type) == (200, "application/json")
        with pytest.raises(ValueError):
            json.loads(body)
        _, body = await ask("wrong=1")
        assert "choices" not in json.loads(body)
        redirect, _ = await ask("redirect=http://127.0.0.1:9/v1/x")
        assert (redirect.status, redirect.headers["location"]) == (307, "http://127.0.0.1:9/v1/x")
        cookie, _ = await ask("set_cookie=1,headers=40")
        assert "session" in cookie.cookies
        assert cookie.headers["x-mock-header-0039"] == "v" * 32
        zipped, body = await ask("gzip=1", stream=True)
        assert zipped.headers["content-encoding"] == "gzip"
        assert body.endswith(b"data: [DONE]\n\n")


async def test_the_bomb_is_small_on_the_wire_and_huge_unpacked(provider: Provider) -> None:
    received = await raw(provider, "bomb=1,close=1")
    assert len(received.body) < 1024 * 1024
    size, said = 0, b""
    with gzip.open(io.BytesIO(received.body)) as file:  # piece by piece: whole, it is what it says
        while piece := file.read(1 << 20):
            size += len(piece)
            said += piece if said else piece.lstrip()
    assert size > 100 * 1024 * 1024
    assert json.loads(said)["object"] == "chat.completion"


async def test_unsolicited_responses_follow_the_real_one(provider: Provider) -> None:
    for mode, extra in (("late=1", b"HTTP/1.1 200 OK"), ("idle_408=1", b"HTTP/1.1 408 Request Timeout")):
        reader, writer = await open_raw(provider, mode, chat_body())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}}}")
        assert (await reader.readline()).rstrip() == extra
        writer.close()
    assert provider.stats["unsolicited"] == 2


async def test_an_idle_connection_is_closed_after_its_time(provider: Provider) -> None:
    received = await raw(provider, "idle_close=20")
    assert json.loads(received.body)["object"] == "chat.completion"
    assert provider.last.state == "complete"


async def test_an_early_answer_comes_before_the_body(provider: Provider) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(b"POST /v1/files HTTP/1.1\r\nhost: mock\r\nx-mock-mode: early,status=413\r\ncontent-length: 9\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
    writer.close()
    assert provider.last.state == "complete"


async def test_headers_leave_before_the_first_token_is_due(provider: Provider) -> None:
    reader, writer = await open_raw(provider, "ttft=3600000", STREAM)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await provider.until(lambda stats: stats["aborted"] == 1)


# --- Ledger ---------------------------------------------------------------------------------------------------------


async def test_requests_are_kept_as_they_came(provider: Provider) -> None:
    body = chat_body("Grüße")
    reader, writer = await open_raw(provider, "close=1", body)
    await reader.read()
    writer.close()
    record = provider.last
    assert [name for name, _ in record.headers] == ["host", "authorization", "x-mock-mode", "content-length"]
    assert (record.body, record.sha256) == (body, hashlib.sha256(body).hexdigest())
    assert (record.method, record.path, record.state, record.status) == (
        "POST",
        "/v1/chat/completions",
        "complete",
        200,
    )
    async with aiohttp.ClientSession() as session, session.get(f"{provider.url}/__requests?last=1") as answer:
        shown = await answer.json()
    assert shown[0]["body"].encode() == body
    assert shown[0]["ended_at"] >= shown[0]["accepted_at"]


async def test_the_ring_is_bounded_in_requests_and_bodies(provider: Provider) -> None:
    big = b"x" * (2 * 1024 * 1024)
    async with aiohttp.ClientSession(headers=BEARER) as session:
        for _ in range(70):
            async with session.post(f"{provider.url}/v1/anything", data=io.BytesIO(big)) as answer:
                assert answer.status == 200
    kept = provider.requests()
    assert len(kept[-1].body) == 1024 * 1024
    assert kept[0].body == b""
    assert {record.sha256 for record in kept} == {hashlib.sha256(big).hexdigest()}
    assert len({record.connection for record in kept}) == 1


@pytest.mark.parametrize("mode", ["latency=3600000", "ttft=3600000", "gap=3600000", "stall_after=0"])
@pytest.mark.parametrize("reset", [False, True])
async def test_peers_that_leave_are_counted_as_aborted(provider: Provider, mode: str, reset: bool) -> None:
    writers = [(await open_raw(provider, mode, STREAM))[1] for _ in range(20)]
    stats = await provider.until(lambda stats: stats["open"] == 20)
    assert stats["max_in_flight"] == 20
    for writer in writers:
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
    stats = await provider.until(lambda stats: stats["open"] == 0 and stats["connections"] == 0)
    assert (stats["aborted"], stats["complete"], stats["connections_total"]) == (20, 0, 20)
    assert stats["by_path"]["/v1/chat/completions"] == {"requests": 20, "open": 0, "max_in_flight": 20, "aborted": 20}
    assert stats["by_credential"]["sk-test"]["max_in_flight"] == 20


async def test_what_a_peer_does_not_read_is_not_sent(provider: Provider) -> None:
    _, writer = await open_raw(provider, "size=20000000", chat_body())
    await provider.until(lambda stats: stats["open"] == 1 and provider.last.sent > 0)
    writer.transport.abort()
    await provider.until(lambda stats: stats["open"] == 0)
    assert (provider.last.state, provider.last.sent < 20_000_000) == ("aborted", True)


async def test_a_peer_that_leaves_within_its_upload_is_counted_as_aborted(provider: Provider) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(b"POST /v1/files HTTP/1.1\r\nhost: mock\r\ncontent-length: 100\r\n\r\nhalf")
    await provider.until(lambda stats: stats["open"] == 1)
    writer.close()
    await provider.until(lambda stats: stats["aborted"] == 1 and stats["open"] == 0)


async def test_a_reset_keeps_what_is_open(provider: Provider) -> None:
    _, writer = await open_raw(provider, "stall_after=0", chat_body())
    await provider.until(lambda stats: stats["open"] == 1)
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{provider.url}/__reset"):
            pass
        async with session.get(f"{provider.url}/__stats") as answer:
            stats = await answer.json()
    assert (stats["requests"], stats["open"], stats["max_in_flight"], stats["connections"]) == (0, 1, 1, 1)
    writer.close()
    stats = await provider.until(lambda stats: stats["open"] == 0)
    assert (stats["requests"], stats["by_path"]) == (0, {})


async def test_a_thousand_streams_run_at_once(provider: Provider) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    url = f"{provider.url}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=connector, headers=BEARER) as session:

        async def stream(**mode: object) -> bytes:
            body = {**CHAT, "stream": True, "model": steered("gpt-4o", **mode)}
            async with session.post(url, json=body) as answer:
                return await answer.read()

        whole = await asyncio.gather(*(stream(chunks=10, gap=5) for _ in range(1000)))
        assert all(body.endswith(b"data: [DONE]\n\n") for body in whole)
        stalled = [asyncio.create_task(stream(stall_after=500)) for _ in range(1000)]
        await provider.until(lambda stats: stats["open"] == 1000, timeout=60)
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
    stats = await provider.until(lambda stats: stats["open"] == 0, timeout=60)
    assert (stats["complete"], stats["aborted"], stats["max_in_flight"]) == (1000, 1000, 1000)


# --- The program ----------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_one_clear_line(provider: Provider) -> None:
    with pytest.raises(StartupError, match=rf"^cannot listen on 127\.0\.0\.1:{provider.port}: Address already in use$"):
        await Mock().start("127.0.0.1", provider.port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_program_prints_its_address_and_ends_with_zero(number: signal.Signals) -> None:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from proxy.mock import run; run('127.0.0.1', 0)"), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    line = (await program.stdout.readline()).decode()
    address = line.removeprefix("mock provider on ").strip()
    async with aiohttp.ClientSession(headers=BEARER) as session:
        async with session.post(f"{address}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
        headers = {"x-mock-mode": mode_text(reset_after=100)}
        with pytest.raises(aiohttp.ClientError):
            async with session.post(f"{address}/v1/chat/completions", json=CHAT, headers=headers) as cut:
                await cut.read()
    program.send_signal(number)
    assert await program.wait() == 0
