"""What fails before the first byte becomes an error with the right status, in the client's dialect; what fails after
it is never tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.workers import listen
from tests.behaviour.client import Answer, ask, errors_in, events, terminators_in
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.fakes.upstream import LAST_CHUNK, SSE, SSE_HEAD, Asked, End, Script, Scripted, chunk, head, ok

CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}\n\n'
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"c","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
)
WHOLE = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}],
    }
).encode()
PARTIAL = head(200, content_length=str(len(WHOLE)))

BUSY = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"},"status":"failure","message":"busy"}'

ROUTES: dict[str, tuple[str, dict[str, Any], str]] = {
    "openai to openai": ("/v1/chat/completions", CHAT, "openai"),
    "openai to anthropic": ("/v1/chat/completions", CHAT, "anthropic"),
    "anthropic to anthropic": ("/v1/messages", MESSAGES, "anthropic"),
    "anthropic to openai": ("/v1/messages", MESSAGES, "openai"),
    "completions": ("/v1/completions", {"model": "gpt-4o", "prompt": "Hi"}, "openai"),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi"}, "openai"),
    "passthrough": ("/v1/anything", {"a": 1}, "openai"),
}
STREAMS = [name for name in ROUTES if name not in ("embeddings", "passthrough")]

BEFORE: dict[str, tuple[list[Any], int]] = {
    "closes without a word": ([End.FIN], 502),
    "resets without a word": ([End.RST], 502),
    "breaks off within its head": ([b"HTTP/1.1 200 OK\r\ncontent-le", End.FIN], 502),
    "speaks no HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n"], 502),
    "sends two lengths": ([b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"], 502),
    "sends a length and chunks": ([head(content_length="5", transfer_encoding="chunked") + chunk(b"a")], 502),
    "switches protocols": ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], 502),
    "never ends its informational heads": ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50], 502),
    "redirects": ([head(307, location="http://127.0.0.1:1/", content_length="0")], 502),
    "breaks off after its head": ([PARTIAL, End.FIN], 502),
    "resets after its head": ([PARTIAL, End.RST], 502),
    "is overloaded": ([ok(BUSY, 503)], 503),
    "says nothing": ([], 504),
    "says nothing after its head": ([PARTIAL], 504),
    "breaks off within an error": ([head(500, content_length="100") + b"{", End.FIN], 502),
}


async def at_once(seconds: float) -> None:
    """Waits for nothing."""


def rig_of(url: str, **more: Any) -> Rig:
    return Rig(openai=url, anthropic=url, timeouts={"first_byte_timeout": 0.1, "idle_timeout": 0.1}, **more)


def check_error(route: str, answer: Answer, status: int) -> None:
    """One whole JSON error in the dialect of the route."""
    assert answer.whole
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-portkey-trace-id"]
    body = answer.json()
    assert body["error"]["message"]
    assert body["error"]["type"]
    if route.startswith("anthropic"):
        assert body["type"] == "error"
    elif "status" in body:
        assert (body["status"], body["message"]) == ("failure", body["error"]["message"])


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_provider_that_fails_before_the_first_byte_gives_one_error_in_the_clients_dialect(fault: str) -> None:
    steps, status = BEFORE[fault]
    async with Scripted(steps) as upstream, rig_of(upstream.url) as rig:
        asked = [rig.post(path, body, vk=slug) for path, body, slug in ROUTES.values()]
        for route, answer in zip(ROUTES, await asyncio.gather(*asked), strict=True):
            check_error(route, answer, status)
            assert "connection" not in answer.headers
        await rig.until(lambda: rig.quiet)
        if fault not in ("is overloaded", "redirects"):
            await upstream.until(lambda u: u.open == 0)
        rows = await rig.usage()
        assert [(row["status"], row["attempts"]) for row in rows] == [(status, 1)] * len(ROUTES)


@pytest.mark.parametrize("after", ["head", "half an event"])
@pytest.mark.parametrize("end", [End.FIN, End.RST, None])
async def test_a_stream_that_fails_before_its_first_event_is_a_plain_error_too(after: str, end: End | None) -> None:
    steps: list[Any] = [SSE_HEAD]
    if after == "half an event":
        steps.append(chunk(b'data: {"id":'))
    if end is not None:
        steps.append(end)
    async with Scripted(steps) as upstream, rig_of(upstream.url) as rig:
        for route in STREAMS:
            path, body, slug = ROUTES[route]
            answer = await rig.post(path, {**body, "stream": True}, vk=slug)
            check_error(route, answer, 504 if end is None else 502)


PAGES: dict[str, tuple[int, str, bytes]] = {
    "a page": (502, "text/html", b"<html><title>Bad Gateway</title></html>"),
    "plain text": (503, "text/plain", b"no healthy upstream"),
    "nothing": (500, "application/json", b""),
}


@pytest.mark.parametrize("said", PAGES)
async def test_what_a_proxy_says_in_the_providers_place_becomes_an_error_of_the_dialect(said: str) -> None:
    status, kind, body = PAGES[said]
    async with Scripted(play=lambda _: [ok(body, status, content_type=kind)]) as upstream, rig_of(upstream.url) as rig:
        for route, (path, asked, slug) in ROUTES.items():
            answer = await rig.post(path, asked, vk=slug)
            if route != "passthrough":
                check_error(route, answer, status)
                assert b"<html" not in answer.body


async def test_a_page_under_a_200_is_a_bad_gateway_but_json_under_its_name_passes() -> None:
    texts = [b"<!DOCTYPE html><html>Sign in</html>", b"upstream connect error", b"", WHOLE]
    answers = iter(zip(texts, ("text/html; charset=utf-8", "text/plain", "text/plain", "text/html"), strict=True))

    def play(asked: Asked) -> Script:
        body, kind = next(answers)
        return [ok(body, content_type=kind)]

    async with Scripted(play=play) as upstream, rig_of(upstream.url) as rig:
        for _ in texts[:-1]:
            check_error("openai to openai", await rig.post("/v1/chat/completions", CHAT, vk="openai"), 502)
        answer = await rig.post("/v1/chat/completions", CHAT, vk="openai")
        assert (answer.status, answer.body) == (200, WHOLE)


SPENT = b'{"error":{"message":"No more credits","type":"insufficient_quota","code":402}}'
NO_ANSWERS = {"a text": (b"ready", 502), "cut short": (b'{"choices": [{', 502), "an error": (SPENT, 402)}


WAYS: dict[str, Callable[[bytes, asyncio.Event], Script]] = {
    "at once": lambda body, after: [ok(body)],
    "late": lambda body, after: [head(content_length=str(len(body))), after, body],
    "as a text": lambda body, after: [ok(body, content_type="text/plain")],
    "to its connection's end": lambda body, after: [head() + body, End.FIN],
    "in parts": lambda body, after: [PARTS + chunk(body[:20]), after, chunk(body[20:]), LAST_CHUNK],
}
PARTS = head(transfer_encoding="chunked")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("said", NO_ANSWERS)
async def test_what_is_no_answer_under_a_200_is_a_failed_attempt(said: str, way: str) -> None:
    body, status = NO_ANSWERS[said]
    if way == "in parts" and said == "cut short":
        return  # an answer that begins well is on its way before its end is seen

    def play(asked: Asked) -> Script:
        after = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, after.set)
        return WAYS[way](body, after)

    async with Scripted(play=play) as upstream, rig_of(upstream.url) as rig:
        for route, (path, asked, slug) in ROUTES.items():
            if route != "passthrough":
                check_error(route, await rig.post(path, asked, vk=slug), status)


LEAK = b'data: {"error":{"message":"Incorrect API key: %b","type":"auth","param":null,"code":null}}\n\n'


@pytest.mark.parametrize(
    ("route", "begun"),  # a stream in the client's own dialect that has begun passes as it is
    [
        ("openai to openai", False),
        ("completions", False),
        ("anthropic to openai", False),
        ("anthropic to openai", True),
    ],
)
async def test_a_stored_credential_is_not_told_by_a_streams_error(route: str, begun: int) -> None:
    path, body, slug = ROUTES[route]
    steps = [SSE_HEAD, *[chunk(CHUNK)] * begun, chunk(LEAK % b"sk-openai") + b"0\r\n\r\n"]
    async with Scripted(play=lambda _: steps) as upstream, rig_of(upstream.url) as rig:
        answer = await rig.post(path, {**body, "stream": True}, vk=slug)
        assert b"Incorrect API key: [hidden]" in answer.body
        assert b"sk-openai" not in answer.body


async def test_a_provider_that_refuses_connections_is_a_bad_gateway() -> None:
    async with Scripted() as gone:
        url = gone.url
    async with rig_of(url) as rig:
        for route, (path, body, slug) in ROUTES.items():
            answer = await rig.post(path, body, vk=slug)
            check_error(route, answer, 502)
            assert (
                answer.json()["error"]["message"]
                == "The provider could not be reached: nothing listens at its address and port."
            )


async def test_a_provider_whose_name_does_not_resolve_is_a_bad_gateway() -> None:
    async with Rig(openai="http://no-such-host.invalid") as rig:
        answer = await rig.chat()
        check_error("openai to openai", answer, 502)
        assert "does not resolve" in answer.json()["error"]["message"]


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("fault", [name for name in BEFORE if name != "redirects"])
async def test_before_the_first_byte_every_failure_may_be_tried_again(fault: str, retries: int) -> None:
    steps, status = BEFORE[fault]
    asked = []

    def play(request: Asked) -> Script:
        asked.append(request)
        return steps if len(asked) <= 2 else [ok(WHOLE)]

    async with Scripted(play=play) as upstream, rig_of(upstream.url) as rig:
        rig.gateway.pipeline._forwarder._sleep = at_once
        answer = await rig.chat(config={"virtual_key": "openai", "retry": {"attempts": retries}})
        if retries:
            assert (answer.status, answer.body) == (200, WHOLE)
            assert answer.headers["x-portkey-retry-attempt-count"] == "2"
        else:
            assert answer.status == status
        assert len(upstream.requests) == (3 if retries else 1)
        bodies = {asked.body for asked in upstream.requests}
        assert len(bodies) == 1


AFTER: dict[str, tuple[list[Any], bool]] = {
    "a whole answer within its body": ([PARTIAL + WHOLE[:20]], False),
    "a chunked answer within its body": ([head(transfer_encoding="chunked") + chunk(WHOLE[:20])], False),
    "a stream after its first event": ([SSE_HEAD + chunk(CHUNK)], True),
    "a stream within its second event": ([SSE_HEAD + chunk(CHUNK + b'data: {"id"')], True),
    "a stream of declared length": ([head(content_type=SSE, content_length="9999") + CHUNK], True),
    "a stream that ends with its connection": ([head(content_type=SSE) + CHUNK], True),
}


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("end", [End.FIN, End.RST, None])
@pytest.mark.parametrize("fault", AFTER)
async def test_after_the_first_byte_nothing_is_tried_again_and_nothing_is_said_twice(
    fault: str, end: End | None, retries: int
) -> None:
    steps, streamed = AFTER[fault]
    config = {
        "strategy": {"mode": "fallback"},
        "targets": [{"virtual_key": "openai"}, {"virtual_key": "anthropic"}],
        "retry": {"attempts": retries},
    }
    async with Scripted([*steps, *([] if end is None else [end])]) as upstream, rig_of(upstream.url) as rig:
        rig.gateway.pipeline._forwarder._sleep = at_once
        answer = await rig.chat(config=config, stream=streamed)
        assert len(upstream.requests) == 1
        assert answer.status == 200
        if streamed:
            found = events(answer.body)
            assert answer.whole
            assert answer.body.startswith(CHUNK)
            assert answer.body.count(CHUNK) == len(errors_in(found)) == 1
            assert terminators_in(found) == []
        else:
            # All that can be said now is that this was not everything: the framing is broken off.
            assert not answer.whole
            assert answer.body == WHOLE[:20]
        await rig.until(lambda: rig.quiet)
        rows = await rig.usage()
        outcome = "timeout" if end is None else "bad_upstream"
        assert [(row["status"], row["outcome"], row["attempts"]) for row in rows] == [(200, outcome, 1)]


# -- streams that begin with an error


OPENAI_ERROR = b'data: {"error":{"message":"Overloaded","type":"overloaded_error","param":null,"code":null}}\n\n'
ANTHROPIC_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("route", "error"), [("openai to anthropic", ANTHROPIC_ERROR), ("anthropic to openai", OPENAI_ERROR)]
)
async def test_a_translated_stream_whose_first_event_is_an_error_is_a_failed_attempt(route: str, error: bytes) -> None:
    path, body, slug = ROUTES[route]
    async with Scripted(play=lambda asked: [SSE_HEAD, chunk(error)]) as upstream, rig_of(upstream.url) as rig:
        rig.gateway.pipeline._forwarder._sleep = at_once
        answer = await rig.post(path, {**body, "stream": True}, vk=slug)
        check_error(route, answer, 503 if slug == "openai" else 529)
        assert answer.json()["error"]["message"] == "Overloaded"
        config = {"virtual_key": slug, "retry": {"attempts": 2}}
        answer = await rig.post(path, {**body, "stream": True}, config=json.dumps(config))
        check_error(route, answer, 503 if slug == "openai" else 529)
        assert answer.headers["x-portkey-retry-attempt-count"] == "-1"
        assert len(upstream.requests) == 4


async def test_a_translated_stream_that_begins_with_an_error_falls_back_to_the_next_target() -> None:
    def play(asked: Asked) -> Script:
        if asked.line.startswith("POST /v1/messages"):
            return [SSE_HEAD, chunk(ANTHROPIC_ERROR)]
        return [SSE_HEAD, chunk(CHUNK), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]

    config = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "anthropic"}, {"virtual_key": "openai"}]}
    async with Scripted(play=play) as upstream, rig_of(upstream.url) as rig:
        answer = await rig.chat(config=config, stream=True)
        assert answer.status == 200
        assert answer.body == CHUNK + b"data: [DONE]\n\n"
        assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
        assert answer.headers["x-portkey-provider"] == "openai"


# -- limits of time


@pytest.fixture
async def silent() -> AsyncIterator[Scripted]:
    """Accepts, reads, says nothing."""
    async with Scripted([]) as running:
        yield running


async def timed(work: Any) -> tuple[Any, float]:
    """A result and the seconds it took, which may be a few milliseconds less than a limit: timers are coarse."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await work
    return result, loop.time() - began


async def test_the_connect_limit_fires_at_its_time() -> None:
    # A listener whose queue is full: the kernel leaves further connections unanswered.
    full = listen("127.0.0.1", 0)
    full.listen(0)
    port = full.getsockname()[1]
    fillers = []
    for _ in range(4):
        try:
            async with asyncio.timeout(0.1):
                fillers.append(await asyncio.open_connection("127.0.0.1", port))
        except TimeoutError:
            break
    try:
        async with Rig(openai=f"http://127.0.0.1:{port}", timeouts={"connect_timeout": 0.3}) as rig:
            answer, took = await timed(rig.chat())
            check_error("openai to openai", answer, 504)
            assert answer.json()["error"]["message"] == "The provider could not be reached in time."
            assert took > 0.27
    finally:
        for _, writer in fillers:
            writer.close()
        full.close()


async def test_the_first_byte_limit_fires_at_its_time(silent: Scripted) -> None:
    async with Rig(openai=silent.url, timeouts={"first_byte_timeout": 0.3, "idle_timeout": 60.0}) as rig:
        answer, took = await timed(rig.chat())
        check_error("openai to openai", answer, 504)
        assert answer.json()["error"]["message"] == "The provider did not answer in time."
        assert took > 0.27
        await silent.until(lambda u: u.open == 0)


@pytest.mark.parametrize(("slug", "events_sent"), [("openai", CHUNK), ("anthropic", START)])
async def test_the_idle_limit_fires_at_its_time_and_ends_the_stream_with_an_error_event(
    slug: str, events_sent: bytes
) -> None:
    async with Scripted([SSE_HEAD, chunk(events_sent)]) as upstream:
        rig = Rig(openai=upstream.url, anthropic=upstream.url, timeouts={"idle_timeout": 0.3})
        async with rig:
            answer, took = await timed(rig.post("/v1/chat/completions", {**CHAT, "stream": True}, vk=slug))
            assert (answer.status, answer.whole) == (200, True)
            (error,) = errors_in(events(answer.body))
            assert error.data["error"]["type"] == "timeout_error"
            assert error.data["error"]["message"] == "The provider sent no more data in time."
            assert took > 0.27
            await upstream.until(lambda u: u.open == 0)
            rows = await rig.usage()
            assert [row["outcome"] for row in rows] == ["timeout"]


async def test_a_stream_with_heartbeats_lives_longer_than_any_limit() -> None:
    async with Scripted([SSE_HEAD]) as upstream:
        limits = {"connect_timeout": 0.3, "first_byte_timeout": 0.3, "idle_timeout": 0.3}
        async with Rig(openai=upstream.url, timeouts=limits) as rig:
            line = await rig.open("/v1/chat/completions", {**CHAT, "stream": True})
            await upstream.until(lambda u: u.requests)
            upstream.last.write(chunk(CHUNK))
            for _ in range(15):
                await asyncio.sleep(0.1)
                upstream.last.write(chunk(b": heartbeat\n\n"))
            upstream.last.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            answer = await line.answer()
            assert answer.whole
            assert answer.body == CHUNK + b": heartbeat\n\n" * 15 + b"data: [DONE]\n\n"


ASK: dict[str, Callable[[Rig, str], Any]] = {
    "header": lambda rig, slug: rig.post("/v1/chat/completions", CHAT, vk=slug, x_portkey_request_timeout="250"),
    "config": lambda rig, slug: rig.chat(config={"virtual_key": slug, "request_timeout": 250}),
    "header over config": lambda rig, slug: rig.post(
        "/v1/chat/completions",
        CHAT,
        config=json.dumps({"virtual_key": slug, "request_timeout": 60_000}),
        x_portkey_request_timeout="250",
    ),
    "own spelling": lambda rig, slug: rig.post("/v1/chat/completions", CHAT, vk=slug, x_loopway_request_timeout="250"),
}


@pytest.mark.parametrize("how", ASK)
@pytest.mark.parametrize("slug", ["openai", "anthropic"])
async def test_a_request_timeout_is_answered_in_its_fixed_words(silent: Scripted, how: str, slug: str) -> None:
    async with Rig(openai=silent.url, anthropic=silent.url) as rig:
        answer, took = await timed(ASK[how](rig, slug))
        message = "Request exceeded the timeout sent in the request: 250ms"
        assert answer.status == 408
        assert answer.json() == {
            "error": {"message": message, "type": "timeout_error", "param": None, "code": None},
            "status": "failure",
            "message": message,
        }
        assert answer.headers["x-portkey-retry-attempt-count"] == "0"
        assert took > 0.22
        await silent.until(lambda u: u.open == 0)
        assert rig.quiet


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_timeout_covers_the_time_until_the_first_byte_of_the_body_and_no_longer(
    streamed: bool,
) -> None:
    first = SSE_HEAD if streamed else head(content_length=str(len(WHOLE)))
    async with Scripted([first]) as upstream, Rig(openai=upstream.url) as rig:
        # Only the head: the first byte is late.
        body = {**CHAT, "stream": streamed}
        answer = await rig.post("/v1/chat/completions", body, x_portkey_request_timeout="600")
        assert answer.status == 408
        # The first byte is here in time; what follows may take longer.
        line = await rig.open("/v1/chat/completions", body, x_portkey_request_timeout="600")
        await upstream.until(lambda u: len(u.requests) == 2)
        upstream.last.write(chunk(CHUNK) if streamed else WHOLE[:10])
        status, _ = await line.head()
        assert status == 200
        await asyncio.sleep(0.8)
        upstream.last.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n" if streamed else WHOLE[10:])
        await line.until(lambda: line.data.endswith(b"0\r\n\r\n" if streamed else WHOLE[-5:]))


async def test_a_request_timeout_that_is_listed_is_tried_again_and_falls_back() -> None:
    config = {
        "strategy": {"mode": "fallback", "on_status_codes": [408]},
        "targets": [
            {"virtual_key": "openai", "retry": {"attempts": 1, "on_status_codes": [408]}},
            {"virtual_key": "openai-two"},
        ],
        "request_timeout": 100,
    }
    async with (
        Scripted([]) as slow,
        Scripted([ok(WHOLE)]) as quick,
        Rig(openai=slow.url, openai_two=quick.url) as rig,
    ):
        rig.gateway.pipeline._forwarder._sleep = at_once
        answer = await rig.chat(config=config)
        assert (answer.status, answer.body) == (200, WHOLE)
        assert len(slow.requests) == 2


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "86400001", ""])
async def test_a_request_timeout_that_is_no_time_is_refused(silent: Scripted, value: str) -> None:
    async with Rig(openai=silent.url) as rig:
        raw = rig.raw("/v1/chat/completions", CHAT, x_portkey_request_timeout="VALUE").replace(b"VALUE", value.encode())
        answer = await ask(rig.port, raw)
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "x-portkey-request-timeout"
        assert silent.requests == []
