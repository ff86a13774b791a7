"""Streams that fail before they say anything, hedging, circuit breakers, time limits and the retry budget, by real
sockets and on a clock that the tests turn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from adapters.errors import Kind
from proxy.exchange import Attempt
from proxy.ports import Limits
from tests.behaviour.client import errors_in, events, terminators_in
from tests.behaviour.rig import CHAT, MESSAGES, Rig, virtual_key
from tests.behaviour.test_strategies import ERROR, WHOLE, A, B, C, Scene, Statuses, fallback, told
from tests.fakes.upstream import SSE_HEAD, Asked, End, Script, Scripted, chunk, ok, stream

STREAMED = {**CHAT, "stream": True}


def delta(**fields: Any) -> bytes:
    """An event of an OpenAI stream."""
    finish = fields.pop("finish", None)
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


ROLE, TEXT, STOP, DONE = (
    delta(role="assistant", content=""),
    delta(content="hi"),
    delta(finish="stop"),
    b"data: [DONE]\n\n",
)
FAILED = b'data: {"error":{"message":"overloaded","type":"overloaded_error","param":null,"code":null}}\n\n'
GOOD = stream(ROLE, TEXT, STOP, DONE)
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"c","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
)
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
BLOCK = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
)
OVERLOADED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
HELLO = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"hello"}}\n\n'
)
END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\nevent: message_delta\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


class Players:
    """A provider that plays each credential the scripts it was told, the last one for ever."""

    def __init__(self, **scripts: list[Script]) -> None:
        self.left = {f"sk-{slug.replace('_', '-')}": list(each) for slug, each in scripts.items()}
        self.asked: list[str] = []
        self.bodies: list[Any] = []

    def __call__(self, asked: Asked) -> Script:
        secret = (asked.header("authorization") or asked.header("x-api-key") or "").removeprefix("Bearer ")
        self.asked.append(secret.removeprefix("sk-"))
        self.bodies.append(asked.json())
        left = self.left[secret]
        return left.pop(0) if len(left) > 1 else left[0]


def statuses(**told: list[int | bytes]) -> Statuses:
    """The same for statuses alone; underscores are dashes."""
    return Statuses(**{slug.replace("_", "-"): each for slug, each in told.items()})


class Resilience(Scene):
    """A scene that also keeps what was settled."""

    async def __aenter__(self) -> Resilience:
        await super().__aenter__()
        pipeline = self.rig.gateway.pipeline
        settle = pipeline._settle
        self.settled: list[Any] = []
        pipeline._settle = lambda x, ended: (self.settled.append(x), settle(x, ended))[1]  # type: ignore[func-returns-value]
        return self

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts of the last request."""
        return list(self.settled[-1].attempts)


def brief(attempts: list[Attempt]) -> list[tuple[str, int, str]]:
    return [(attempt.target, attempt.status, attempt.reason) for attempt in attempts]


# -- streams, up to their first token

EARLY: dict[str, Script] = {
    "an error": [*stream(FAILED)],
    "the role and an error": [*stream(ROLE, FAILED)],
    "the role and a cut": [SSE_HEAD, chunk(ROLE), End.RST],
    "the role and an early end": [*stream(ROLE)],
    "nothing": [*stream()],
    "half an event": [SSE_HEAD, chunk(ROLE[:20]), End.FIN],
}


@pytest.mark.parametrize("name", EARLY)
async def test_a_stream_that_fails_before_its_first_token_falls_back_unseen(name: str) -> None:
    players = Players(openai=[EARLY[name]], openai_b=[GOOD])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config=fallback(A, B), stream=True)
        assert told(answer) == (200, "config.targets[1]", "0")
        assert answer.body == ROLE + TEXT + STOP + DONE
        assert [attempt.target for attempt in scene.attempts] == ["openai", "openai-b"]
        assert scene.attempts[1].reason == "fallback"


@pytest.mark.parametrize("name", EARLY)
async def test_so_it_does_with_a_retry(name: str) -> None:
    async with Resilience(Players(openai=[EARLY[name], GOOD])) as scene:
        answer = await scene.rig.chat(config={**A, "retry": {"attempts": 2}}, stream=True)
        assert told(answer) == (200, "config", "1")
        assert answer.body == ROLE + TEXT + STOP + DONE
        first, second = scene.attempts
        assert (first.wait, second.reason) == (0.0, "retry")
        assert 0.8 <= second.wait <= 1.2


@pytest.mark.parametrize("opening", [(START,), (START, PING), (START, PING, BLOCK)])
async def test_lifecycle_events_of_messages_are_held_back_until_one_says_something(opening: tuple[bytes, ...]) -> None:
    players = Players(anthropic=[stream(*opening, OVERLOADED)], anthropic_b=[stream(START, PING, BLOCK, HELLO, END)])
    async with Scripted(play=players) as upstream:
        rows = (virtual_key("anthropic", upstream.url), virtual_key("anthropic-b", upstream.url))
        async with Rig(virtual_keys=rows) as rig:
            config = fallback({"virtual_key": "anthropic"}, {"virtual_key": "anthropic-b"}, codes=[529])
            answer = await rig.post("/v1/messages", {**MESSAGES, "stream": True}, config=json.dumps(config))
            assert told(answer) == (200, "config.targets[1]", "0")
            assert answer.body == START + PING + BLOCK + HELLO + END


async def test_the_first_token_and_what_was_held_leave_at_once() -> None:
    go = asyncio.Event()
    players = Players(openai=[[SSE_HEAD, chunk(ROLE), chunk(TEXT), go, chunk(STOP), chunk(DONE), b"0\r\n\r\n"]])
    async with Resilience(players) as scene:
        line = await scene.rig.open("/v1/chat/completions", STREAMED, config=json.dumps(fallback(A, B)))
        await line.until(lambda: TEXT in line.data)
        assert ROLE in line.data
        go.set()
        assert (await line.answer()).body == ROLE + TEXT + STOP + DONE


async def test_after_the_first_token_nothing_is_tried_again() -> None:
    cut: Script = [SSE_HEAD, chunk(ROLE), chunk(TEXT), End.RST]
    players = Players(openai=[cut], openai_b=[GOOD])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config=fallback({**A, "retry": {"attempts": 3}}, B), stream=True)
        found = events(answer.body)
        assert answer.body.startswith(ROLE + TEXT)
        assert (len(errors_in(found)), len(terminators_in(found))) == (1, 0)
        assert players.asked == ["openai"]
        assert scene.settled[-1].kind is Kind.BAD_UPSTREAM


@pytest.mark.parametrize("sent", [(FAILED,), (ROLE, FAILED), (ROLE, TEXT, FAILED)])
async def test_a_providers_own_error_event_passes_as_it_is_and_counts_as_an_error(sent: tuple[bytes, ...]) -> None:
    async with Resilience(Players(openai=[stream(*sent)])) as scene:
        answer = await scene.rig.chat(config=A, stream=True)
        assert (answer.status, answer.body) == (200, b"".join(sent))
        assert scene.settled[-1].kind is not None


# -- attempts and what they say


async def test_a_target_whose_limit_is_reached_counts_as_an_attempt_with_its_status() -> None:
    rows = (virtual_key("openai-full", "http://127.0.0.1:9", limits=Limits(concurrency=0)),)
    async with Resilience(Statuses(openai=[200]), virtual_keys=rows) as scene:
        answer = await scene.rig.chat(config=fallback({"virtual_key": "openai-full"}, A))
        assert told(answer)[:2] == (200, "config.targets[1]")
        assert brief(scene.attempts) == [("openai-full", 429, "first"), ("openai", 200, "fallback")]


async def test_the_sdks_are_told_not_to_multiply_attempts() -> None:
    async with Resilience(statuses(openai=[500], openai_b=[503])) as scene:
        once = await scene.rig.chat(config=A)
        assert "x-should-retry" not in once.headers
        retried = await scene.rig.chat(config={**A, "retry": {"attempts": 1}})
        assert retried.headers["x-should-retry"] == "false"
        assert told(retried)[2] == "-1"
        both = await scene.rig.chat(config=fallback(A, {"virtual_key": "openai"}))
        assert both.headers["x-should-retry"] == "false"


async def test_the_base_of_the_schedule_is_the_configs() -> None:
    async with Resilience(Statuses(openai=[500])) as scene:
        await scene.rig.chat(config={**A, "retry": {"attempts": 2, "base_wait": 100}})
        first, second = scene.clock.slept
        assert 0.08 <= first <= 0.12
        assert 0.16 <= second <= 0.24


# -- the retry budget


async def test_a_dead_provider_sees_at_most_a_fifth_more_than_the_requests() -> None:
    async with Resilience(Statuses(openai=[503])) as scene:

        async def at_once(seconds: float) -> None: ...

        scene.rig.gateway.pipeline._forwarder._sleep = at_once
        requests = 600
        for _ in range(requests):
            answer = await scene.rig.chat(config={**A, "retry": {"attempts": 5}})
            assert answer.status == 503
            scene.clock.passed += 1 / 200
        assert requests < len(scene.upstream.requests) <= 1.2 * requests + 3
        assert scene.rig.gateway.live.healths.of(
            scene.rig.gateway.live.snapshot.targets["openai"].identity, ""
        ).budget.refused


async def test_no_retry_waits_longer_than_the_whole_request_may_take() -> None:
    async with Resilience(Statuses(openai=[500])) as scene:
        config = {**A, "retry": {"attempts": 5}, "total_timeout": 5000}
        assert told(await scene.rig.chat(config=config)) == (500, "config", "-1")
        assert [round(wait) for wait in scene.clock.slept] == [1, 2]


# -- time limits


async def test_total_timeout_is_a_504_before_the_answer_and_ends_a_stream_after() -> None:
    never = asyncio.Event()
    players = Players(openai=[[never]], openai_b=[[SSE_HEAD, chunk(ROLE), chunk(TEXT), never]])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config={**A, "total_timeout": 60})
        assert answer.status == 504
        assert answer.json()["error"]["code"] == "total_timeout"
        answer = await scene.rig.chat(config={**B, "total_timeout": 400}, stream=True)
        assert (answer.status, len(errors_in(events(answer.body)))) == (200, 1)
        await scene.rig.until(lambda: scene.rig.quiet)


async def test_total_timeout_leaves_no_time_for_a_fallback() -> None:
    players = Players(openai=[[asyncio.Event()]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config={**fallback(A, B), "total_timeout": 60})
        assert told(answer)[:2] == (504, "config.targets[1]")
        assert players.asked == ["openai"]
        assert brief(scene.attempts) == [("openai", 504, "first"), ("openai-b", 504, "fallback")]


async def test_request_timeout_of_a_stream_lasts_until_it_says_something() -> None:
    players = Players(openai=[[SSE_HEAD, chunk(ROLE), asyncio.Event()]], openai_b=[GOOD])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config={**A, "request_timeout": 60}, stream=True)
        assert answer.status == 408
        assert answer.json()["error"] == {
            "message": "Request exceeded the timeout sent in the request: 60ms",
            "type": "timeout_error",
            "param": None,
            "code": None,
        }
        answer = await scene.rig.chat(config=fallback({**A, "request_timeout": 60}, B, codes=[408]), stream=True)
        assert told(answer)[:2] == (200, "config.targets[1]")


async def test_idle_timeout_is_the_configs_own() -> None:
    players = Players(openai=[[SSE_HEAD, chunk(ROLE), chunk(TEXT), asyncio.Event()]])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config={**A, "idle_timeout": 300}, stream=True)
        assert answer.status == 200
        assert len(errors_in(events(answer.body))) == 1


# -- hedging

HEDGE = {"strategy": {"mode": "hedge", "hedge": {"delay": 30}}, "targets": [A, B]}


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_second_target_answers_for_a_slow_first_one_whose_connection_is_closed(streamed: bool) -> None:
    never = asyncio.Event()
    good = GOOD if streamed else [ok(WHOLE)]
    players = Players(openai=[[SSE_HEAD, chunk(ROLE), never] if streamed else [never]], openai_b=[good])
    async with Resilience(players) as scene:
        answer = await scene.rig.chat(config=HEDGE, stream=streamed)
        assert told(answer) == (200, "config.targets[1]", "0")
        assert players.asked == ["openai", "openai-b"]
        await scene.rig.until(lambda: scene.rig.quiet)
        lost, won = sorted(scene.attempts, key=lambda attempt: -attempt.status)
        assert (lost.target, lost.status, lost.kind) == ("openai", 499, Kind.CANCELLED)
        assert (won.target, won.status, won.reason) == ("openai-b", 200, "hedge")
        assert lost.cost is not None
        assert lost.cost > 0
        await scene.upstream.until(lambda upstream: upstream.connections[0].transport is None)


async def test_a_first_target_that_answers_in_time_is_alone() -> None:
    players = Players(openai=[[ok(WHOLE)]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        hedge = {**HEDGE, "strategy": {"mode": "hedge", "hedge": {"delay": 60_000}}}
        assert told(await scene.rig.chat(config=hedge))[:2] == (200, "config.targets[0]")
        assert players.asked == ["openai"]


async def test_a_first_target_that_fails_is_followed_at_once() -> None:
    players = Players(openai=[[ok(ERROR, 500)]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        hedge = {**HEDGE, "strategy": {"mode": "hedge", "hedge": {"delay": 60_000}}}
        assert told(await scene.rig.chat(config=hedge))[:2] == (200, "config.targets[1]")
        assert brief(scene.attempts) == [("openai", 500, "first"), ("openai-b", 200, "hedge")]


async def test_when_all_fail_the_last_answer_is_told() -> None:
    players = Players(openai=[[ok(ERROR, 500)]], openai_b=[[ok(ERROR, 502)]])
    async with Resilience(players) as scene:
        hedge = {**HEDGE, "strategy": {"mode": "hedge", "hedge": {"delay": 60_000}}}
        assert told(await scene.rig.chat(config=hedge))[:2] == (502, "config.targets[1]")
        await scene.rig.until(lambda: scene.rig.quiet)


async def test_a_client_that_leaves_a_hedge_takes_all_its_calls_along() -> None:
    never = asyncio.Event()
    players = Players(openai=[[never]], openai_b=[[never]])
    async with Resilience(players) as scene:
        line = await scene.rig.open("/v1/chat/completions", CHAT, config=json.dumps(HEDGE))
        await scene.upstream.until(lambda upstream: len(players.asked) == 2)
        line.leave(reset=True)
        await scene.rig.until(lambda: scene.rig.quiet)
        await scene.upstream.until(lambda upstream: all(each.transport is None for each in upstream.connections))


async def test_hedges_nest_in_fallbacks_and_fallbacks_in_hedges() -> None:
    players = Players(openai=[[ok(ERROR, 500)]], openai_b=[[ok(ERROR, 500)]], openai_c=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        assert told(await scene.rig.chat(config=fallback(HEDGE, C)))[:2] == (200, "config.targets[1]")
        inner = {**HEDGE, "targets": [fallback(A, C), B]}
        assert told(await scene.rig.chat(config=inner))[:2] == (200, "config.targets[0].targets[1]")


# -- circuit breakers


def broken(**rules: Any) -> dict[str, Any]:
    return {"strategy": {"mode": "fallback", "cb_config": rules}, "targets": [A, B]}


async def test_a_breaker_opens_in_five_failures_and_recovers_with_one_probe() -> None:
    provider = statuses(openai=[500], openai_b=[200])
    async with Resilience(provider) as scene:
        for _ in range(8):
            answer = await scene.rig.chat(config=broken())
            assert told(answer)[:2] == (200, "config.targets[1]")
        assert answer.headers["x-loopway-left-out"] == "config.targets[0]"
        assert provider.asked.count("openai") == 5
        scene.clock.passed += 34
        provider.asked.clear()
        for _ in range(3):
            await scene.rig.chat(config=broken())
        assert provider.asked.count("openai") == 1  # the probe failed: twice as long now
        scene.clock.passed += 40
        await scene.rig.chat(config=broken())
        assert provider.asked.count("openai") == 1
        scene.clock.passed += 30
        provider.left["Bearer sk-openai"] = [200]
        for _ in range(3):
            answer = await scene.rig.chat(config=broken())
            assert told(answer)[:2] == (200, "config.targets[0]")
        assert "x-loopway-left-out" not in answer.headers


async def test_while_one_request_probes_all_others_go_elsewhere() -> None:
    go = asyncio.Event()
    players = Players(openai=[[ok(ERROR, 500)], [go, ok(WHOLE)], [ok(WHOLE)]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        config = broken(failure_threshold=1)
        await scene.rig.chat(config=config)
        scene.clock.passed += 34
        probe = asyncio.ensure_future(scene.rig.chat(config=config))
        await scene.upstream.until(lambda upstream: players.asked.count("openai") == 2)
        for _ in range(3):
            assert told(await scene.rig.chat(config=config))[:2] == (200, "config.targets[1]")
        go.set()
        assert told(await probe)[:2] == (200, "config.targets[0]")
        assert told(await scene.rig.chat(config=config))[:2] == (200, "config.targets[0]")


async def test_saved_configs_share_what_is_known_of_a_target_and_a_reload_keeps_it() -> None:
    provider = statuses(openai=[500], openai_b=[200])
    configs = {"pc-a": broken(failure_threshold=1), "pc-b": broken(failure_threshold=1)}
    async with Resilience(provider, configs=configs) as scene:
        await scene.rig.chat(config="pc-a")
        await scene.rig.chat(config="pc-b")
        assert provider.asked.count("openai") == 1
        scene.rig.replace(configs=scene.rig.file.configs[:1])
        await scene.rig.gateway.live._compile()
        await scene.rig.chat(config="pc-a")
        assert provider.asked.count("openai") == 1


async def test_a_provider_that_asks_for_time_gets_it_while_there_is_another() -> None:
    players = Players(openai=[[ok(ERROR, 429, retry_after="20")], [ok(WHOLE)]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        config = broken(failure_threshold=50)
        for _ in range(3):
            assert told(await scene.rig.chat(config=config))[:2] == (200, "config.targets[1]")
        assert players.asked.count("openai") == 1
        scene.clock.passed += 21
        assert told(await scene.rig.chat(config=config))[:2] == (200, "config.targets[0]")


async def test_streams_that_break_off_open_a_breaker_too() -> None:
    cut: Script = [SSE_HEAD, chunk(ROLE), chunk(TEXT), End.RST]
    players = Players(openai=[cut], openai_b=[GOOD])
    async with Resilience(players) as scene:
        config = broken(failure_threshold=2)
        for _ in range(2):
            assert told(await scene.rig.chat(config=config, stream=True))[1] == "config.targets[0]"
        assert told(await scene.rig.chat(config=config, stream=True))[1] == "config.targets[1]"


async def test_limits_that_a_request_brings_say_nothing_of_its_target() -> None:
    never = asyncio.Event()
    players = Players(openai=[[never], [never], [SSE_HEAD, chunk(ROLE), never], [ok(WHOLE)]], openai_b=[[ok(WHOLE)]])
    async with Resilience(players) as scene:
        config = broken(failure_threshold=1, failure_status_codes=[408, 500, 502, 504])
        for limit in ("request_timeout", "total_timeout", "idle_timeout"):
            await scene.rig.chat(config={**config, limit: 50}, stream=True)
        assert told(await scene.rig.chat(config=config))[:2] == (200, "config.targets[0]")


# -- conditions, by what a request says


async def test_conditions_see_metadata_parameters_headers_and_path() -> None:
    async with Resilience(statuses(openai=[200], openai_b=[200], openai_c=[200])) as scene:
        paid = {"metadata.plan": "paid", "$or": [{"params.n": 2}, {"headers.x-team": "core"}]}
        named = {"url.pathname": {"$regex": "completions$"}, "params.user": {"$exists": True}}
        conditions = [{"query": paid, "then": "b"}, {"query": named, "then": "c"}]
        strategy = {"mode": "conditional", "conditions": conditions, "default": "a"}
        targets = [{**A, "name": "a"}, {**B, "name": "b"}, {**C, "name": "c"}]
        config = json.dumps({"strategy": strategy, "targets": targets})

        async def where(body: dict[str, Any], **headers: str) -> str:
            answer = await scene.rig.post("/v1/chat/completions", {**CHAT, **body}, config=config, **headers)
            return answer.headers["x-portkey-last-used-option-index"]

        assert await where({}) == "config.targets[0]"
        assert await where({"n": 2}, x_portkey_metadata='{"plan":"paid"}') == "config.targets[1]"
        assert await where({}, x_portkey_metadata='{"plan":"paid"}', x_team="core") == "config.targets[1]"
        assert await where({"n": 3, "user": "u"}, x_portkey_metadata='{"plan":"paid"}') == "config.targets[2]"


async def test_conditions_that_lead_nowhere_are_a_400_in_the_words_of_the_field() -> None:
    async with Resilience(Statuses(openai=[200])) as scene:
        query = {"query": {"metadata.plan": "paid"}, "then": "a"}
        strategy, targets = {"mode": "conditional", "conditions": [query]}, [{**A, "name": "a"}]
        answer = await scene.rig.chat(config={"strategy": strategy, "targets": targets})
        assert answer.status == 400
        assert answer.json()["error"]["message"] == "Query router did not resolve to any valid target"
        slow = {"query": {"metadata.plan": {"$regex": "(a+)+$"}}, "then": "a"}
        answer = await scene.rig.chat(
            config={"strategy": {**strategy, "conditions": [slow]}, "targets": [{**A, "name": "a"}]}
        )
        assert answer.status == 400
        assert "could take too long" in answer.json()["errors"][0]
