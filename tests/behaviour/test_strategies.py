"""Fallback, retry and load balancing: which targets are asked, how often, when, and what the answer says about it."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
from collections import Counter
from time import monotonic, time
from typing import Any, cast

import pytest

from proxy.ports import Limits
from tests.behaviour.client import Answer, events
from tests.behaviour.rig import CHAT, MESSAGES, Rig, api_key, virtual_key
from tests.fakes.upstream import Asked, Script, Scripted, chunk, head, ok, stream

WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}],
    }
).encode()
ERROR = b'{"error":{"message":"no","type":"t","param":null,"code":null}}'


class Statuses:
    """A provider that answers each credential with the statuses it was told, the last one for ever."""

    def __init__(self, **statuses: list[int | bytes]) -> None:
        self.left = {f"Bearer sk-{slug}": list(each) for slug, each in statuses.items()}
        self.asked: list[str] = []

    def __call__(self, asked: Asked) -> Script:
        credential = asked.header("authorization") or ""
        self.asked.append(credential.removeprefix("Bearer sk-"))
        left = self.left[credential]
        status = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(status, bytes):
            return [status]
        if status == 204:
            return [b"HTTP/1.1 204 No Content\r\n\r\n"]
        return [ok(WHOLE if status == 200 else ERROR, status)]


class Clock:
    """Takes the place of sleeping: time passes at once, and it remembers how long it would have been."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.passed = 0.0

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds

    def time(self) -> float:
        return monotonic() + self.passed


class Scene:
    """Openai-like targets `openai`, `openai-b`, `openai-c` in front of one scripted provider, without real waiting."""

    def __init__(self, play: Any, **more: Any) -> None:
        self.upstream = Scripted(play=play)
        self.clock = Clock()
        self._more = more

    async def __aenter__(self) -> Scene:
        await self.upstream.__aenter__()
        url = self.upstream.url
        rows = self._more.pop("virtual_keys", ())
        self.rig = Rig(
            virtual_keys=(*(virtual_key(slug, url) for slug in SLUGS), *rows),
            **self._more,
        )
        await self.rig.__aenter__()
        forwarder = self.rig.gateway.pipeline._forwarder
        forwarder._sleep = self.clock
        forwarder._clock = forwarder._attempts.clock = self.clock.time
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.rig.__aexit__(None, None, None)
        await self.upstream.__aexit__(None, None, None)


SLUGS = ("openai", "openai-b", "openai-c")
A, B, C = ({"virtual_key": slug} for slug in SLUGS)


def fallback(*targets: Any, codes: list[int] | None = None) -> dict[str, Any]:
    strategy: dict[str, Any] = {"mode": "fallback"}
    if codes is not None:
        strategy["on_status_codes"] = codes
    return {"strategy": strategy, "targets": list(targets)}


def told(answer: Answer) -> tuple[int, str, str]:
    """Status, which target, how many retries."""
    headers = answer.headers
    return answer.status, headers["x-portkey-last-used-option-index"], headers["x-portkey-retry-attempt-count"]


# -- fallback


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 529])
async def test_without_codes_any_error_asks_the_next_target(status: int) -> None:
    play = Statuses(**{"openai": [status], "openai-b": [200]})
    async with Scene(play) as scene:
        answer = await scene.rig.chat(config=fallback(A, B))
        assert told(answer) == (200, "config.targets[1]", "0")
        assert play.asked == ["openai", "openai-b"]


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_without_codes_any_success_stops(status: int) -> None:
    play = Statuses(**{"openai": [status], "openai-b": [200]})
    async with Scene(play) as scene:
        assert told(await scene.rig.chat(config=fallback(A, B))) == (status, "config.targets[0]", "0")


async def test_with_codes_only_listed_ones_ask_the_next_target() -> None:
    play = Statuses(**{"openai": [429, 500], "openai-b": [200]})
    async with Scene(play) as scene:
        config = fallback(A, B, codes=[429])
        assert told(await scene.rig.chat(config=config)) == (200, "config.targets[1]", "0")
        answer = await scene.rig.chat(config=config)
        assert told(answer) == (500, "config.targets[0]", "0")
        assert answer.body == ERROR
        assert play.asked == ["openai", "openai-b", "openai"]


async def test_a_listed_success_asks_the_next_target_too() -> None:
    play = Statuses(**{"openai": [200], "openai-b": [418]})
    async with Scene(play) as scene:
        assert told(await scene.rig.chat(config=fallback(A, B, codes=[200]))) == (418, "config.targets[1]", "0")
        streamed = await scene.rig.chat(config=fallback(A, B, codes=[200]), stream=True)
        assert told(streamed) == (418, "config.targets[1]", "0")
        await scene.rig.until(lambda: scene.rig.quiet)


async def test_when_all_targets_fail_the_last_answer_is_given() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [429], "openai-c": [ok(b'{"error":"last"}', 503, retry_after="9")]})
    async with Scene(play) as scene:
        answer = await scene.rig.chat(config=fallback(A, B, C))
        assert told(answer) == (503, "config.targets[2]", "0")
        assert answer.body == b'{"error":"last"}'
        assert answer.headers["retry-after"] == "9"
        rows = await scene.rig.usage()
        assert [(row["attempts"], row["status"], row["virtual_key"]) for row in rows] == [(3, 503, "openai-c")]


async def test_strategies_nest_and_the_path_says_where_the_answer_came_from() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [500], "openai-c": [200]})
    nested = fallback(A, {"strategy": {"mode": "single"}, "targets": [fallback(B, C)]})
    async with Scene(play) as scene:
        answer = await scene.rig.chat(config=nested)
        assert told(answer) == (200, "config.targets[1].targets[0].targets[1]", "0")
        assert play.asked == ["openai", "openai-b", "openai-c"]


async def test_an_inner_fallback_that_ends_in_an_error_asks_the_outer_ones_next_target() -> None:
    play = Statuses(**{"openai": [429], "openai-b": [503], "openai-c": [200]})
    inner = fallback(A, B, codes=[429])
    async with Scene(play) as scene:
        assert told(await scene.rig.chat(config=fallback(inner, C))) == (200, "config.targets[1]", "0")
        # 503 is listed inside, but the outer one looks for something else.
        answer = await scene.rig.chat(config=fallback(inner, C, codes=[500]))
        assert told(answer) == (503, "config.targets[0].targets[1]", "0")


async def test_single_asks_its_first_target_and_no_other() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [200]})
    async with Scene(play) as scene:
        config = {"strategy": {"mode": "single"}, "targets": [A, B]}
        assert told(await scene.rig.chat(config=config)) == (500, "config.targets[0]", "0")
        assert play.asked == ["openai"]


async def test_every_target_gets_the_clients_request_with_its_own_changes() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [500], "openai-c": [200]})
    config = fallback(
        {**A, "override_params": {"temperature": 0.5, "model": "gpt-4o-mini"}},
        B,
        {**C, "override_params": {"top_p": 1}},
    )
    async with Scene(play) as scene:
        await scene.rig.chat(config=config, temperature=1)
        sent = [asked.json() for asked in scene.upstream.requests]
        assert sent == [
            {**CHAT, "temperature": 0.5, "model": "gpt-4o-mini"},
            {**CHAT, "temperature": 1},
            {**CHAT, "temperature": 1, "top_p": 1},
        ]


async def test_a_fallback_crosses_dialects_both_ways() -> None:
    def play(asked: Asked) -> Script:
        if asked.header("x-api-key"):
            return [ok(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', 529)]
        if asked.json().get("stream"):
            done = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
            return stream(done, b"data: [DONE]\n\n")
        return [ok(WHOLE)]

    async with Scripted(play=play) as upstream:
        rows = virtual_key("anthropic", upstream.url)
        async with Rig(virtual_keys=(rows,), openai=upstream.url) as rig:
            config = json.dumps(fallback({"virtual_key": "anthropic"}, A))
            answer = await rig.post("/v1/messages", {**MESSAGES, "stream": True}, config=config)
            assert told(answer) == (200, "config.targets[1]", "0")
            assert events(answer.body)[-1].name == "message_stop"
            answer = await rig.post("/v1/chat/completions", CHAT, config=config)
            assert (answer.status, answer.body) == (200, WHOLE)


# -- refusals of a target are answers as any other


async def test_a_target_that_may_not_be_used_is_passed_over() -> None:
    play = Statuses(**{"openai": [200], "openai-b": [200], "openai-c": [200]})
    no_gpt = virtual_key("openai-narrow", "http://127.0.0.1:9", models=("o1*",))
    expired = virtual_key("openai-expired", "http://127.0.0.1:9", expires_at=int(time()) - 1)
    async with Scene(play, virtual_keys=(no_gpt, expired)) as scene:
        narrow, old = {"virtual_key": "openai-narrow"}, {"virtual_key": "openai-expired"}
        assert told(await scene.rig.chat(config=fallback(narrow, C))) == (200, "config.targets[1]", "0")
        assert told(await scene.rig.chat(config=fallback(narrow, C, codes=[412]))) == (200, "config.targets[1]", "0")
        assert told(await scene.rig.chat(config=fallback(old, narrow, C))) == (200, "config.targets[2]", "0")
        answer = await scene.rig.chat(config=fallback(narrow, C, codes=[429]))
        assert told(answer) == (412, "config.targets[0]", "0")
        assert answer.json()["error"]["type"] == "model_not_allowed_error"
        assert scene.rig.quiet


async def test_a_target_at_its_concurrency_limit_is_passed_over_and_the_last_one_says_when_to_come_back() -> None:
    play = Statuses(**{"openai": [200], "openai-b": [200], "openai-c": [200]})
    full = virtual_key("openai-full", "http://127.0.0.1:9", limits=Limits(concurrency=1))
    async with Scene(play, virtual_keys=(full,)) as scene:
        limiter = scene.rig.gateway.live.limiters.virtual_key(full)
        assert limiter is not None
        permit = limiter.enter(cast(Any, None), None)
        assert permit is not None
        busy = {"virtual_key": "openai-full"}
        assert told(await scene.rig.chat(config=fallback(busy, B))) == (200, "config.targets[1]", "0")
        answer = await scene.rig.chat(config=fallback(busy, B, codes=[500]))
        assert told(answer) == (429, "config.targets[0]", "0")
        assert answer.json()["error"]["code"] == "virtual_key_concurrency_limit"
        assert answer.headers["retry-after"] == "1"
        permit.leave(None, answered=False)


async def test_a_key_may_not_reach_by_a_fallback_what_it_may_not_reach_at_all() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [200], "openai-c": [200]})
    narrow = api_key("narrow", "lw-narrow", virtual_keys=("openai",))
    async with Scene(play, keys=(narrow,)) as scene:
        config = json.dumps(fallback(A, B))
        answer = await scene.rig.post("/v1/chat/completions", CHAT, config=config, x_portkey_api_key="lw-narrow")
        assert answer.status == 403
        assert answer.json()["error"]["code"] == "virtual_key_not_allowed"
        assert play.asked == ["openai"]


# -- retries


def retried(attempts: int, codes: list[int] | None = None, **more: Any) -> dict[str, Any]:
    retry: dict[str, Any] = {"attempts": attempts, **more}
    if codes is not None:
        retry["on_status_codes"] = codes
    return {**A, "retry": retry}


@pytest.mark.parametrize(
    ("statuses", "attempts", "expected"),
    [
        ([200], 3, (200, "0", 0)),
        ([500, 200], 3, (200, "1", 1)),
        ([500, 429, 502, 200], 3, (200, "3", 3)),
        ([500], 3, (500, "-1", 3)),
        ([500], 0, (500, "0", 0)),
        ([400], 3, (400, "0", 0)),
        ([500, 400], 3, (400, "1", 1)),
        ([408], 3, (408, "0", 0)),
        ([529, 200], 1, (200, "1", 1)),
        ([503, 504, 200], 5, (200, "2", 2)),
    ],
)
async def test_retries_are_counted_as_the_answer_says(
    statuses: list[int | bytes], attempts: int, expected: tuple[int, str, int]
) -> None:
    play = Statuses(openai=statuses)
    async with Scene(play) as scene:
        answer = await scene.rig.chat(config=retried(attempts))
        status, count, waits = expected
        assert told(answer) == (status, "config", count)
        assert len(play.asked) == waits + 1
        assert len(scene.clock.slept) == waits
        assert (await scene.rig.usage())[0]["attempts"] == waits + 1


async def test_listed_codes_and_only_they_are_tried_again() -> None:
    play = Statuses(openai=[418, 500])
    async with Scene(play) as scene:
        answer = await scene.rig.chat(config=retried(5, [418]))
        assert told(answer) == (500, "config", "1")


async def test_every_try_sends_the_same_bytes_whole_or_streamed() -> None:
    play = Statuses(openai=[500, 503, 200])
    body = (
        b'{ "model":"gpt-4o", "x":1.50, "messages":[{"role":"user","content":"\\u00fc"}], "big":123456789012345678901 }'
    )
    async with Scene(play) as scene:
        await scene.rig.post("/v1/chat/completions", body, config=json.dumps(retried(3)))
        assert [asked.body for asked in scene.upstream.requests] == [body] * 3


async def test_waits_double_from_one_second_with_a_fifth_of_jitter() -> None:
    async with Scene(Statuses(openai=[500])) as scene:
        for _ in range(40):
            await scene.rig.chat(config=retried(5))
            scene.clock.passed += 10  # or the budget of retries would end them
        by_try = [scene.clock.slept[n::5] for n in range(5)]
        for n, waits in enumerate(by_try):
            assert all(0.8 * 2**n <= wait <= 1.2 * 2**n for wait in waits)
            assert len({round(wait, 6) for wait in waits}) > 30
            assert min(waits) < 0.95 * 2**n < 1.05 * 2**n < max(waits)


def refused(**fields: str) -> bytes:
    return ok(ERROR, 429, **fields)


@pytest.mark.parametrize(
    ("fields", "wait"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "1500.5"}, 1.5005),
        ({"x_ms_retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "300", "x_ms_retry_after_ms": "9000", "retry_after": "9"}, 0.3),
        ({"x_ms_retry_after_ms": "400", "retry_after": "9"}, 0.4),
        ({"retry_after_ms": "soon", "retry_after": "3"}, 3.0),
        ({"retry_after": "59"}, 59.0),
    ],
)
@pytest.mark.parametrize("spelling", ["use_retry_after_header", "use_retry_after_headers"])
async def test_the_provider_may_say_how_long_to_wait(fields: dict[str, str], wait: float, spelling: str) -> None:
    async with Scene(Statuses(openai=[refused(**fields), 200])) as scene:
        answer = await scene.rig.chat(config=retried(1, **{spelling: True}))
        assert told(answer) == (200, "config", "1")
        assert scene.clock.slept == [pytest.approx(wait)]


async def test_the_provider_may_say_it_as_a_date() -> None:
    later = email.utils.formatdate(time() + 20, usegmt=True)
    past = email.utils.formatdate(time() - 20, usegmt=True)
    async with Scene(Statuses(openai=[refused(retry_after=later), refused(retry_after=past), 200])) as scene:
        assert told(await scene.rig.chat(config=retried(2, use_retry_after_header=True)))[0] == 200
        first, second = scene.clock.slept
        assert 18 < first <= 20
        assert second == 0


@pytest.mark.parametrize("value", ["60", "61", "100000", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_whoever_asks_for_a_minute_or_more_is_not_waited_for(value: str) -> None:
    async with Scene(Statuses(openai=[refused(retry_after=value), 200])) as scene:
        answer = await scene.rig.chat(config=retried(3, use_retry_after_header=True))
        assert told(answer) == (429, "config", "-1")
        assert answer.headers["retry-after"] == value
        assert scene.clock.slept == []


async def test_all_waits_together_stay_below_a_minute() -> None:
    async with Scene(Statuses(openai=[refused(retry_after="25")])) as scene:
        answer = await scene.rig.chat(config=retried(5, use_retry_after_header=True))
        assert told(answer) == (429, "config", "-1")
        assert scene.clock.slept == [25.0, 25.0]


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "inf", "1e9", "0x10", "", "99999999999999999999999"])
async def test_a_retry_after_that_is_no_time_is_passed_over(value: str) -> None:
    async with Scene(Statuses(openai=[refused(retry_after=value), 200])) as scene:
        answer = await scene.rig.chat(config=retried(1, use_retry_after_header=True))
        assert told(answer) == (200, "config", "1")
        assert 0.8 <= scene.clock.slept[0] <= 1.2


async def test_retry_after_counts_only_where_it_was_asked_for_and_only_for_429() -> None:
    async with Scene(Statuses(openai=[refused(retry_after="7"), ok(ERROR, 503, retry_after="7"), 200])) as scene:
        assert told(await scene.rig.chat(config=retried(2)))[0] == 200
        assert [round(wait) for wait in scene.clock.slept] == [1, 2]
    async with Scene(Statuses(openai=[ok(ERROR, 503, retry_after="7"), 200])) as scene:
        assert told(await scene.rig.chat(config=retried(1, use_retry_after_header=True)))[0] == 200
        assert 0.8 <= scene.clock.slept[0] <= 1.2


async def test_each_target_of_a_fallback_has_its_own_retries() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [500, 200]})
    config = {**fallback(A, B), "retry": {"attempts": 1}}
    async with Scene(play) as scene:
        assert told(await scene.rig.chat(config=config)) == (200, "config.targets[1]", "1")
        assert play.asked == ["openai", "openai", "openai-b", "openai-b"]
        config = fallback({**A, "retry": {"attempts": 2}}, B)
        assert told(await scene.rig.chat(config=config)) == (200, "config.targets[1]", "0")


async def test_a_config_without_targets_lends_its_retries_to_the_addressed_virtual_key() -> None:
    play = Statuses(**{"openai-b": [500, 200]})
    async with Scene(play) as scene:
        fields = {"x_portkey_virtual_key": "openai-b", "config": json.dumps({"retry": {"attempts": 1}})}
        answer = await scene.rig.post("/v1/chat/completions", CHAT, **fields)
        assert told(answer) == (200, "config", "1")


async def test_a_client_that_leaves_while_a_retry_waits_ends_it() -> None:
    play = Statuses(openai=[500])
    async with Scene(play) as scene:
        waiting = asyncio.Event()

        async def forever(seconds: float) -> None:
            waiting.set()
            await asyncio.get_running_loop().create_future()

        scene.rig.gateway.pipeline._forwarder._sleep = forever
        line = await scene.rig.open("/v1/chat/completions", CHAT, config=json.dumps(retried(3)))
        await waiting.wait()
        assert scene.rig.open_upstream == 0
        line.leave()
        await scene.rig.until(lambda: scene.rig.quiet)
        assert play.asked == ["openai"]
        assert (await scene.rig.usage())[0]["outcome"] == "cancelled"


# -- load balancing


async def test_load_is_spread_by_weight() -> None:
    play = Statuses(**{slug: [200] for slug in SLUGS})
    config = {
        "strategy": {"mode": "loadbalance"},
        "targets": [{**A, "weight": 1}, {**B, "weight": 3}, {**C, "weight": 0}],
    }
    random.seed(7)
    async with Scene(play) as scene:
        for _ in range(400):
            answer = await scene.rig.chat(config=config)
            assert told(answer)[1] in ("config.targets[0]", "config.targets[1]")
        counts = Counter(play.asked)
        assert set(counts) == {"openai", "openai-b"}
        assert 60 < counts["openai"] < 140


async def test_a_balanced_target_that_fails_is_not_replaced_unless_a_fallback_is_around_it() -> None:
    play = Statuses(**{"openai": [500], "openai-b": [200]})
    balanced = {"strategy": {"mode": "loadbalance"}, "targets": [A]}
    async with Scene(play) as scene:
        assert told(await scene.rig.chat(config=balanced)) == (500, "config.targets[0]", "0")
        assert told(await scene.rig.chat(config=fallback(balanced, B))) == (200, "config.targets[1]", "0")


# -- every answer says how it came to be


async def test_every_answer_tells_its_target_its_retries_and_its_trace_once() -> None:
    upstream_headers = {"x_portkey_trace_id": "theirs", "x_portkey_retry_attempt_count": "9", "x_request_id": "req-1"}
    play = Statuses(
        **{
            "openai": [ok(WHOLE, 200, **upstream_headers)],
            "openai-b": [ok(ERROR, 500, **upstream_headers)],
            "openai-c": [head(content_type="text/event-stream", transfer_encoding="chunked", **upstream_headers)
                         + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"],
        }
    )  # fmt: skip
    async with Scene(play) as scene:
        for slug, streamed in (("openai", False), ("openai-b", False), ("openai-c", True)):
            answer = await scene.rig.post(
                "/v1/chat/completions", {**CHAT, "stream": streamed}, vk=slug, x_portkey_trace_id="mine"
            )
            assert answer.headers["x-portkey-trace-id"] == "mine"
            assert answer.headers["x-portkey-retry-attempt-count"] == "0"
            assert answer.headers["x-portkey-last-used-option-index"] == "config"
            assert answer.headers["x-portkey-provider"] == "openai"
            assert answer.headers["x-portkey-cache-status"] == "DISABLED"
            assert answer.headers["x-request-id"] == "req-1"


async def test_a_fault_of_the_gateways_own_is_said_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    async def broken(*arguments: object) -> None:
        tried.append(arguments)
        raise RuntimeError("a bug")

    config = {
        "strategy": {"mode": "fallback"},
        "retry": {"attempts": 2, "on_status_codes": [500]},
        "targets": [{"virtual_key": "openai"}, {"virtual_key": "anthropic"}],
    }
    async with Rig(openai="http://127.0.0.1:9", anthropic="http://127.0.0.1:9") as rig:
        monkeypatch.setattr(type(rig.gateway.transport), "send", broken)
        answer = await rig.chat(config=config)
    assert answer.status == 500
    assert answer.headers["x-portkey-gateway-exception"] == "true"
    assert len(tried) == 1
