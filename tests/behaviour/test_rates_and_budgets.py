"""Rates and budgets as clients meet them: statuses, bodies, headers, and that parallel requests cannot overspend."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any

import msgspec
import pytest

from proxy.limits.rates import NANO
from proxy.ports import Budget, Limits, ModelLimits, Rates
from tests.behaviour.rig import CHAT, MESSAGES, Rig, virtual_key
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import Scripted, ok

SMALL = {**CHAT, "max_tokens": 50}


def limited(by: str, url: str, limits: Limits, **more: Any) -> Rig:
    if by == "api key":
        return Rig(openai=url, limits=limits, **more)
    return Rig(virtual_keys=(virtual_key("openai", url, limits=limits),), **more)


WHO = ["api key", "virtual key"]


@pytest.mark.parametrize("by", WHO)
async def test_a_rate_of_requests_is_refused_with_what_clients_need_to_wait(by: str, provider: Provider) -> None:
    async with limited(by, provider.url, Limits(requests=Rates(per_minute=3))) as rig:
        left = [(await rig.post("/v1/chat/completions", CHAT)).headers for _ in range(3)]
        assert [each["x-ratelimit-remaining-requests"] for each in left] == ["2", "1", "0"]
        assert left[0]["x-ratelimit-limit-requests"] == "3"
        assert left[0]["x-ratelimit-reset-requests"].endswith("s")
        refused = await rig.post("/v1/chat/completions", CHAT)
        assert refused.status == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == {
            "api key": ("api_key_rate_limit_error", "05"),
            "virtual key": ("virtual_key_rate_limit_error", None),
        }[by]
        assert 1 <= int(refused.headers["retry-after"]) <= 20
        assert 1 <= int(refused.headers["retry-after-ms"]) <= 20_000
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        told = await rig.post("/v1/messages", MESSAGES)
        assert (told.status, told.json()["error"]["type"]) == (429, "rate_limit_error")
        assert rig.quiet


async def test_a_provider_s_own_headers_pass_where_no_rate_of_ours_applies() -> None:
    theirs = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        b"x-ratelimit-limit-requests: 999\r\nX-RateLimit-Remaining-Tokens: 888\r\n\r\n{}"
    )
    async with Scripted(play=lambda asked: [theirs]) as upstream:
        async with Rig(openai=upstream.url) as rig:
            headers = (await rig.post("/v1/chat/completions", CHAT)).headers
            assert headers["x-ratelimit-limit-requests"] == "999"
        async with Rig(openai=upstream.url, limits=Limits(requests=Rates(per_day=5))) as rig:
            headers = (await rig.post("/v1/chat/completions", CHAT)).headers
            assert headers["x-ratelimit-limit-requests"] == "5"
            assert headers["x-ratelimit-remaining-tokens"] == "888"


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize("streamed", [False, True])
async def test_tokens_are_settled_from_what_was_used(by: str, streamed: bool) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    whole = json.dumps({"choices": [], "usage": usage}).encode()
    body = b"data: " + whole + b"\n\ndata: [DONE]\n\n"
    stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with (
        Scripted(play=lambda asked: [stream if streamed else ok(whole)]) as upstream,
        limited(by, upstream.url, Limits(tokens=Rates(per_hour=1000))) as rig,
    ):
        answers = [await rig.post("/v1/chat/completions", {**SMALL, "stream": streamed}) for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 5 + [429]
        assert 0 < int(answers[0].headers["x-ratelimit-remaining-tokens"]) < 1000
        assert answers[5].headers["x-ratelimit-limit-tokens"] == "1000"


async def test_a_failed_call_uses_no_tokens() -> None:
    async with (
        Scripted(play=lambda asked: [ok(b"{}", 500)]) as upstream,
        limited("virtual key", upstream.url, Limits(tokens=Rates(per_hour=100))) as rig,
    ):
        for _ in range(10):
            assert (await rig.post("/v1/chat/completions", SMALL)).status == 500


@pytest.mark.parametrize("by", WHO)
async def test_a_pattern_limits_its_models_and_no_others(by: str, provider: Provider) -> None:
    limits = Limits(models={"gpt-4*": ModelLimits(requests=Rates(per_day=2)), "gpt-5": ModelLimits(concurrency=1)})
    async with limited(by, provider.url, limits) as rig:
        statuses = [(await rig.chat(model=model)).status for model in ("gpt-4o", "gpt-4", "gpt-4o", "gpt-3.5-turbo")]
        assert statuses == [200, 200, 429, 200]
        line = await rig.open("/v1/chat/completions", {**CHAT, "model": steered("gpt-5", latency=600_000)})
        await rig.until(lambda: rig.permits == 1)
        assert (await rig.chat(model="gpt-3.5-turbo")).status == 200
        line.leave()
        await rig.until(lambda: rig.permits == 0)
        assert rig.quiet


def body_of(cost: Any) -> bytes:
    usage = {"prompt_tokens": 0, "completion_tokens": cost, "total_tokens": cost}
    return json.dumps({"choices": [], "usage": usage}).encode()


@pytest.mark.parametrize("by", WHO)
async def test_an_exhausted_budget_is_refused_and_a_reset_opens_it(by: str) -> None:
    limits = Limits(budget=Budget(tokens=100, window="total"))
    async with Scripted(play=lambda asked: [ok(body_of(60))]) as upstream, limited(by, upstream.url, limits) as rig:
        statuses = [(await rig.post("/v1/chat/completions", SMALL)).status for _ in range(3)]
        assert statuses == [200, 200, 412]
        refused = await rig.post("/v1/chat/completions", SMALL)
        error = refused.json()["error"]
        kind = by.replace(" ", "_")
        assert (error["type"], error["code"]) == (f"{kind}_exhaust_error", "04")
        assert refused.headers["x-should-retry"] == "false"
        who = ("API key", "test") if by == "api key" else ("virtual key", "openai")
        assert rig.gateway.exhausted() == {who}
        standing = rig.gateway.standing(*who)
        assert standing == ("tokens", 120, 0, 100, "total", None)
        assert rig.gateway.reset_usage(*who)
        assert rig.gateway.exhausted() == frozenset()
        assert (await rig.post("/v1/chat/completions", SMALL)).status == 200
        assert rig.quiet


@pytest.mark.parametrize("by", WHO)
async def test_twenty_at_once_pass_a_budget_in_dollars_by_one_reservation_at_most(by: str) -> None:
    # gpt-4o costs 10 dollars a million tokens of output: each request reserves and spends 0.01 of them.
    limits = Limits(budget=Budget(usd=0.105, window="daily"))
    async with Scripted(play=lambda asked: [ok(body_of(1000))]) as upstream, limited(by, upstream.url, limits) as rig:

        async def caller() -> list[int]:
            return [(await rig.post("/v1/chat/completions", {**CHAT, "max_tokens": 1000})).status for _ in range(4)]

        answers = await asyncio.gather(*(caller() for _ in range(20)))
        statuses = [status for each in answers for status in each]
        assert set(statuses) == {200, 412}
        who = ("API key", "test") if by == "api key" else ("virtual key", "openai")
        meter = rig.gateway.live.limiters.all[who].meter
        assert meter is not None
        spent = meter.spent / NANO
        print(f"spent ${spent:.4f} of $0.105")
        assert meter.reserved == 0
        assert spent == pytest.approx(statuses.count(200) * 0.01)
        assert 0.09 < spent <= 0.105 + 0.0101


@pytest.mark.parametrize("by", WHO)
async def test_a_model_without_a_price_is_refused_or_allowed_as_the_budget_says(by: str, provider: Provider) -> None:
    for policy, status in (("refuse", 412), ("allow", 200)):
        budget = msgspec.convert({"usd": 1, "unknown_price": policy}, Budget)
        async with limited(by, provider.url, Limits(budget=budget)) as rig:
            answer = await rig.chat(model="house-model")
            assert answer.status == status
            if status == 412:
                assert answer.json()["error"]["code"] == "unknown_price"
            assert (await rig.chat()).status == 200


SEARCHED = {
    "status": "completed",
    "output": [{"type": "web_search_call", "action": {"type": "search", "query": "a"}}] * 3,
    "usage": {
        "input_tokens": 0, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 1,
    },
}  # fmt: skip


def spent_by(rig: Rig, by: str) -> float:
    meter = rig.gateway.live.limiters.all[("API key", "test") if by == "api key" else ("virtual key", "openai")].meter
    assert meter is not None
    assert meter.reserved == 0
    return meter.spent / NANO


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize("streamed", [False, True])
async def test_searches_are_reserved_and_paid_for_from_a_budget_in_dollars(by: str, streamed: bool) -> None:
    # A search of gpt-5's costs a cent; a request that may make 20 of them reserves 20 cents.
    event = b'event: response.completed\ndata: {"type":"response.completed","response":%b}\n\n'
    body = event % json.dumps(SEARCHED).encode()
    stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    whole = ok(json.dumps(SEARCHED).encode())
    tools = [{"type": "web_search"}]
    asked = {"model": "gpt-5", "input": "hi", "stream": streamed, "tools": tools, "max_output_tokens": 1}
    limits = Limits(budget=Budget(usd=0.1, window="total"))
    async with (
        Scripted(play=lambda asked: [stream if streamed else whole]) as upstream,
        limited(by, upstream.url, limits) as rig,
    ):
        many = asyncio.gather(*(rig.post("/v1/responses", {**asked, "max_tool_calls": 20}) for _ in range(5)))
        assert sorted(each.status for each in await many) == [200, 412, 412, 412, 412]
        assert spent_by(rig, by) == pytest.approx(0.03 + 0.00001)
        (row,) = [row for row in await rig.usage() if row["status"] == 200]
        assert row["cost"] == pytest.approx(0.03 + 0.00001)
        assert json.loads(row["details"])["searches"] == 3
        if by == "api key":
            assert 'loopway_unpriced_requests_total{provider="openai"}' in rig.gateway.metrics.samples()


@pytest.mark.parametrize("by", WHO)
async def test_what_is_asked_for_without_a_price_is_refused_or_allowed_as_the_budget_says(by: str) -> None:
    answer = ok(json.dumps({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 10}}).encode())
    asked = {**SMALL, "search_parameters": {"mode": "on"}}
    for policy, status in (("refuse", 412), ("allow", 200)):
        budget = msgspec.convert({"usd": 1, "unknown_price": policy}, Budget)
        async with (
            Scripted(play=lambda asked: [answer]) as upstream,
            limited(by, upstream.url, Limits(budget=budget)) as rig,
        ):
            told = await rig.post("/v1/chat/completions", asked)
            assert told.status == status
            if status == 412:
                assert told.json()["error"]["code"] == "unknown_price"
                assert "'source'" in told.json()["error"]["message"]


def form(*fields: tuple[str, str]) -> bytes:
    """A form with a file before its fields, as curl's users write them."""
    parts = [b'content-disposition: form-data; name="file"; filename="a.mp3"\r\ncontent-type: audio/mpeg\r\n\r\n\0name']
    parts += [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    return b"--b\r\n" + b"\r\n--b\r\n".join(parts) + b"\r\n--b--\r\n"


WHISPER, SKETCH = form(("model", "whisper-1")), form(("n", "2"), ("model", "gpt-image-1"))
HEARD = b'{"text":"hi","usage":{"type":"duration","seconds":100}}'
DREW = b'{"data":[{"b64_json":""}],"usage":{"input_tokens":0,"output_tokens":1000,"input_tokens_details":{}}}'


@pytest.mark.parametrize(
    ("path", "body", "answer", "cost"),
    [
        ("/v1/audio/speech", {"model": "tts-1", "input": "a" * 1000, "voice": "alloy"}, b"ID3\x00", 0.015),
        ("/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "a"}, b"ID3\x00", None),
        ("/v1/images/generations", {"model": "dall-e-9", "prompt": "a"}, b'{"data":[{"url":"https://a"}]}', None),
        ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a", "n": 1}, DREW, 0.04),
        ("/v1/images/edits", SKETCH, DREW, 0.04),
        ("/v1/audio/transcriptions", WHISPER, HEARD, 0.01),
        ("/v1/audio/transcriptions", form(("model", "tts-1"), ("model", "whisper-1")), HEARD, None),
        ("/v1/audio/transcriptions", form(), HEARD, None),
    ],
    ids=range(8),
)
async def test_what_passes_through_has_its_cost_or_none_and_never_nought(
    path: str, body: Any, answer: bytes, cost: float | None
) -> None:
    limits = Limits(budget=msgspec.convert({"usd": 1, "unknown_price": "refuse" if cost else "allow"}, Budget))
    more = {"content_type": "multipart/form-data; boundary=b"} if isinstance(body, bytes) else {}
    async with Scripted(play=lambda asked: [ok(answer)]) as upstream, Rig(openai=upstream.url, limits=limits) as rig:
        assert (await rig.post(path, body, **more)).status == 200
        assert upstream.requests[0].body == (body if isinstance(body, bytes) else json.dumps(body).encode())
        (row,) = await rig.usage()
        assert row["cost"] == (None if cost is None else pytest.approx(cost))
        unpriced = rig.gateway.metrics.samples()['loopway_unpriced_requests_total{provider="openai"}']
        assert unpriced == (1 if cost is None else 0)
        meter = rig.gateway.live.limiters.all["API key", "test"].meter
        assert meter is not None
        assert (meter.spent, meter.reserved) == (round((cost or 0) * NANO), 0)


async def test_a_target_that_is_spent_is_passed_over(provider: Provider) -> None:
    spent = virtual_key("openai-a", provider.url, limits=Limits(requests=Rates(per_day=1)))
    async with Rig(virtual_keys=(spent, virtual_key("openai-b", provider.url))) as rig:
        config = {
            "strategy": {"mode": "fallback"},
            "targets": [{"virtual_key": "openai-a"}, {"virtual_key": "openai-b"}],
        }
        where = [(await rig.chat(config=config)).headers["x-portkey-last-used-option-index"] for _ in range(2)]
        assert where == ["config.targets[0]", "config.targets[1]"]


async def test_what_was_spent_survives_a_restart(provider: Provider) -> None:
    limits = Limits(budget=Budget(tokens=100, window="monthly"))
    async with Scripted(play=lambda asked: [ok(body_of(120))]) as upstream:
        async with limited("virtual key", upstream.url, limits) as rig:
            assert (await rig.post("/v1/chat/completions", SMALL)).status == 200
            store = rig.store
            await rig.until(lambda: rig.gateway.host.memory.leads)
        async with limited("virtual key", upstream.url, limits, store=store) as rig:
            assert (await rig.post("/v1/chat/completions", SMALL)).status == 412


async def test_a_threshold_calls_its_webhook_once(provider: Provider) -> None:
    async with (
        Scripted(play=lambda asked: [ok(b"{}")]) as hook,
        Scripted(play=lambda asked: [ok(body_of(60))]) as upstream,
    ):
        budget = Budget(tokens=200, window="daily", alert_threshold=100, webhook=f"{hook.url}/alert")
        async with limited("api key", upstream.url, Limits(budget=budget)) as rig:
            for _ in range(3):
                assert (await rig.post("/v1/chat/completions", SMALL)).status == 200
            await rig.until(lambda: rig.gateway.host.memory.leads)
            rig.gateway.budgets.tell()
            rig.gateway.budgets.tell()
            await rig.until(lambda: len(hook.requests) == 1)
            message = json.loads(hook.requests[0].body)
            assert (message["name"], message["spent"], message["limit"], message["unit"]) == (
                "test",
                180,
                200,
                "tokens",
            )


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize(
    "config",
    [
        {"virtual_key": "openai", "retry": {"attempts": 3}},
        {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai"}] * 3},
    ],
    ids=["retries", "fallbacks"],
)
async def test_attempts_that_failed_leave_nothing_in_a_budget(by: str, config: dict[str, Any]) -> None:
    tries = iter((500, 500, 200))
    budget = Budget(usd=5, window="total")
    async with (
        Scripted(play=lambda asked: [ok(body_of(60), next(tries))]) as upstream,
        limited(by, upstream.url, Limits(budget=budget), configs={"pc-c": config}) as rig,
    ):
        assert (await rig.post("/v1/chat/completions", SMALL, config="pc-c")).status == 200
        (limiter,) = rig.gateway.live.limiters.all.values()
        assert limiter.meter is not None
        assert len(upstream.requests) == 3
        assert (limiter.meter.spent, limiter.meter.reserved) == (60 * NANO // 100_000, 0)


@pytest.mark.parametrize("by", WHO)
async def test_a_kept_answer_costs_nothing_and_uses_no_tokens(by: str, provider: Provider) -> None:
    limits = Limits(budget=Budget(usd=5, window="total"), tokens=Rates(per_day=100_000))
    config = {"virtual_key": "openai", "cache": {"mode": "simple"}}
    async with limited(by, provider.url, limits, configs={"pc-c": config}) as rig:
        seen, left = [], []
        for _ in range(3):
            answer = await rig.post("/v1/chat/completions", SMALL, config="pc-c")
            (limiter,) = rig.gateway.live.limiters.all.values()
            assert limiter.meter is not None
            seen.append((answer.headers["x-portkey-cache-status"], limiter.meter.spent, limiter.meter.reserved))
            left.append(round(limiter.meter.standing(monotonic())[1][0]))
        cost = seen[0][1]
        assert cost > 0
        assert seen == [("MISS", cost, 0), ("HIT", cost, 0), ("HIT", cost, 0)]
        assert left[0] <= left[1] <= left[2] < 100_000, "it only drains"
        assert [row["cost"] for row in await rig.usage()] == [pytest.approx(cost / NANO), 0, 0]


async def test_every_permit_and_reservation_comes_back_when_a_client_leaves(provider: Provider) -> None:
    limits = Limits(concurrency=4, tokens=Rates(per_day=10_000_000), budget=Budget(tokens=10_000_000))
    async with limited("virtual key", provider.url, limits) as rig:
        body = {**CHAT, "stream": True, "model": steered("gpt-4o", gap=600_000)}
        lines = [await rig.open("/v1/chat/completions", body) for _ in range(4)]
        await rig.until(lambda: rig.permits == 4)
        for line in lines:
            line.leave(reset=True)
        await rig.until(lambda: rig.permits == 0)
        meter = rig.gateway.live.limiters.all[("virtual key", "openai")].meter
        assert meter is not None
        assert meter.reserved == 0
