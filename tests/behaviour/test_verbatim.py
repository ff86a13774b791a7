"""The same dialect on both sides: every byte passes, both ways, as soon as it is here."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from tests.behaviour.client import connect, request
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.fakes.gateway import Gateway, Upstream
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import LAST_CHUNK, SSE, SSE_HEAD, Asked, Script, Scripted, chunk, head, ok

DOCUMENTS = {
    "unknown fields": b'{"model":"m","messages":[],"x_new":{"a":[1,2,{"b":null}]},"y":true}',
    "key order": b'{"zeta":1,"model":"m","alpha":2,"messages":[],"max_tokens":5}',
    "white space": b' {\n\t"model" : "m" ,\r\n "messages":[ ] , "max_tokens":5 }\n ',
    "big integers": b'{"model":"m","messages":[],"seed":123456789012345678901234567890,"n":-0}',
    "float text": b'{"model":"m","messages":[],"temperature":1.0,"top_p":1E-7,"a":0.10000000000000000001,"b":1e400}',
    "unicode escapes": b'{"model":"m","messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00\\u2028\\/"}]}',
    "plain unicode": '{"model":"m","messages":[{"role":"user","content":"é😀\u2028\x7f"}]}'.encode(),
    "duplicate keys": b'{"model":"m","messages":[],"a":1,"a":2}',
    "model last": b'{"messages":[{"role":"user","content":"\\"model\\":\\"x\\""}],"model":"m"}',
}
VERBATIM = {
    "/v1/chat/completions": "openai",
    "/v1/completions": "openai",
    "/v1/embeddings": "openai",
    "/v1/messages": "anthropic",
    "/v1/messages/count_tokens": "anthropic",
    "/v1/responses": "openai",
}


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_request_and_answer_pass_byte_for_byte(document: str) -> None:
    body = DOCUMENTS[document]
    async with (
        Scripted(play=lambda asked: [ok(body)]) as upstream,
        Rig(openai=upstream.url, anthropic=upstream.url) as rig,
    ):
        for path, slug in VERBATIM.items():
            answer = await rig.post(path, body, vk=slug)
            assert (answer.status, answer.body) == (200, body), path
            assert upstream.requests[-1].body == body, path
        assert len(upstream.requests) == len(VERBATIM)


@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500, 529])
async def test_a_providers_error_passes_byte_for_byte(status: int) -> None:
    body = b'{"error": {"message" : "no", "new": 1.50}, "type":"error"}\n'
    script = [ok(body, status, retry_after="3")]
    async with Scripted(play=lambda asked: script) as upstream, Rig(openai=upstream.url, anthropic=upstream.url) as rig:
        for path, slug in VERBATIM.items():
            answer = await rig.post(path, b'{"model":"m","messages":[]}', vk=slug)
            assert (answer.status, answer.body, answer.headers["retry-after"]) == (status, body, "3")


STREAM = (
    b": a comment\n\n"
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\\u00e9 1.0 123456789012345678901"}}]}\n\n'
    b'data: {"x":\ndata:  1}\n\n\n\n'
    b"event: odd\r\nid: 7\r\nretry: 5\r\ndata: {}\r\n\r\n"
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(STREAM)])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_an_event_stream_passes_byte_for_byte_however_it_is_cut_and_framed(size: int, framing: str) -> None:
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    heads = {
        "chunked": SSE_HEAD,
        "length": head(content_type=SSE, content_length=str(len(STREAM))),
        "close": head(content_type=SSE),
    }
    async with Scripted([]) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", {**CHAT, "stream": True})
        await upstream.until(lambda u: u.requests)
        upstream.last.write(heads[framing])
        for piece in pieces:
            upstream.last.write(chunk(piece) if framing == "chunked" else piece)
            if size > 1:
                await asyncio.sleep(0)  # so that the pieces come in reads of their own, mostly
        if framing == "chunked":
            upstream.last.write(LAST_CHUNK)
        elif framing == "close":
            assert upstream.last.transport is not None
            upstream.last.transport.close()
        answer = await line.answer()
        assert answer.whole
        assert answer.body == STREAM


@pytest.mark.parametrize(
    ("path", "slug"), [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic"), ("/v1/responses", "openai")]
)
async def test_an_event_is_with_the_client_before_the_provider_sends_the_next(path: str, slug: str) -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url, anthropic=upstream.url) as rig:
        body = {**(MESSAGES if slug == "anthropic" else CHAT), "stream": True}
        line = await rig.open(path, body, vk=slug)
        await upstream.until(lambda u: u.requests)
        upstream.last.write(SSE_HEAD)
        for n in range(200):
            event = b'data: {"n":%d}\n\n' % n
            upstream.last.write(chunk(event))
            assert (await line.receive(event)).endswith(event)


async def test_events_come_one_by_one_through_translation_too() -> None:
    start = json.dumps(
        {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "model": "c"}}
    )
    async with Scripted([]) as upstream, Rig(anthropic=upstream.url, openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", {**CHAT, "stream": True}, vk="anthropic")
        await upstream.until(lambda u: u.requests)
        upstream.last.write(SSE_HEAD + chunk(b"event: message_start\ndata: %b\n\n" % start.encode()))
        block = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
        upstream.last.write(chunk(b"event: content_block_start\ndata: %b\n\n" % block))
        for n in range(100):
            delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"<%d>"}}' % n
            upstream.last.write(chunk(b"event: content_block_delta\ndata: %b\n\n" % delta))
            await line.receive(b"<%d>" % n)
        line.leave()
        line = await rig.open("/v1/messages", {**MESSAGES, "stream": True}, vk="openai")
        await upstream.until(lambda u: len(u.requests) == 2)
        upstream.last.write(SSE_HEAD)
        for n in range(100):
            upstream.last.write(chunk(b'data: {"choices":[{"index":0,"delta":{"content":"<%d>"}}]}\n\n' % n))
            await line.receive(b"<%d>" % n)


async def test_half_an_event_waits_for_its_other_half() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", {**CHAT, "stream": True})
        await upstream.until(lambda u: u.requests)
        upstream.last.write(SSE_HEAD + chunk(b"data: 1\n\ndata: 2"))
        await line.receive(b"data: 1\n\n\r\n")
        upstream.last.write(chunk(b"\n"))
        upstream.last.write(chunk(b"\ndata: 3\n\nda"))
        assert await line.receive(b"3\n\n\r\n") == b"12\r\ndata: 2\n\ndata: 3\n\n\r\n"
        assert line.data == b""


async def test_answers_of_other_types_stream_through_before_they_are_whole() -> None:
    def play(asked: Asked) -> Script:
        return [head(content_type="audio/mpeg", transfer_encoding="chunked")]

    async with Scripted(play=play) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/audio/speech", {"model": "tts-1", "input": "Hi", "voice": "alloy"})
        await upstream.until(lambda u: u.requests)
        for n in range(50):
            piece = b"\0\xff%d." % n
            upstream.last.write(chunk(piece))
            assert (await line.receive(piece)).endswith(piece)
        upstream.last.write(LAST_CHUNK)
        await line.receive(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
async def test_whole_answers_of_any_size_and_framing_are_the_providers(provider: Provider, size: int) -> None:
    async with Rig(openai=provider.url) as rig:
        for framing in ("length", "chunked", "close"):
            body = {**CHAT, "model": steered("gpt-4o", size=size, framing=framing, split=9973)}
            direct = await provider.post("/v1/chat/completions", body, authorization="Bearer sk-openai")
            answer = await rig.post("/v1/chat/completions", body)
            assert answer.status == 200
            assert answer.whole
            assert len(answer.json()["choices"][0]["message"]["content"]) == size
            ours, theirs = answer.json(), direct[1]
            assert {**ours, "id": 0} == {**theirs, "id": 0}


async def test_old_clients_get_their_stream_without_chunks() -> None:
    async with Scripted([SSE_HEAD + chunk(STREAM) + LAST_CHUNK]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        raw = rig.raw("/v1/chat/completions", {**CHAT, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        line.send(raw)
        answer = await line.answer()
        assert answer.body == STREAM
        assert answer.headers["connection"] == "close"


# -- in bounded memory, measured on a real worker


def memory(pid: int, field: str) -> int:
    """A field of /proc/PID/status, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(field)


def forget_peak(pid: int) -> None:
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


SIZE = 20_000_000
BOUND = 24_000_000
"""What four transfers of 20 MB at once may cost at their peak: less than a third of their bytes."""


async def test_big_answers_pass_in_bounded_memory(gateway: Gateway, upstream: Upstream) -> None:
    pid = gateway.workers()[0]
    body = {**CHAT, "model": steered("gpt-4o", size=SIZE)}
    fields = {"x-portkey-virtual-key": "open-ai-key-6317bc", "x-portkey-api-key": gateway.api_key}
    raw = request("/v1/chat/completions", json.dumps(body).encode(), fields)

    async def one() -> str:
        line = await connect(gateway.port)
        line.send(raw)
        status, headers = await line.head()
        assert status == 200
        digest, left = hashlib.sha256(), int(headers["content-length"])
        assert left > SIZE
        while left:
            await line.until(lambda: bool(line.data))
            piece = line.take(left)
            digest.update(piece)
            left -= len(piece)
        line.leave()
        return digest.hexdigest()

    await one()
    forget_peak(pid)
    before = memory(pid, "VmRSS")
    digests = await asyncio.gather(*(one() for _ in range(4)))
    peak = memory(pid, "VmHWM") - before
    print(f"4 x {SIZE} bytes down: {peak} bytes at the peak")
    assert peak < BOUND
    assert len(digests) == 4


async def test_big_uploads_pass_in_bounded_memory(gateway: Gateway, upstream: Upstream) -> None:
    pid = gateway.workers()[0]
    piece = bytes(range(256)) * 256
    count = SIZE // len(piece)
    digest = hashlib.sha256(piece * count).hexdigest()
    fields: dict[str, Any] = {
        "x-portkey-virtual-key": "open-ai-key-6317bc",
        "x-portkey-api-key": gateway.api_key,
        "content-type": "multipart/form-data; boundary=x",
        "content-length": str(len(piece) * count),
    }

    async def one() -> None:
        line = await connect(gateway.port)
        line.send(request("/v1/anything", b"", fields))
        assert line.transport is not None
        for _ in range(count):
            line.send(piece)
            while line.transport.get_write_buffer_size() > 1 << 18:
                await asyncio.sleep(0.001)
        assert (await line.answer()).status == 200
        line.leave()

    await one()
    forget_peak(pid)
    before = memory(pid, "VmRSS")
    await asyncio.gather(*(one() for _ in range(4)))
    peak = memory(pid, "VmHWM") - before
    print(f"4 x {SIZE} bytes up: {peak} bytes at the peak")
    assert peak < BOUND
    assert {(record.size, record.sha256) for record in upstream.requests()} == {(len(piece) * count, digest)}
