"""`limits.concurrency`: so many requests of a key at once, streams to their last byte; every permit comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from proxy.ports import Budget, Limits, ModelLimits, Queue, Rates
from tests.behaviour.rig import CHAT, MESSAGES, Rig, virtual_key
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import SSE_HEAD, Asked, End, Scripted, chunk, ok

TWO = Limits(concurrency=2)
OPENAI_EVENT = chunk(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')


def rig_limited(by: str, url: str, **more: Any) -> Rig:
    if by == "api key":
        return Rig(openai=url, limits=TWO, **more)
    return Rig(virtual_keys=(virtual_key("openai", url, limits=TWO),), **more)


CODES = {"api key": "api_key_concurrency_limit", "virtual key": "virtual_key_concurrency_limit"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("by", CODES)
async def test_one_more_than_the_limit_is_refused_at_once_and_told_when_to_come_back(by: str, streamed: bool) -> None:
    async with Scripted([]) as upstream, rig_limited(by, upstream.url) as rig:
        body = {**CHAT, "stream": streamed}
        lines = []
        for count in (1, 2):
            lines.append(await rig.open("/v1/chat/completions", body))
            await upstream.until(lambda u, count=count: len(u.requests) == count)
        if streamed:
            for connection, line in zip(upstream.connections, lines, strict=True):
                connection.write(SSE_HEAD + OPENAI_EVENT)
                await line.receive(b"data: ")
        refused = await rig.post("/v1/chat/completions", body)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == CODES[by]
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert "connection" not in refused.headers
        dialect = await rig.post("/v1/messages", MESSAGES)
        assert (dialect.status, dialect.json()["type"]) == (429, "error")
        assert dialect.json()["error"]["type"] == "rate_limit_error"
        assert len(upstream.requests) == 2
        # The last byte of one of them makes room for another.
        if streamed:
            upstream.connections[0].write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        else:
            upstream.connections[0].write(ok(b"{}"))
        await lines[0].until(lambda: lines[0].data.endswith(b"0\r\n\r\n" if streamed else b"{}"))
        await rig.open("/v1/chat/completions", body)
        await upstream.until(lambda u: len(u.requests) == 3)


FAULTS: dict[str, list[Any]] = {
    "answers": [ok(b"{}")],
    "refuses": [ok(b"{}", 500)],
    "resets": [End.RST],
    "closes": [End.FIN],
    "breaks off": [SSE_HEAD, OPENAI_EVENT, End.RST],
    "says nothing": [],
    "begins and says no more": [SSE_HEAD, OPENAI_EVENT],
    "speaks no HTTP": [b"what?\r\n\r\n"],
}


@pytest.mark.parametrize("by", CODES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_permit_comes_back_however_the_provider_ends(by: str, fault: str) -> None:
    limits = {"first_byte_timeout": 0.1, "idle_timeout": 0.1}
    async with (
        Scripted(play=lambda asked: FAULTS[fault]) as upstream,
        rig_limited(by, upstream.url, timeouts=limits) as rig,
    ):
        for streamed in (False, True, False, True):
            answer = await rig.post("/v1/chat/completions", {**CHAT, "stream": streamed})
            assert answer.status != 429
            assert rig.permits == 0
        await rig.until(lambda: rig.quiet)


@pytest.mark.parametrize("by", CODES)
async def test_every_permit_comes_back_however_the_client_ends(by: str, provider: Provider) -> None:
    async with rig_limited(by, provider.url) as rig:
        modes: list[dict[str, object]] = [
            {"latency": 600_000},
            {"ttft": 600_000},
            {"gap": 600_000},
            {"size": 5_000_000},
        ]
        for mode in modes:
            for reset in (False, True):
                body = {**CHAT, "stream": "size" not in mode, "model": steered("gpt-4o", **mode)}
                lines = [await rig.open("/v1/chat/completions", body) for _ in range(2)]
                await rig.until(lambda: rig.permits >= 2)
                for line in lines:
                    line.leave(reset=reset)
                await rig.until(lambda: rig.permits == 0)
        assert (await rig.chat()).status == 200
        timed = await rig.post(
            "/v1/chat/completions",
            {**CHAT, "model": steered("gpt-4o", latency=600_000)},
            x_portkey_request_timeout="50",
        )
        assert timed.status == 408
        assert rig.permits == 0


@pytest.mark.parametrize("by", CODES)
async def test_refusals_of_any_kind_hold_no_permit(by: str) -> None:
    async with Scripted([ok(b"{}")]) as upstream, rig_limited(by, upstream.url) as rig:
        bad: list[tuple[Any, dict[str, str]]] = [
            (b"{", {}),
            ({"messages": []}, {}),
            (CHAT, {"x_portkey_api_key": "wrong"}),
            (CHAT, {"vk": "unknown"}),
            (CHAT, {"config": '{"strategy":{}}'}),
            (CHAT, {"x_portkey_request_timeout": "soon"}),
            (CHAT, {"x_portkey_forward_headers": "authorization"}),
            ({**CHAT, "stream": "yes"}, {}),
        ]
        for body, headers in bad:
            assert 400 <= (await rig.post("/v1/chat/completions", body, **headers)).status < 500
            assert rig.permits == 0
        assert upstream.requests == []


ALL = Limits(
    concurrency=2,
    queue=Queue(size=16, timeout=600),
    requests=Rates(per_day=1_000_000),
    tokens=Rates(per_day=100_000_000),
    budget=Budget(usd=1000, window="total"),
    models={"gpt-4*": ModelLimits(concurrency=2)},
)
"""Every limit there is: what is held of one must come back with what is held of the others."""

CHAINS: dict[str, dict[str, Any]] = {
    "pc-one": {"virtual_key": "openai"},
    "pc-retries": {"virtual_key": "openai", "retry": {"attempts": 5}},
    "pc-fallbacks": {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai"}] * 6},
    "pc-hedges": {
        "strategy": {"mode": "hedge", "hedge": {"delay": 5}},
        "targets": [{"virtual_key": "openai"}, {"virtual_key": "openai"}],
    },
    "pc-cache": {"virtual_key": "openai", "cache": {"mode": "simple"}},
}


@pytest.mark.parametrize("by", CODES)
async def test_whoever_leaves_whatever_chain_of_tries_leaves_nothing_held(by: str) -> None:
    failed: set[int] = set()
    silent: set[int] = set()

    def play(asked: Asked) -> list[Any]:
        """Of each request the first try fails; all others are never answered."""
        number = asked.json()["seed"]
        if number in failed:
            silent.add(number)
            return []
        failed.add(number)
        return [ok(b"{}", 500)]

    async with Scripted(play=play) as upstream:
        row = virtual_key("openai", upstream.url, limits=ALL if by == "virtual key" else Limits())
        async with Rig(virtual_keys=(row,), limits=ALL if by == "api key" else None, configs=CHAINS) as rig:
            (limiter,) = rig.gateway.live.limiters.all.values()
            parts = (limiter, *limiter.models)
            for turn, chain in enumerate(CHAINS):
                silent.clear()
                few = chain == "pc-retries"  # which have a budget of their own
                if chain in ("pc-one", "pc-cache"):
                    failed.update(range(100 * turn, 100 * turn + 8))
                lines = [
                    await rig.open(
                        "/v1/chat/completions",
                        {**CHAT, "seed": 100 * turn + n, "stream": n % 2 == 0},
                        config=chain,
                    )
                    for n in range(3 if few else 8)
                ]
                await rig.until(lambda few=few: bool(silent) and (few or limiter.queued > 0))
                for n, line in enumerate(lines):
                    line.leave(reset=n % 3 == 0)
                await rig.until(lambda: not any(part.held or part.queued for part in parts) and rig.quiet)
                assert limiter.meter is not None
                assert limiter.meter.reserved == 0


async def test_a_retry_keeps_the_keys_permit_and_gives_back_the_targets_while_it_waits() -> None:
    async with Scripted(play=lambda asked: [ok(b"{}", 500)]) as upstream:
        rows = (virtual_key("openai", upstream.url, limits=Limits(concurrency=1)),)
        async with Rig(virtual_keys=rows, limits=TWO) as rig:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            seen: list[int] = []

            async def wait(seconds: float) -> None:
                seen.append(rig.permits)
                await waiting

            rig.gateway.pipeline._forwarder._sleep = wait
            config = json.dumps({"virtual_key": "openai", "retry": {"attempts": 1}})
            asked = asyncio.ensure_future(rig.post("/v1/chat/completions", CHAT, config=config))
            await rig.until(lambda: bool(seen))
            assert seen == [1]
            assert (await rig.chat(config={"virtual_key": "openai"})).status == 500
            waiting.set_result(None)
            assert (await asked).status == 500
            assert rig.permits == 0


async def test_a_reload_changes_the_limit_and_keeps_the_count() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=TWO) as rig:
        lines = [await rig.open("/v1/chat/completions", CHAT) for _ in range(2)]
        await upstream.until(lambda u: len(u.requests) == 2)
        (key,) = rig.file.api_keys
        raised = msgspec.structs.replace(key, limits=Limits(concurrency=3))
        rig.replace(api_keys=(raised,))
        rig.gateway.live.file = rig.file
        await rig.gateway.live._compile()
        lines.append(await rig.open("/v1/chat/completions", CHAT))
        await upstream.until(lambda u: len(u.requests) == 3)
        assert (await rig.post("/v1/chat/completions", CHAT)).status == 429
        for line in lines:
            line.leave()
        await rig.until(lambda: rig.permits == 0)


async def test_many_at_once_never_exceed_the_limit(provider: Provider) -> None:
    async with Rig(openai=provider.url, limits=Limits(concurrency=5)) as rig:
        body = {**CHAT, "model": steered("gpt-4o", latency=100)}
        answers = await asyncio.gather(*(rig.post("/v1/chat/completions", body) for _ in range(60)))
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {200, 429}
        assert provider.stats["max_in_flight"] <= 5
        assert provider.stats["requests"] == statuses.count(200)
        assert rig.permits == 0
