"""Connections to providers are kept and used again, but never one that is in doubt."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.transport import pool
from tests.behaviour.rig import CHAT, Rig
from tests.fakes.provider import Provider, mode_text, steered
from tests.fakes.upstream import NEXT, SSE_HEAD, Asked, End, Script, Scripted, chunk, ok

MINE = ok(b'{"mine":1}')
FIRST = ok(b'{"first":1}')


async def test_one_connection_serves_request_after_request(provider: Provider) -> None:
    async with Rig(openai=provider.url) as rig:
        for _ in range(20):
            assert (await rig.chat()).status == 200
            assert (await rig.chat(stream=True)).status == 200
        assert provider.stats["connections_total"] <= 2


@pytest.mark.parametrize("end", End)
async def test_a_connection_closed_as_the_next_request_arrives_is_tried_once_more_afresh(end: End) -> None:
    async with Scripted([FIRST, NEXT, end], [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        assert (await rig.chat()).body == b'{"first":1}'
        answer = await rig.chat()
        assert (answer.status, answer.body) == (200, b'{"mine":1}')
        assert answer.headers["x-portkey-retry-attempt-count"] == "0"
        assert [asked.connection for asked in upstream.requests] == [0, 0, 1]
        assert upstream.requests[1].body == upstream.requests[2].body


@pytest.mark.parametrize("end", End)
async def test_it_is_tried_only_once(end: End) -> None:
    async with Scripted([FIRST, NEXT, end], [end]) as upstream, Rig(openai=upstream.url) as rig:
        await rig.chat()
        assert (await rig.chat()).status == 502
        assert len(upstream.requests) == 3


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"])
@pytest.mark.parametrize("end", End)
async def test_once_a_byte_came_back_it_is_never_sent_again(said: bytes, end: End) -> None:
    async with Scripted([FIRST, NEXT, said, end], [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        await rig.chat()
        assert (await rig.chat()).status == 502
        assert len(upstream.requests) == 2


async def test_a_fresh_connection_that_is_closed_at_once_is_not_tried_again() -> None:
    async with Scripted([End.FIN], [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        assert (await rig.chat()).status == 502
        assert len(upstream.requests) == 1


async def test_when_one_idle_connection_proves_stale_the_others_are_not_tried_in_turn() -> None:
    gone = asyncio.Event()

    def play(asked: Asked) -> Script:
        return [gone, ok(b"{}")] if asked.connection < 8 and not gone.is_set() else stale(asked)

    def stale(asked: Asked) -> Script:
        return [End.FIN] if asked.connection < 8 else [MINE]

    async with Scripted(play=play) as upstream, Rig(openai=upstream.url) as rig:
        waiting = [asyncio.ensure_future(rig.chat()) for _ in range(8)]
        await upstream.until(lambda u: len(u.requests) == 8)
        gone.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 8
        answer = await rig.chat()
        assert (answer.status, answer.body) == (200, b'{"mine":1}')
        assert len(upstream.requests) == 10


async def test_providers_that_close_idle_connections_are_never_felt(provider: Provider) -> None:
    """The provider closes after a few idle milliseconds; requests come at just about that time."""
    async with Rig(openai=provider.url) as rig:
        body = {**CHAT, "model": steered("gpt-4o", idle_close=3)}
        statuses = set()

        async def client(offset: int) -> None:
            for turn in range(60):
                statuses.add((await rig.post("/v1/chat/completions", body)).status)
                await asyncio.sleep((turn + offset) % 7 / 1000)

        await asyncio.gather(*(client(offset) for offset in range(7)))
        assert statuses == {200}
        assert provider.stats["connections_total"] > 7
        assert provider.stats["complete"] == 7 * 60


@pytest.mark.parametrize("mode", [{"idle_408": 1}, {"late": 1}])
async def test_what_a_provider_says_unasked_is_nobodys_answer(provider: Provider, mode: dict[str, object]) -> None:
    async with Rig(openai=provider.url) as rig:
        loud = {"x_portkey_forward_headers": "x-mock-mode", "x_mock_mode": mode_text(**mode)}
        for n in range(40):
            if n % 4 == 0:
                await asyncio.sleep(0.02)  # so that some of it comes while nobody asks
            text = f"canary-{n}"
            body = {**CHAT, "messages": [{"role": "user", "content": text}], "model": "gpt-4o::echo=1"}
            answer = await rig.post("/v1/chat/completions", body, **loud)
            if answer.status == 502:
                continue  # two answers at once to one request: then none is believed
            assert answer.status == 200
            asked = json.loads(answer.json()["choices"][0]["message"]["content"])
            assert asked["body_sha256"] == provider.last.sha256
        assert provider.stats["unsolicited"] >= 1


@pytest.mark.parametrize(
    "extra",
    [b"x", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", ok(b'{"poison":1}'), b"0\r\n\r\n"],
)
async def test_a_connection_on_which_anything_follows_the_answer_is_closed(extra: bytes) -> None:
    go = asyncio.Event()
    async with (
        Scripted([FIRST, go, extra, NEXT, ok(b'{"poison":2}')], [MINE]) as upstream,
        Rig(openai=upstream.url) as rig,
    ):
        assert (await rig.chat()).body == b'{"first":1}'
        go.set()
        await upstream.until(lambda u: u.open == 0)
        assert (await rig.chat()).body == b'{"mine":1}'
        assert [asked.connection for asked in upstream.requests] == [0, 1]


@pytest.mark.parametrize("extra", [b"x", ok(b'{"poison":1}')])
async def test_an_answer_with_something_in_the_same_breath_behind_it_is_the_last_on_its_connection(
    extra: bytes,
) -> None:
    async with Scripted([FIRST + extra], [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        answer = await rig.chat()
        assert answer.status in (200, 502)
        assert b"poison" not in answer.body
        await upstream.until(lambda u: u.open == 0)
        assert (await rig.chat()).body == b'{"mine":1}'


async def test_a_cancelled_request_never_leaves_its_answer_to_the_next_one() -> None:
    """A late answer to the one who left must not reach the one who came after."""
    go = asyncio.Event()
    late = [go, ok(b'{"late":1}')]
    async with Scripted(late, [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        line = await rig.open("/v1/chat/completions", CHAT)
        await upstream.until(lambda u: u.requests)
        line.leave()
        await upstream.until(lambda u: u.open == 0)
        go.set()
        assert (await rig.chat()).body == b'{"mine":1}'


async def test_two_tenants_never_see_each_others_bytes_in_a_storm_of_cancellations() -> None:
    count = 0

    def play(asked: Asked) -> Script:
        nonlocal count
        count += 1
        canary = asked.json()["messages"][0]["content"].encode()
        body = b'{"canary":"%b"}' % canary
        wait = asyncio.Event()
        asyncio.get_running_loop().call_later(count % 5 / 1000, wait.set)
        if count % 3 == 0:
            return [wait, SSE_HEAD, chunk(b"data: %b\n\n" % body), wait, chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
        if count % 7 == 0:
            return [wait, ok(body), ok(b'{"canary":"late"}')]
        return [wait, ok(body)]

    async with Scripted(play=play) as upstream, Rig(openai=upstream.url) as rig:
        foreign: list[str] = []

        async def tenant(name: str) -> None:
            for n in range(150):
                canary = f"{name}-{n}"
                body = {**CHAT, "messages": [{"role": "user", "content": canary}]}
                if n % 3 == 1:
                    line = await rig.open("/v1/chat/completions", body)
                    await asyncio.sleep(n % 11 / 2000)
                    line.leave(reset=n % 2 == 0)
                    continue
                answer = await rig.post("/v1/chat/completions", body)
                if answer.status == 200 and f'"{canary}"'.encode() not in answer.body:
                    foreign.append(f"{canary}: {answer.body!r}")

        await asyncio.gather(*(tenant(f"tenant{n}") for n in range(10)))
        assert foreign == []
        await rig.until(lambda: rig.quiet)


async def test_idle_connections_are_kept_for_their_time_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        Scripted(play=lambda asked: [MINE]) as upstream,
        Rig(openai=upstream.url, timeouts={"keepalive": 0.05}) as rig,
    ):
        await rig.chat()
        await asyncio.sleep(0.1)
        await rig.chat()
        assert [asked.connection for asked in upstream.requests] == [0, 1]
    monkeypatch.setattr(pool, "_MAX_AGE", 0.05)
    async with Scripted(play=lambda asked: [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        await rig.chat()
        await asyncio.sleep(0.1)
        await rig.chat()
        assert [asked.connection for asked in upstream.requests] == [0, 1]


async def test_a_provider_that_wants_to_close_is_let_go() -> None:
    async with (
        Scripted(play=lambda asked: [ok(b"{}", connection="close")]) as upstream,
        Rig(openai=upstream.url) as rig,
    ):
        for _ in range(3):
            assert (await rig.chat()).status == 200
        await upstream.until(lambda u: u.open == 0)
        assert len(upstream.connections) == 3


async def test_a_408_that_crosses_a_request_is_not_its_answer() -> None:
    farewell = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with Scripted([FIRST, NEXT, farewell, End.FIN], [MINE]) as upstream, Rig(openai=upstream.url) as rig:
        await rig.chat()
        answer = await rig.chat()
        assert (answer.status, answer.body) == (200, b'{"mine":1}')
        assert [asked.connection for asked in upstream.requests] == [0, 0, 1]
    # On a fresh connection, or one that stays open, a 408 is what the provider has to say.
    for before, answers in ((0, [farewell]), (1, [FIRST, NEXT, ok(b"{}", 408)])):
        async with Scripted(answers) as upstream, Rig(openai=upstream.url) as rig:
            for _ in range(before):
                await rig.chat()
            assert (await rig.chat()).status == 408
            assert len(upstream.connections) == 1
