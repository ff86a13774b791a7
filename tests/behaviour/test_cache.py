"""Answers that are kept: who gets them, when, and that they cost nothing."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from tests.behaviour.client import Answer, errors_in, events, terminators_in
from tests.behaviour.rig import CHAT, HELLO, MESSAGES, Rig, api_key, virtual_key
from tests.fakes.provider import Provider, steered
from tests.fakes.upstream import LAST_CHUNK, SSE_HEAD, Asked, Scripted, Step, chunk, ok, stream, unchunked

CACHED: dict[str, Any] = {"cache": {"mode": "simple"}, "virtual_key": "openai-a"}


def _rig(provider: Provider | Scripted, *, config: dict[str, Any] | None = None, **fields: Any) -> Rig:
    rows = [virtual_key(f"{name}-a", provider.url) for name in ("openai", "anthropic", "google")]
    return Rig(virtual_keys=tuple(rows), configs={"pc-c": config or CACHED}, **fields)


async def _ask(
    rig: Rig, body: dict[str, Any] | None = None, path: str = "/v1/chat/completions", **headers: str
) -> Answer:
    return await rig.post(path, body or CHAT, config="pc-c", **headers)


def _status(answer: Answer) -> str | None:
    return answer.headers.get("x-portkey-cache-status")


def _text(body: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(body)
        if isinstance(event.data, dict)
        for choice in event.data.get("choices", [])
    )


def _calls(provider: Provider) -> int:
    return len(provider.requests())


async def test_the_same_question_is_asked_upstream_once(provider: Provider) -> None:
    async with _rig(provider) as rig:
        first, second = await _ask(rig), await _ask(rig)
        assert (_status(first), _status(second)) == ("MISS", "HIT")
        assert first.body == second.body
        assert second.headers["x-portkey-provider"] == "openai"
        assert second.headers["x-portkey-last-used-option-index"] == "config"
        assert _calls(provider) == 1


async def test_a_hit_costs_nothing_and_says_what_it_saved(provider: Provider) -> None:
    async with _rig(provider) as rig:
        await _ask(rig)
        await _ask(rig)
        paid, free = await rig.usage()
        assert (paid["attempts"], free["attempts"]) == (1, 0)
        assert paid["input_tokens"] > 0
        assert free["input_tokens"] is None


@pytest.mark.parametrize("asked", [True, False])
async def test_a_streamed_answer_serves_whole_callers(provider: Provider, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    async with _rig(provider) as rig:
        streamed = await _ask(rig, {**CHAT, "stream": True, **options})
        whole = await _ask(rig)
        assert (_status(streamed), _status(whole)) == ("MISS", "HIT")
        answer = whole.json()
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"]["content"] == _text(streamed.body)
        assert answer["usage"]["total_tokens"] > 0
        assert ("x-loopway-estimated" in whole.headers) is not asked
        assert _calls(provider) == 1


async def test_a_whole_answer_serves_streamed_callers(provider: Provider) -> None:
    async with _rig(provider) as rig:
        whole = await _ask(rig)
        streamed = await _ask(rig, {**CHAT, "stream": True, "stream_options": {"include_usage": True}})
        assert _status(streamed) == "HIT"
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert _text(streamed.body) == whole.json()["choices"][0]["message"]["content"]
        assert events(streamed.body)[-1].data == "[DONE]"
        assert events(streamed.body)[-2].data["usage"] == whole.json()["usage"]
        assert _calls(provider) == 1


async def test_a_translated_answer_is_kept_as_its_client_reads_it(provider: Provider) -> None:
    config = {**CACHED, "virtual_key": "anthropic-a"}
    body = {**CHAT, "model": "claude-sonnet-4-5", "max_tokens": 50}
    async with _rig(provider, config=config) as rig:
        whole = await _ask(rig, body)
        streamed = await _ask(rig, {**body, "stream": True})
        assert _status(streamed) == "HIT"
        assert _text(streamed.body) == whole.json()["choices"][0]["message"]["content"]
        native = await _ask(rig, MESSAGES, "/v1/messages")
        assert _status(native) == "MISS"
        replayed = await _ask(rig, {**MESSAGES, "stream": True}, "/v1/messages")
        assert _status(replayed) == "HIT"
        names = [event.name for event in events(replayed.body)]
        assert names[0] == "message_start"
        assert names[-1] == "message_stop"


async def test_a_translated_stream_keeps_its_real_usage_for_whole_callers(provider: Provider) -> None:
    config = {**CACHED, "virtual_key": "anthropic-a"}
    body = {**CHAT, "model": "claude-sonnet-4-5", "max_tokens": 50}
    async with _rig(provider, config=config) as rig:
        await _ask(rig, {**body, "stream": True})
        whole = await _ask(rig, body)
        assert _status(whole) == "HIT"
        assert "x-loopway-estimated" not in whole.headers
        paid = (await rig.usage())[0]
        assert whole.json()["usage"]["prompt_tokens"] == paid["input_tokens"]


CHANGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "model": ({"model": "gpt-4o-mini"}, {}),
    "system prompt": ({"messages": [{"role": "system", "content": "Be brief."}, *HELLO]}, {}),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, {}),
    "temperature": ({"temperature": 0.5}, {}),
    "user": ({"user": "ada"}, {}),
    "a header for the provider": ({}, {"openai-beta": "x=y"}),
    "a forwarded header": ({}, {"x-portkey-forward-headers": "x-region", "x-region": "eu"}),
    "metadata": ({}, {"x-portkey-metadata": '{"team":"red"}'}),
    "namespace": ({}, {"x-portkey-cache-namespace": "other"}),
    "strictness": ({}, {"x-portkey-strict-open-ai-compliance": "false"}),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_whatever_may_change_the_answer_makes_another_question(provider: Provider, what: str) -> None:
    body, headers = CHANGES[what]
    async with _rig(provider) as rig:
        await _ask(rig)
        assert _status(await _ask(rig, {**CHAT, **body}, **headers)) == "MISS"
        assert _status(await _ask(rig, {**CHAT, **body}, **headers)) == "HIT"
        assert _status(await _ask(rig)) == "HIT"


async def test_spelling_order_and_the_way_of_sending_make_no_other_question(provider: Provider) -> None:
    async with _rig(provider) as rig:
        await _ask(rig)
        turned = dict(reversed(CHAT.items()))
        spelled = json.dumps({**turned, "stream": False}, indent=2).encode()
        again = await rig.post("/v1/chat/completions", spelled, config="pc-c", **{"idempotency-key": "k"})
        assert _status(again) == "HIT"


async def test_a_namespace_takes_the_place_of_metadata(provider: Provider) -> None:
    async with _rig(provider) as rig:
        named = {"x-portkey-cache-namespace": "shared"}
        await _ask(rig, None, **{"x-portkey-metadata": '{"_user":"ada"}', **named})
        again = await _ask(rig, None, **{"x-portkey-metadata": '{"_user":"bob"}', **named})
        assert _status(again) == "HIT"


async def test_no_key_gets_another_ones_answer_but_in_one_group(provider: Provider) -> None:
    keys = (
        api_key("other", "lw-other"),
        api_key("in-group", "lw-in", extra={"cache_group": "g"}),
        api_key("in-group-too", "lw-too", extra={"cache_group": "g"}),
    )
    async with _rig(provider, keys=keys) as rig:
        seen = [
            _status(await _ask(rig, None, **{"x-portkey-api-key": token})) for token in ("lw-test", "lw-other", "lw-in")
        ]
        assert seen == ["MISS", "MISS", "MISS"]
        assert _status(await _ask(rig, None, **{"x-portkey-api-key": "lw-too"})) == "HIT"
        assert _calls(provider) == 3


async def test_a_key_that_may_not_use_the_model_gets_no_kept_answer_either(provider: Provider) -> None:
    keys = (
        api_key("a", "lw-a", extra={"cache_group": "g"}),
        api_key("b", "lw-b", extra={"cache_group": "g"}, models=("gpt-5*",)),
    )
    async with _rig(provider, keys=keys) as rig:
        assert _status(await _ask(rig, None, **{"x-portkey-api-key": "lw-a"})) == "MISS"
        refused = await _ask(rig, None, **{"x-portkey-api-key": "lw-b"})
        assert refused.status == 412


async def test_a_forced_refresh_asks_again_and_keeps_the_new_answer(provider: Provider) -> None:
    async with _rig(provider) as rig:
        await _ask(rig)
        fresh = await _ask(rig, None, **{"x-portkey-cache-force-refresh": "true"})
        assert _status(fresh) == "REFRESH"
        assert _calls(provider) == 2
        assert _status(await _ask(rig)) == "HIT"
        assert _status(await _ask(rig, None, **{"x-portkey-cache-force-refresh": "false"})) == "HIT"


async def test_errors_are_never_kept(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "model": steered("gpt-4o", status=400)}
        for _ in range(2):
            answer = await _ask(rig, body)
            assert (answer.status, _status(answer)) == (400, "MISS")
        assert _calls(provider) == 2


async def test_a_stream_that_broke_off_is_never_kept(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "stream": True, "model": steered("gpt-4o", chunks=5, truncate_events=2)}
        for calls in (1, 2):
            answer = await _ask(rig, body)
            found = events(answer.body)
            assert len(errors_in(found)) == 1
            assert not terminators_in(found)
            assert _calls(provider) == calls
        assert len(rig.gateway.cache.memory) == 0


async def test_an_answer_that_calls_a_tool_is_never_kept(provider: Provider) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    body = {**CHAT, "tools": [tool], "tool_choice": "required"}
    async with _rig(provider) as rig:
        for extra in ({}, {"stream": True}):
            for _ in range(2):
                assert _status(await _ask(rig, {**body, **extra})) == "MISS"
        assert _calls(provider) == 4


async def test_without_a_cache_in_the_config_nothing_is_looked_up(provider: Provider) -> None:
    async with _rig(provider) as rig:
        await _ask(rig)
        plain = await rig.post("/v1/chat/completions", CHAT, vk="openai-a")
        assert _status(plain) == "DISABLED"
        assert _calls(provider) == 2


async def test_the_older_header_asks_for_a_cache_as_well(provider: Provider) -> None:
    async with _rig(provider) as rig:
        seen = [
            _status(await rig.post("/v1/chat/completions", CHAT, vk="openai-a", **{"x-portkey-cache": mode}))
            for mode in ("true", "simple", "semantic", "false")
        ]
        assert seen == ["MISS", "HIT", "HIT", "DISABLED"]


async def test_a_request_that_wants_no_body_kept_is_not_kept(provider: Provider) -> None:
    async with _rig(provider) as rig:
        for _ in range(2):
            assert _status(await _ask(rig, None, **{"x-portkey-debug": "false"})) == "DISABLED"
        assert len(rig.gateway.cache.memory) == 0


async def test_a_new_version_of_the_config_is_another_question(provider: Provider) -> None:
    async with _rig(provider) as rig:
        inline = json.dumps(CACHED)
        assert _status(await rig.post("/v1/chat/completions", CHAT, config=inline)) == "MISS"
        assert _status(await rig.post("/v1/chat/completions", CHAT, config=inline)) == "HIT"
        other = json.dumps({**CACHED, "cache": {"mode": "simple", "max_age": 120}})
        assert _status(await rig.post("/v1/chat/completions", CHAT, config=other)) == "MISS"


async def test_each_target_of_a_fallback_has_its_own_answers(provider: Provider) -> None:
    config = {
        "cache": {"mode": "simple"},
        "strategy": {"mode": "fallback"},
        "targets": [
            {"virtual_key": "openai-a", "override_params": {"model": steered("gpt-4o", status=500)}},
            {"virtual_key": "openai-a"},
        ],
    }
    async with _rig(provider, config=config) as rig:
        first, second = await _ask(rig), await _ask(rig)
        assert (_status(first), _status(second)) == ("MISS", "HIT")
        assert second.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
        assert _calls(provider) == 3
        assert [row["attempts"] for row in await rig.usage()] == [2, 1]


async def test_embeddings_are_kept_too(provider: Provider) -> None:
    body = {"model": "text-embedding-3-small", "input": "hello"}
    async with _rig(provider) as rig:
        first, second = [await _ask(rig, body, "/v1/embeddings") for _ in range(2)]
        assert _status(second) == "HIT"
        assert first.body == second.body


async def test_a_body_with_two_meanings_is_passed_on_and_never_kept(provider: Provider) -> None:
    async with _rig(provider) as rig:
        twice = b'{"model":"gpt-4o","messages":[{"role":"user","content":"a","content":"b"}]}'
        for _ in range(2):
            answer = await rig.post("/v1/chat/completions", twice, config="pc-c")
            assert (answer.status, _status(answer)) == (200, "DISABLED")


# -- many at once


async def test_a_herd_of_a_thousand_makes_one_call(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "model": steered("gpt-4o", latency=300)}
        answers = await asyncio.gather(*(_ask(rig, body) for _ in range(1000)))
        assert _calls(provider) == 1
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert sorted(map(str, map(_status, answers))).count("MISS") == 1
        paid = [row for row in await rig.usage() if row["input_tokens"] is not None]
        assert len(paid) == 1
        await rig.until(lambda: rig.quiet)


def halting(go: asyncio.Event) -> list[Step]:
    """A stream that stands still in its middle until it may go on."""
    pieces = [{"role": "assistant", "content": "Hello"}, {"content": " again"}, {}]
    data = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"} for _ in pieces]
    for event, delta in zip(data, pieces, strict=True):
        event["choices"] = [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]  # type: ignore[assignment]
    said, more, stop = (chunk(b"data: %b\n\n" % json.dumps(event).encode()) for event in data)
    return [SSE_HEAD, said, go, more, stop, chunk(b"data: [DONE]\n\n"), LAST_CHUNK]


async def test_a_stream_is_told_live_to_all_who_ask_for_it() -> None:
    go = asyncio.Event()
    async with Scripted(play=lambda asked: halting(go)) as upstream, _rig(upstream) as rig:
        body = {**CHAT, "stream": True}
        lines = [await rig.open("/v1/chat/completions", body, config="pc-c") for _ in range(50)]
        for line in lines:
            assert (await line.head())[0] == 200
        begun = await asyncio.gather(*(line.receive(b"data: ") for line in lines))
        assert rig.open_upstream == 1
        late = await rig.open("/v1/chat/completions", body, config="pc-c")
        await late.head()
        go.set()
        ends = await asyncio.gather(*(line.receive(b"data: [DONE]\n\n\r\n0\r\n\r\n") for line in (*lines, late)))
        # Who comes late gets what there is in larger pieces: the same events all the same.
        assert len({unchunked(begin + end) for begin, end in zip((*begun, b""), ends, strict=True)}) == 1
        assert len(upstream.requests) == 1
        for line in (*lines, late):
            line.leave()
        await rig.until(lambda: rig.quiet)


async def test_the_one_who_asked_first_may_leave_without_harm() -> None:
    go = asyncio.Event()
    async with Scripted(play=lambda asked: halting(go)) as upstream, _rig(upstream) as rig:
        body = {**CHAT, "stream": True}
        first = await rig.open("/v1/chat/completions", body, config="pc-c")
        await first.receive(b"data: ")
        second = await rig.open("/v1/chat/completions", body, config="pc-c")
        await second.receive(b"data: ")
        first.leave(reset=True)
        await rig.until(lambda: rig.in_flight == 1)
        go.set()
        assert b"[DONE]" in await second.receive(b"data: [DONE]\n\n")
        assert len(upstream.requests) == 1
        second.leave()
        await rig.until(lambda: rig.quiet)
        left, stayed = await rig.usage()
        assert left["outcome"] == "cancelled"
        assert stayed["attempts"] == 1


async def test_the_call_ends_with_the_last_who_waits_for_it(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "stream": True, "model": steered("gpt-4o", chunks=1000, gap=20)}
        lines = [await rig.open("/v1/chat/completions", body, config="pc-c") for _ in range(3)]
        for line in lines:
            await line.receive(b"data: ")
        for line in lines:
            line.leave(reset=True)
        await rig.until(lambda: rig.quiet)
        assert rig.gateway.cache.flying == 0
        await provider.until(lambda stats: stats["aborted"] == 1)


async def test_when_the_first_call_fails_exactly_one_other_asker_takes_over(provider: Provider) -> None:
    config = {**CACHED, "override_params": {"model": steered("gpt-4o", latency=200, status=503, fail_first=1)}}
    async with _rig(provider, config=config) as rig:
        answers = await asyncio.gather(*(_ask(rig) for _ in range(20)))
        assert sorted(answer.status for answer in answers) == [200] * 19 + [503]
        assert _calls(provider) == 2


async def test_a_provider_that_is_down_sees_two_calls_of_a_herd(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "model": steered("gpt-4o", latency=400, status=503)}
        answers = await asyncio.gather(*(_ask(rig, body) for _ in range(20)))
        assert {answer.status for answer in answers} == {503}
        assert _calls(provider) == 2
        await rig.until(lambda: rig.quiet)


async def test_a_refusal_that_is_the_requests_own_fault_is_told_to_all_at_once(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "model": steered("gpt-4o", latency=400, status=400)}
        answers = await asyncio.gather(*(_ask(rig, body) for _ in range(20)))
        assert {answer.status for answer in answers} == {400}
        assert _calls(provider) == 1


async def test_a_slow_reader_holds_nobody_up(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "stream": True, "model": steered("gpt-4o", chunks=300, size=400_000)}
        slow = await rig.open("/v1/chat/completions", body, config="pc-c", receive_buffer=4096)
        slow.pause()
        fast = await rig.open("/v1/chat/completions", body, config="pc-c")
        whole = await fast.receive(b"data: [DONE]\n\n")
        slow.resume()
        assert await slow.receive(b"data: [DONE]\n\n")
        assert len(whole) > 300_000
        assert _calls(provider) == 1
        for line in (slow, fast):
            line.leave()


async def test_everybody_gets_the_error_of_a_stream_that_breaks_off(provider: Provider) -> None:
    async with _rig(provider) as rig:
        body = {**CHAT, "stream": True, "model": steered("gpt-4o", chunks=6, gap=100, truncate_events=4)}
        answers = await asyncio.gather(*(_ask(rig, body) for _ in range(10)))
        for answer in answers:
            assert len(errors_in(events(answer.body))) == 1
        assert len({answer.body for answer in answers}) == 1
        assert _calls(provider) == 1


async def test_a_response_serves_whole_and_streamed_callers(provider: Provider) -> None:
    body = {"model": "gpt-4o", "input": "Hello there"}
    async with _rig(provider) as rig:
        streamed = await _ask(rig, {**body, "stream": True}, "/v1/responses")
        whole = await _ask(rig, body, "/v1/responses")
        again = await _ask(rig, {**body, "stream": True}, "/v1/responses")
        assert [_status(answer) for answer in (streamed, whole, again)] == ["MISS", "HIT", "HIT"]
        assert events(again.body)[-1].data["response"] == whole.json()
        assert events(streamed.body)[-1].data["response"]["output"] == whole.json()["output"]
        assert _calls(provider) == 1


GENERATE = {"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]}
WAYS = {"whole": "generateContent", "events": "streamGenerateContent?alt=sse", "array": "streamGenerateContent"}
MODELS = {"google-a": "gemini-2.5-flash", "openai-a": "gpt-4o", "anthropic-a": "claude-sonnet-4-5"}


async def _generate(rig: Rig, way: str, model: str, body: dict[str, Any] = GENERATE) -> Answer:
    answer = await _ask(rig, body, f"/v1beta/models/{model}:{WAYS[way]}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream" if way == "events" else "application/json")
    return answer


def _generated(way: str, answer: Answer) -> str:
    """The text of an answer that came in this way; it says how it ended, and what it used."""
    if way == "events":
        pieces = [event.data for event in events(answer.body)]
    else:
        pieces = answer.json() if way == "array" else [answer.json()]
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"
    assert pieces[-1]["usageMetadata"]["totalTokenCount"] > 0
    parts = [part for piece in pieces for part in piece["candidates"][0]["content"]["parts"]]
    return "".join(part["text"] for part in parts)


@pytest.mark.parametrize("slug", MODELS)
@pytest.mark.parametrize("way", WAYS)
async def test_what_a_gemini_client_was_told_in_one_way_serves_all_ways(
    provider: Provider, way: str, slug: str
) -> None:
    async with _rig(provider, config={**CACHED, "virtual_key": slug}) as rig:
        first = await _generate(rig, way, MODELS[slug])
        assert _status(first) == "MISS"
        for other in WAYS:
            again = await _generate(rig, other, MODELS[slug])
            assert _status(again) == "HIT"
            assert _generated(other, again) == _generated(way, first) != ""
        assert _calls(provider) == 1


async def test_a_model_in_the_path_makes_another_question(provider: Provider) -> None:
    async with _rig(provider, config={**CACHED, "virtual_key": "google-a"}) as rig:
        for model in ("gemini-2.5-flash", "gemini-2.5-pro"):
            for way in ("whole", "array"):
                assert _status(await _generate(rig, way, model)) == ("MISS" if way == "whole" else "HIT")
        assert _calls(provider) == 2


async def test_equal_questions_of_gemini_clients_share_a_call_but_not_a_way_of_sending(provider: Provider) -> None:
    model = steered("gpt-4o", latency=300)
    async with _rig(provider) as rig:
        asked = [
            (way, rig.post(f"/v1beta/models/{model}:{WAYS[way]}", GENERATE, config="pc-c"))
            for way in WAYS
            for _ in range(9)
        ]
        answers = await asyncio.gather(*(answer for _, answer in asked))
        texts = {_generated(way, answer) for (way, _), answer in zip(asked, answers, strict=True)}
        assert len(texts) == 1
        assert _calls(provider) == 3


@pytest.mark.parametrize("way", ["events", "array"])
async def test_a_gemini_stream_that_broke_off_is_never_kept(provider: Provider, way: str) -> None:
    async with _rig(provider) as rig:
        model = steered("gpt-4o", chunks=8, truncate_events=4)
        for calls in (1, 2):
            assert b'"error"' in (await _generate(rig, way, model)).body
            assert _calls(provider) == calls


@pytest.mark.parametrize("way", WAYS)
async def test_a_gemini_answer_that_calls_a_function_is_never_kept(provider: Provider, way: str) -> None:
    tool = {"functionDeclarations": [{"name": "weather", "parameters": {"type": "OBJECT", "properties": {}}}]}
    body = {**GENERATE, "tools": [tool], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}
    async with _rig(provider, config={**CACHED, "virtual_key": "google-a"}) as rig:
        answers = [await _generate(rig, way, "gemini-2.5-flash", body) for _ in range(2)]
        assert all(b"functionCall" in answer.body for answer in answers)
        assert _calls(provider) == 2


async def test_embeddings_and_counts_of_gemini_clients_are_kept_too(provider: Provider) -> None:
    content = GENERATE["contents"][0]
    bodies: dict[str, Any] = {
        "gemini-embedding-001:embedContent": {"content": content},
        "gemini-embedding-001:batchEmbedContents": {
            "requests": [{"model": "models/gemini-embedding-001", "content": content}]
        },
        "gemini-2.5-flash:countTokens": GENERATE,
    }
    async with _rig(provider, config={**CACHED, "virtual_key": "google-a"}) as rig:
        for path, body in bodies.items():
            first, second = [await _ask(rig, body, f"/v1beta/models/{path}") for _ in range(2)]
            assert (_status(first), _status(second)) == ("MISS", "HIT"), path
            assert first.body == second.body
        assert _calls(provider) == len(bodies)


async def test_what_really_happened_is_in_the_requests_own_line(provider: Provider) -> None:
    config = {
        "cache": {"mode": "simple"},
        "strategy": {"mode": "fallback"},
        "targets": [
            {"virtual_key": "openai-a", "override_params": {"model": steered("gpt-4o", status=503)}},
            {"virtual_key": "openai-a"},
        ],
    }
    log = io.BytesIO()
    async with _rig(provider, config=config) as rig:
        rig.gateway.ledger._log = log
        await _ask(rig)
        await _ask(rig)
        await rig.usage()
    first, second = map(json.loads, log.getvalue().splitlines())
    assert (first["cache"], second["cache"]) == ("MISS", "HIT")
    assert first["where"] == "config.targets[1]"
    tried = [(one["target"], one["status"], one.get("reason", "first")) for one in first["tries"]]
    assert tried == [("openai-a", 503, "first"), ("openai-a", 200, "fallback")]


SAID: dict[str, Any] = {"id": "m", "type": "message", "role": "assistant", "model": "c", "usage": {"input_tokens": 1}}
STOPPED = {"stop_reason": "end_turn", "stop_details": {"type": "refusal", "category": "bio", "explanation": None}}
DEAR = {"output_tokens": 1, "speed": "fast"}
TOLD: dict[str, Any] = {
    "content_block_start": {"index": 0, "content_block": {"type": "text", "text": ""}},
    "content_block_delta": {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    "content_block_stop": {"index": 0},
    "message_delta": {"delta": STOPPED, "usage": DEAR},
    "message_stop": {},
}


def play(asked: Asked) -> list[Step]:
    """Answers as Anthropic, with what chat has no word for."""
    if not json.loads(asked.body).get("stream"):
        usage = {"input_tokens": 1, **DEAR}
        return [
            ok(json.dumps({**SAID, "content": [{"type": "text", "text": "Hi"}], **STOPPED, "usage": usage}).encode())
        ]
    told = {"message_start": {"message": {**SAID, "content": []}}, **TOLD}
    return stream(
        *(f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode() for name, fields in told.items())
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_hit_and_a_shared_call_say_what_did_not_survive_as_the_miss_does(streamed: bool) -> None:
    config = {**CACHED, "virtual_key": "anthropic-a"}
    body = {**CHAT, "model": "claude-sonnet-4-5", "max_tokens": 50, "seed": 7}
    log = io.BytesIO()
    async with Scripted(play=play) as upstream, _rig(upstream, config=config) as rig:
        rig.gateway.ledger._log = log
        together = await asyncio.gather(*(_ask(rig, {**body, "stream": streamed}) for _ in range(2)))
        hits = [await _ask(rig, {**body, "stream": each}) for each in (False, True)]
        assert sorted(map(str, map(_status, together))) == ["HIT", "MISS"]
        assert [_status(hit) for hit in hits] == ["HIT", "HIT"]
        assert [each.headers.get("x-loopway-dropped-params") for each in (*together, *hits)] == ["seed"] * 4
        fields = [each.headers.get("x-loopway-dropped-fields") for each in (*together, *hits)]
        named = ["delta.stop_details.category", "usage.speed"] if streamed else ["usage.speed", "stop_details.category"]
        assert fields == ([None] * 2 if streamed else [",".join(named)] * 2) + [",".join(named)] * 2
        refused = await _ask(rig, body, **{"x-loopway-strict-params": "true"})
        assert (refused.status, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
        await rig.usage()
    lines = list(map(json.loads, log.getvalue().splitlines()))
    assert [line["dropped"] for line in lines[:4]] == [["seed", *(f"answer.{name}" for name in named)]] * 4
