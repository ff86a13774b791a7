"""A client that reads slowly slows its provider down, and costs little meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.server import door
from tests.behaviour.client import Answer, Line, connect, events, request
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.behaviour.test_verbatim import memory
from tests.fakes.gateway import Launch, virtual_key
from tests.fakes.upstream import Flood, Scripted, head

COUNT = 2500
TEXT = b"x" * 10_000
"""25 MB in all: far more than the sockets and buffers on the way hold."""

PIECES = {
    "/v1/chat/completions": (
        b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % TEXT,
        b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "/v1/messages": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        b'"model":"c","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % TEXT,
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    "/v1/chat/completions whole": (b'{"choices":[{"index":0,"message":{"content":"', TEXT, b'"}}]}'),
}
ANSWERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a verbatim stream": ("/v1/chat/completions", {**CHAT, "stream": True}, "openai"),
    "a translated stream": ("/v1/chat/completions", {**CHAT, "stream": True}, "anthropic"),
    "a stream translated the other way": ("/v1/messages", {**MESSAGES, "stream": True}, "openai"),
    "a verbatim answer": ("/v1/chat/completions", CHAT, "openai"),
}


@pytest.fixture
async def flood() -> AsyncIterator[Flood]:
    async with Flood(PIECES, COUNT) as running:
        yield running


async def stalled(port: int, kind: str) -> Line:
    """A client that has begun to read this answer, and reads no more."""
    path, fields, slug = ANSWERS[kind]
    line = await connect(port, receive_buffer=4096)
    line.send(request(path, json.dumps(fields).encode(), {"x-portkey-virtual-key": slug}))
    await line.until(lambda: line.read > 0)
    line.pause()
    return line


async def still(flood: Flood) -> int:
    """Waits until the provider has sent nothing more for a while; how much it has sent."""
    before, unchanged = -1, 0
    async with asyncio.timeout(60):
        while unchanged < 10:
            unchanged = unchanged + 1 if flood.sent == before else 0
            before = flood.sent
            await asyncio.sleep(0.02)
    return before


def text_of(answer: Answer, kind: str) -> int:
    """How much text a complete answer brought. Raises AssertionError when it is not complete."""
    assert answer.whole
    if kind == "a verbatim answer":
        return len(answer.json()["choices"][0]["message"]["content"])
    found = events(answer.body)
    if kind == "a stream translated the other way":
        assert found[-1].name == "message_stop"
        return sum(len(each.data["delta"]["text"]) for each in found if each.name == "content_block_delta")
    assert found[-1].data == "[DONE]"
    return sum(len(each.data["choices"][0]["delta"].get("content") or "") for each in found[:-1])


async def test_a_client_that_stops_reading_stops_the_provider_and_loses_nothing(flood: Flood, launch: Launch) -> None:
    config = {
        "virtual_keys": [virtual_key("openai", "openai", flood.url), virtual_key("anthropic", "anthropic", flood.url)],
        "api_keys": [{"name": "test", "key": "lw-test"}],
    }
    gateway = await asyncio.to_thread(launch, config)
    pid = gateway.workers()[0]
    for kind in ANSWERS:
        warm = await stalled(gateway.port, kind)
        await still(flood)
        warm.leave()
    async with asyncio.timeout(30):
        while flood.open:
            await asyncio.sleep(0.01)
    for kind in ANSWERS:
        before = memory(pid, "VmRSS")
        lines = [await stalled(gateway.port, kind) for _ in range(5)]
        sent = await still(flood)
        grown = memory(pid, "VmRSS") - before
        print(f"{kind}: the provider stopped after {sent} bytes, the worker grew by {grown / len(lines):.0f} each")
        assert sent < COUNT * len(TEXT) / 2
        assert grown < len(lines) * 1_500_000
        lines[0].resume()
        assert text_of(await lines[0].answer(), kind) == COUNT * len(TEXT)
        for line in lines:
            line.leave()


async def test_a_client_that_reads_no_more_for_too_long_is_cut_off(
    flood: Flood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_SEND_STALL", 0.5)
    async with Rig(openai=flood.url, anthropic=flood.url) as rig:
        lines = await asyncio.gather(*(stalled(rig.port, kind) for kind in ANSWERS))
        assert flood.open == len(ANSWERS)
        await rig.until(lambda: flood.open == 0 and rig.quiet and not rig.gateway.edge.connections)
        assert flood.complete == 0
        for line in lines:
            line.leave()
        assert {row["outcome"] for row in await rig.usage()} == {"cancelled"}


async def test_an_answer_already_written_whole_does_not_wait_for_ever_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_SEND_STALL", 0.4)
    body = b'{"choices":[],"id":"%b"}' % (b"x" * 200_000)
    whole = head(content_length=str(len(body))) + body
    settings = {"keepalive_timeout": 0.4}
    async with Scripted(play=lambda asked: [whole]) as upstream, Rig(openai=upstream.url, server=settings) as rig:
        for close in ("", "close"):
            line = await rig.open("/v1/chat/completions", CHAT, receive_buffer=4096, connection=close)
            line.pause()
            await rig.until(lambda: len(upstream.requests) and rig.quiet)
            assert rig.gateway.edge.connections
            await rig.until(lambda: not rig.gateway.edge.connections)
            line.leave()
            upstream.requests.clear()


async def test_a_slow_reader_does_not_slow_its_neighbours(flood: Flood) -> None:
    async with (
        Scripted(play=lambda asked: [head(content_length="2") + b"{}"]) as quick,
        Rig(openai=flood.url, anthropic=flood.url, openai_quick=quick.url) as rig,
    ):
        slow = [await stalled(rig.port, kind) for kind in ANSWERS for _ in range(5)]
        for _ in range(100):
            assert (await rig.post("/v1/chat/completions", CHAT, vk="openai-quick")).body == b"{}"
        for line in slow:
            line.leave()
        await rig.until(lambda: rig.quiet and not flood.open)
