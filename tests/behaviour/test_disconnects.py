"""A client that leaves takes everything of its request with it: the provider's connection, the permits, the tasks.

The figures that these tests print are seconds from the client's leaving to the provider's seeing its connection end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator
from time import time
from typing import Any, NamedTuple

import pytest

from proxy.ports import Limits
from proxy.workers import listen
from tests.behaviour.client import connect
from tests.behaviour.rig import CHAT, MESSAGES, Rig, open_files
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import SSE_HEAD, Scripted, chunk

PROMPT = {"prompt": "Hello there", "max_tokens": 9}
ROUTES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "chat": ("/v1/chat/completions", CHAT, "openai", "gpt-4o"),
    "chat to anthropic": ("/v1/chat/completions", CHAT, "anthropic", "claude-sonnet-4-5"),
    "completions": ("/v1/completions", PROMPT, "openai", "gpt-3.5-turbo-instruct"),
    "completions to chat": ("/v1/completions", PROMPT, "openai", "gpt-4o"),
    "completions to anthropic": ("/v1/completions", PROMPT, "anthropic", "claude-sonnet-4-5"),
    "completions to anthropic text": ("/v1/completions", PROMPT, "anthropic", "claude-2.1"),
    "messages": ("/v1/messages", MESSAGES, "anthropic", "claude-sonnet-4-5"),
    "messages to openai": ("/v1/messages", MESSAGES, "openai", "gpt-4o"),
    "responses": ("/v1/responses", {"input": "Hello there"}, "openai", "gpt-4o"),
}
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
LEAVERS = {"chat": 1000, "chat to anthropic": 1000}
FEWER = 200
"""So many leave on the other routes: what they share with these two has been left a thousand times."""
AT_ONCE = 50


class Moment(NamedTuple):
    """When a client leaves: what the provider does meanwhile, and what of the answer the client has by then."""

    mode: dict[str, object]
    seen: bytes


MOMENTS = {
    "before the head": Moment({"latency": 600_000}, b""),
    "before the first token": Moment({"ttft": 600_000}, b""),
    "in the stream": Moment({"gap": 10, "chunks": 1000}, b"data: "),
    "in a stream gone silent": Moment({"stall_after": 1100}, b"data: "),
}


@pytest.fixture
async def rig(provider: Provider) -> AsyncIterator[Rig]:
    async with Rig(openai=provider.url, anthropic=provider.url, limits=Limits(concurrency=10_000)) as running:
        yield running


async def settle(rig: Rig, provider: Provider) -> None:
    """Waits until nothing of any request is left on either side."""
    await rig.until(lambda: rig.quiet and not rig.gateway.edge.connections)
    await provider.until(lambda stats: stats["open"] == 0)


def report(route: str, delays: list[float]) -> None:
    delays.sort()
    at = {name: delays[int(len(delays) * share)] * 1000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    figures = {name: round(value) for name, value in {**at, "max": delays[-1] * 1000}.items()}
    print(json.dumps({"route": route, "leavers": len(delays), "close_ms": figures}))


@pytest.mark.parametrize("route", ROUTES)
async def test_hundreds_of_clients_that_leave_leave_nothing_behind(rig: Rig, provider: Provider, route: str) -> None:
    path, fields, slug, model = ROUTES[route]
    bodies = {
        name: rig.raw(path, {**fields, "model": steered(model, **moment.mode), "stream": True}, vk=slug)
        for name, moment in MOMENTS.items()
    }
    await rig.post(path, {**fields, "model": model}, vk=slug)
    await settle(rig, provider)
    provider.reset()
    gc.collect()
    tasks, files = len(asyncio.all_tasks()), open_files()
    leavers = LEAVERS.get(route, FEWER)
    numbers = iter(range(leavers))
    left: dict[int, float] = {}

    async def leave() -> None:
        for number in numbers:
            name = list(MOMENTS)[number % len(MOMENTS)]
            line = await connect(rig.port)
            own = b"leaver-%04d" % number
            line.send(bodies[name].replace(b"Hello there", own))
            seen = MOMENTS[name].seen
            if seen:
                await line.receive(seen)
            elif number % 8 or not number % 3:
                while not any(own in record.body for record in provider.requests(2 * AT_ONCE)):
                    await asyncio.sleep(0.002)
            else:
                await asyncio.sleep(0)  # gone before its request could be answered, or even read
            line.leave(reset=number % 2 == 0)
            left[number] = time()

    await asyncio.gather(*(leave() for _ in range(AT_ONCE)))
    await settle(rig, provider)
    stats = provider.stats
    assert stats["aborted"] == stats["requests"] > leavers * 0.9
    assert stats["complete"] == stats["faulted"] == stats["failed"] == 0
    delays = []
    for record in provider.requests():
        found = re.search(rb"leaver-(\d{4})", record.body)
        if found and record.ended_at is not None:
            delays.append(record.ended_at - left[int(found[1])])
    report(route, delays)
    assert rig.permits == rig.in_flight == rig.open_upstream == 0
    await rig.until(lambda: len(asyncio.all_tasks()) <= tasks)
    await rig.until(lambda: open_files() <= files + 5)
    assert {row["outcome"] for row in await rig.usage()} <= {"ok", "cancelled"}
    assert sum(row["outcome"] == "cancelled" for row in await rig.usage()) >= stats["requests"]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_the_provider_sees_the_end_of_its_connection_at_once(
    rig: Rig, provider: Provider, moment: str, reset: bool
) -> None:
    delays = []
    for route, (path, fields, slug, model) in ROUTES.items():
        for _ in range(20):
            mode, seen = MOMENTS[moment]
            line = await rig.open(path, {**fields, "model": steered(model, **mode), "stream": True}, vk=slug)
            await provider.until(lambda stats: stats["open"] == 1)
            if seen:
                await line.receive(seen)
            left = time()
            line.leave(reset=reset)
            await provider.until(lambda stats: stats["open"] == 0)
            ended = provider.last.ended_at
            assert ended is not None, route
            delays.append(ended - left)
        assert rig.quiet, route
    report(f"all, {moment}, {'RST' if reset else 'FIN'}", delays)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages/count_tokens", "/v1/anything"])
async def test_clients_of_whole_answers_may_leave_as_well(rig: Rig, provider: Provider, path: str) -> None:
    slug, body = ("anthropic", MESSAGES) if "messages" in path else ("openai", {"model": "text-embedding-3-small"})
    mode = {"x_portkey_forward_headers": "x-mock-mode", "x_mock_mode": "latency=600000"}
    for reset in (False, True):
        line = await rig.open(path, {**body, "input": "Hi"}, vk=slug, **mode)
        await provider.until(lambda stats: stats["open"] == 1)
        line.leave(reset=reset)
        await settle(rig, provider)
    assert provider.stats["aborted"] == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves_within_a_big_answer_takes_the_rest_of_it_along(
    rig: Rig, provider: Provider, reset: bool
) -> None:
    line = await rig.open("/v1/chat/completions", {**CHAT, "model": steered("gpt-4o", size=20_000_000)}, vk="openai")
    await line.until(lambda: line.read > 1_000_000)
    line.leave(reset=reset)
    await settle(rig, provider)
    assert provider.last.state == "aborted"
    assert provider.last.sent < 20_000_000


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_client_that_only_stops_sending_has_left_too(rig: Rig, provider: Provider, moment: str) -> None:
    """A FIN after the request is taken for leaving, as other proxies do: half-closed clients of HTTP are rare, and
    paying for the answers of those that are gone is not."""
    mode, seen = MOMENTS[moment]
    body = {**CHAT, "model": steered("gpt-4o", **mode), "stream": True}
    line = await rig.open("/v1/chat/completions", body, vk="openai")
    await provider.until(lambda stats: stats["open"] == 1)
    if seen:
        await line.receive(seen)
    assert line.transport is not None
    line.transport.write_eof()
    await line.end()
    await settle(rig, provider)
    assert provider.stats["aborted"] == 1
    assert [row["outcome"] for row in await rig.usage()] == ["cancelled"]


async def test_a_client_that_leaves_while_the_gateway_connects_leaves_nothing_behind() -> None:
    full = listen("127.0.0.1", 0)
    full.listen(0)
    port = full.getsockname()[1]
    fillers = [asyncio.ensure_future(asyncio.open_connection("127.0.0.1", port)) for _ in range(4)]
    try:
        async with Rig(openai=f"http://127.0.0.1:{port}") as rig:
            await asyncio.sleep(0.05)
            files = open_files()
            for reset in (False, True):
                line = await rig.open("/v1/chat/completions", CHAT)
                await rig.until(lambda: rig.in_flight == 1)
                line.leave(reset=reset)
                await rig.until(lambda: rig.quiet and not rig.gateway.edge.connections)
            await rig.until(lambda: open_files() <= files)
    finally:
        for filler in fillers:
            filler.cancel()
        for done in await asyncio.gather(*fillers, return_exceptions=True):
            if isinstance(done, tuple):
                done[1].close()
        full.close()


# -- what is queued behind a request hides nothing


async def test_a_second_request_before_the_first_answer_is_never_forwarded_and_ends_the_connection() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", CHAT)
        await upstream.until(lambda u: u.requests)
        line.send(rig.raw("/v1/chat/completions", {**CHAT, "n": 2}))
        await asyncio.sleep(0.05)
        upstream.last.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        answer = await line.answer()
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"{}", "close")
        assert await line.end() == b""
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("count", [2, 40])
async def test_requests_sent_at_once_are_answered_once(count: int) -> None:
    async with Scripted(play=lambda asked: [EMPTY]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        line.send(rig.raw("/v1/chat/completions", CHAT) * count)
        answer = await line.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await line.end() == b""
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_hundred_clients_with_forty_queued_requests_each_are_still_seen_to_leave(reset: bool) -> None:
    begun = [SSE_HEAD, chunk(b"data: 1\n\n")]
    async with Scripted(play=lambda asked: begun) as upstream, Rig(openai=upstream.url) as rig:
        raw = rig.raw("/v1/chat/completions", {**CHAT, "stream": True})
        lines = [await connect(rig.port) for _ in range(100)]
        for line in lines:
            line.send(raw * 40)
        await asyncio.gather(*(line.receive(b"data: 1") for line in lines))
        assert len(upstream.requests) == upstream.open == 100
        for line in lines:
            line.leave(reset=reset)
        await upstream.until(lambda u: u.open == 0)
        await rig.until(lambda: rig.quiet and not rig.gateway.edge.connections)
        assert len(upstream.requests) == 100


async def test_a_flood_behind_a_request_is_thrown_away_unread() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", CHAT)
        await upstream.until(lambda u: u.requests)
        assert line.transport is not None
        for _ in range(200):
            line.send(b"x" * 65_536)
        await rig.until(lambda: line.transport is None or line.transport.get_write_buffer_size() == 0)
        line.leave(reset=True)
        await rig.until(lambda: rig.quiet)
        await upstream.until(lambda u: u.open == 0)


async def test_requests_one_after_the_other_share_a_connection() -> None:
    async with Scripted(play=lambda asked: [EMPTY]) as upstream, Rig(openai=upstream.url) as rig:
        line = await connect(rig.port)
        for _ in range(50):
            line.send(rig.raw("/v1/chat/completions", CHAT))
            answer = await line.answer()
            assert (answer.status, answer.body) == (200, b"{}")
            assert "connection" not in answer.headers
        assert len(upstream.requests) == 50
        assert len(upstream.connections) == 1
