"""The workers of one host share calls and answers, live, and need nothing but a directory for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.cache.peers import Peers
from tests.behaviour.client import Answer, errors_in, events
from tests.behaviour.rig import CHAT, Rig, virtual_key
from tests.behaviour.test_cache import halting
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import Asked, Script, Scripted, ok

ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Hello again"}}]}'
)
CONFIG = {"pc-c": {"virtual_key": "openai-a", "cache": {"mode": "simple"}}}


class _Worker(Rig):
    """One of several."""

    async def join(self, run_dir: Path) -> None:
        cache = self.gateway.cache
        assert cache.peers is not None
        await cache.peers.close()
        cache.peers = Peers(run_dir, cache.memory)
        await cache.peers.start()

    @property
    def peers(self) -> Peers:
        assert self.gateway.cache.peers is not None
        return self.gateway.cache.peers

    async def ask(self, body: dict[str, Any] | None = None, **headers: str) -> Answer:
        return await self.post("/v1/chat/completions", body or CHAT, config="pc-c", **headers)


Workers = tuple[_Worker, ...]


@pytest.fixture
async def workers(provider: Provider, tmp_path: Path) -> AsyncIterator[Workers]:
    async with _three(provider.url, tmp_path) as made:
        yield made


@asynccontextmanager
async def _three(url: str, tmp_path: Path) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        rows = (virtual_key("openai-a", url),)
        made = tuple([await stack.enter_async_context(_Worker(virtual_keys=rows, configs=CONFIG)) for _ in range(3)])
        for worker in made:
            await worker.join(tmp_path)
        yield made


def _status(answer: Answer) -> str | None:
    return answer.headers.get("x-portkey-cache-status")


async def test_an_answer_of_one_worker_serves_all(workers: Workers, provider: Provider) -> None:
    for number in range(6):
        body = {**CHAT, "seed": number}
        answers = [await worker.ask(body) for worker in workers]
        assert [_status(answer) for answer in answers] == ["MISS", "HIT", "HIT"]
        assert len({answer.body for answer in answers}) == 1
    assert len(provider.requests()) == 6


async def test_a_stream_of_one_worker_serves_whole_callers_of_another(workers: Workers, provider: Provider) -> None:
    for number in range(4):
        body = {**CHAT, "seed": number}
        assert _status(await workers[number % 3].ask({**body, "stream": True})) == "MISS"
        assert _status(await workers[(number + 1) % 3].ask(body)) == "HIT"
    assert len(provider.requests()) == 4


async def test_a_herd_over_all_workers_makes_one_call(workers: Workers, provider: Provider) -> None:
    body = {**CHAT, "model": steered("gpt-4o", latency=300)}
    answers = await asyncio.gather(*(worker.ask(body) for worker in workers for _ in range(60)))
    assert len(provider.requests()) == 1
    assert {answer.status for answer in answers} == {200}
    assert sorted(map(str, map(_status, answers))).count("MISS") == 1
    assert len({answer.body for answer in answers}) == 1
    paid = [row for worker in workers for row in await worker.usage() if row["attempts"]]
    assert len(paid) == 1


async def test_a_stream_is_told_live_over_all_workers(tmp_path: Path) -> None:
    body, go = {**CHAT, "stream": True}, asyncio.Event()
    async with Scripted(play=lambda asked: halting(go)) as upstream, _three(upstream.url, tmp_path) as workers:
        lines = [await worker.open("/v1/chat/completions", body, config="pc-c") for worker in workers for _ in range(4)]
        await asyncio.gather(*(line.receive(b"data: ") for line in lines))
        assert sum(worker.open_upstream for worker in workers) == 1
        go.set()
        ends = await asyncio.gather(*(line.receive(b"data: [DONE]\n\n\r\n0\r\n\r\n") for line in lines))
        assert len(upstream.requests) == 1
        assert len({end.count(b"chat.completion.chunk") for end in ends}) <= 2
        for line in lines:
            line.leave()
        for worker in workers:
            await worker.until(lambda worker=worker: worker.quiet)


async def test_everybody_hears_how_a_stream_broke_off(workers: Workers, provider: Provider) -> None:
    body = {**CHAT, "stream": True, "model": steered("gpt-4o", chunks=8, gap=150, truncate_events=4)}
    answers = await asyncio.gather(*(worker.ask(body) for worker in workers))
    assert [len(errors_in(events(answer.body))) for answer in answers] == [1, 1, 1]
    assert len(provider.requests()) == 1


async def test_when_the_leading_worker_fails_another_one_takes_over(workers: Workers, provider: Provider) -> None:
    body = {**CHAT, "model": steered("gpt-4o", latency=400, status=503, fail_first=1)}
    answers = await asyncio.gather(*(worker.ask(body) for worker in workers))
    assert sorted(answer.status for answer in answers) == [200, 200, 503]
    assert len(provider.requests()) == 2


def _silent_at_first() -> Callable[[Asked], Script]:
    """A provider that never answers a question when it is asked for the first time, and at once the second time."""
    seen: set[bytes] = set()
    never = asyncio.Event()

    def play(asked: Asked) -> Script:
        if asked.body in seen:
            return [ok(ANSWER)]
        seen.add(asked.body)
        return [never]

    return play


async def test_when_the_leading_workers_client_leaves_another_worker_takes_over(tmp_path: Path) -> None:
    async with Scripted(play=_silent_at_first()) as upstream, _three(upstream.url, tmp_path) as workers:
        first = await workers[0].open("/v1/chat/completions", CHAT, config="pc-c")
        await upstream.until(lambda u: len(u.requests) == 1)
        others = [asyncio.ensure_future(worker.ask()) for worker in workers[1:]]
        await asyncio.sleep(0.1)
        first.leave(reset=True)
        assert {answer.status for answer in await asyncio.gather(*others)} == {200}
        assert len(upstream.requests) == 2


async def test_when_the_home_of_a_question_goes_with_its_leader_the_others_agree_anew(tmp_path: Path) -> None:
    async with Scripted(play=_silent_at_first()) as upstream, _three(upstream.url, tmp_path) as workers:
        home, *others = workers
        for seed in range(100):
            body = {**CHAT, "seed": seed}
            first = await home.open("/v1/chat/completions", body, config="pc-c")
            await upstream.until(lambda u, seed=seed: len(u.requests) > seed)
            if home.peers._claims:
                break
            first.leave(reset=True)
        (claim,) = home.peers._claims.values()
        answers = [asyncio.ensure_future(worker.ask(body)) for worker in others for _ in range(3)]
        await home.until(lambda: len(claim.followers) == len(others))
        before = len(upstream.requests)
        await home.peers.close()
        assert {answer.status for answer in await asyncio.gather(*answers)} == {200}
        assert len(upstream.requests) == before + 1
        first.leave()


async def test_who_follows_a_call_that_says_nothing_for_too_long_makes_its_own(tmp_path: Path) -> None:
    async with Scripted(play=_silent_at_first()) as upstream, _three(upstream.url, tmp_path) as workers:
        first = await workers[0].open("/v1/chat/completions", CHAT, config="pc-c")
        await upstream.until(lambda u: len(u.requests) == 1)
        workers[1].gateway.cache._patience = 0.05
        assert (await workers[1].ask()).status == 200
        assert len(upstream.requests) == 2
        first.leave()


async def test_a_forced_refresh_is_known_to_all(workers: Workers, provider: Provider) -> None:
    for worker in workers:
        await worker.ask()
    assert _status(await workers[0].ask(**{"x-portkey-cache-force-refresh": "true"})) == "REFRESH"
    fresh = [await worker.ask() for worker in workers]
    assert [_status(answer) for answer in fresh] == ["HIT", "HIT", "HIT"]
    assert len(provider.requests()) == 2


async def test_a_worker_that_was_killed_is_soon_forgotten(workers: Workers, provider: Provider, tmp_path: Path) -> None:
    dead = tmp_path / "cache-1-dead.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    asked = 0
    while dead.exists():
        # Until one of the questions has its home there.
        asked += 1
        assert (await workers[0].ask({**CHAT, "seed": asked})).status == 200
        assert asked < 200
    assert len(provider.requests()) == asked


async def test_a_worker_alone_asks_nobody(provider: Provider) -> None:
    async with _Worker(virtual_keys=(virtual_key("openai-a", provider.url),), configs=CONFIG) as rig:
        await rig.ask()
        assert rig.gateway.cache.peers is not None
        assert rig.gateway.cache.peers.asked == 0


async def test_the_socket_is_for_this_user_only(workers: Workers, tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("cache-*.sock")} == {0o600}
