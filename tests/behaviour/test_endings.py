"""How answers end, and that the ledger, the counters and the breakers know it: by their provider's error, cut short, or
whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest

from adapters.errors import Kind
from tests.behaviour.client import errors_in, events
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.behaviour.test_cuts import ANTHROPIC, OPENAI, chat_chunk, message_event
from tests.fakes.upstream import LAST_CHUNK, SSE, Asked, End, Script, Scripted, chunk, head, ok

GENERATE = {"contents": [{"parts": [{"text": "Hello there"}]}]}
SAID = {"candidates": [{"content": {"parts": [{"text": "One,"}], "role": "model"}, "index": 0}]}
ROUTES: dict[str, tuple[str, Any, str]] = {
    "chat": ("/v1/chat/completions", {**CHAT, "stream": True}, "openai"),
    "completions": ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi", "stream": True}, "openai"),
    "responses": ("/v1/responses", {"model": "gpt-4o", "input": "Hi", "stream": True}, "openai"),
    "messages": ("/v1/messages", {**MESSAGES, "stream": True}, "anthropic"),
    "gemini": ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GENERATE, "google"),
    "messages to chat": ("/v1/messages", {**MESSAGES, "model": "gpt-4o", "stream": True}, "openai"),
    "chat to messages": ("/v1/chat/completions", {**CHAT, "model": "claude-sonnet-4-5", "stream": True}, "anthropic"),
}


def data(value: Any, line: str = "\n") -> bytes:
    return f"data: {json.dumps(value)}{line}{line}".encode()


def response_event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + data({"type": kind, **fields})


TEXT = data({"id": "c1", "object": "text_completion", "choices": [{"index": 0, "text": "One,", "finish_reason": None}]})
CREATED = response_event("response.created", sequence_number=0, response={"status": "in_progress", "error": None})
DELTA = response_event("response.output_text.delta", sequence_number=1, delta="One,")
BUSY = {"message": "The engine is busy", "type": "overloaded_error", "param": None, "code": None}
SLOW = {"message": "Slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
DONE = b"data: [DONE]\n\n"
# A last chunk with an error beside the choices, as OpenRouter ends streams whose provider failed.
LAST = {**json.loads(chat_chunk({"content": ""}, "error")[6:]), "error": {"code": 502, "message": "Provider gone"}}
LINES = b"event:error\r\ndata:{\r\ndata:%b\r\n\r\n" % json.dumps({"error": BUSY})[1:].encode()
QUOTA = {"error": {"code": 429, "message": "Resource exhausted", "status": "RESOURCE_EXHAUSTED"}}


class Case(NamedTuple):
    """A stream that its provider ends with an error; `verbatim` but for what follows its last whole event."""

    route: str
    stream: list[bytes]
    kind: Kind
    verbatim: bool = True


FAILED: dict[str, Case] = {
    "chat": Case("chat", [*OPENAI[:2], data({"error": BUSY})], Kind.OVERLOADED),
    "chat, then done": Case("chat", [*OPENAI[:2], data({"error": SLOW}), DONE], Kind.RATE_LIMITED),
    "chat, within the last chunk": Case("chat", [*OPENAI[:2], data(LAST), DONE], Kind.BAD_UPSTREAM),
    "chat, then usage": Case("chat", [*OPENAI[:2], data({"error": BUSY}), *OPENAI[-2:]], Kind.OVERLOADED),
    "chat, by the event's name": Case(
        "chat", [*OPENAI[:2], LINES], Kind.OVERLOADED,
    ),
    "chat, as an object": Case(
        "chat", [*OPENAI[:2], data({"object": "error", "message": "no", "type": "service_unavailable"}), DONE],
        Kind.OVERLOADED,
    ),
    "completions": Case("completions", [TEXT, data({"error": SLOW}), DONE], Kind.RATE_LIMITED),
    "responses": Case(
        "responses",
        [CREATED, DELTA, response_event("error", sequence_number=2, code="rate_limit_exceeded", message="Slow down")],
        Kind.RATE_LIMITED,
    ),
    "responses, failed": Case(
        "responses",
        [
            *(CREATED, DELTA),
            response_event(
                "response.failed", sequence_number=2, response={"status": "failed", "error": {**SLOW, "param": None}}
            ),
        ],
        Kind.RATE_LIMITED,
    ),
    "responses, failed and long": Case(
        "responses",
        [CREATED, DELTA, response_event("response.failed", response={"error": SLOW, "instructions": "x" * 9000})],
        Kind.RATE_LIMITED,
    ),
    "messages": Case(
        "messages",
        [*ANTHROPIC[:4], message_event("error", error={"type": "overloaded_error", "message": "Overloaded"})],
        Kind.OVERLOADED,
    ),
    "gemini": Case("gemini", [data(SAID, "\r\n"), data(QUOTA, "\r\n")], Kind.RATE_LIMITED),
    "gemini, as plain JSON": Case(
        "gemini", [data(SAID, "\r\n"), json.dumps(QUOTA, indent=2).encode()], Kind.RATE_LIMITED, verbatim=False
    ),
    "messages to chat": Case(
        "messages to chat", [*OPENAI[:2], data({"error": BUSY})], Kind.OVERLOADED, verbatim=False
    ),
    "chat to messages": Case(
        "chat to messages",
        [*ANTHROPIC[:4], message_event("error", error={"type": "overloaded_error", "message": "Overloaded"})],
        Kind.OVERLOADED,
        verbatim=False,
    ),
}  # fmt: skip


def streamed(stream: list[bytes]) -> bytes:
    framed = b"".join(chunk(event) for event in stream)
    return head(content_type=SSE, transfer_encoding="chunked") + framed + LAST_CHUNK


class Rigged:
    """A gateway whose providers all answer with what `script` is at the time."""

    def __init__(self) -> None:
        self.script: Script = []
        self.play_each: Iterator[Script] | None = None
        self.asked: list[Asked] = []
        self.rig: Rig

    def play(self, asked: Asked) -> Script:
        self.asked.append(asked)
        return self.script if self.play_each is None else next(self.play_each)

    async def ask(self, route: str, **headers: str) -> Any:
        path, body, slug = ROUTES[route]
        return await self.rig.post(path, body, **({"vk": slug} | headers))

    async def last(self) -> dict[str, Any]:
        """The last request's row."""
        await self.rig.until(lambda: self.rig.quiet)
        return (await self.rig.usage())[-1]

    def attempts(self) -> dict[str, float]:
        """How often tries ended how."""
        counts: dict[str, float] = {}
        for name, count in self.rig.gateway.metrics.samples().items():
            if name.startswith("loopway_attempts_total"):
                outcome = name.partition('outcome="')[2][:-2]
                counts[outcome] = counts.get(outcome, 0) + count
        return counts


@pytest.fixture
async def rigged() -> AsyncIterator[Rigged]:
    it = Rigged()
    async with Scripted(play=it.play) as upstream:
        slugs = ("openai", "openai_b", "anthropic", "anthropic_b", "google")
        async with Rig(**dict.fromkeys(slugs, upstream.url)) as it.rig:  # type: ignore[arg-type]
            yield it


# -- a provider's own error


@pytest.mark.parametrize("name", FAILED)
async def test_a_stream_that_its_provider_ends_with_an_error_is_a_failure_to_all_who_count(
    rigged: Rigged, name: str
) -> None:
    case = FAILED[name]
    rigged.script = [streamed(case.stream)]
    answer = await rigged.ask(case.route)
    assert (answer.status, answer.whole) == (200, True)
    if case.verbatim:
        assert answer.body == b"".join(case.stream)
    else:
        assert errors_in(events(answer.body)) == events(answer.body)[-1:]
    row = await rigged.last()
    assert row["outcome"] == case.kind.value
    assert row["estimated"] == 1  # nobody counted what was delivered
    assert json.loads(row["tries"])[0]["error"] == case.kind.value
    await rigged.rig.until(lambda: rigged.attempts() == {case.kind.value: 1})


async def test_a_stream_that_only_speaks_of_errors_went_well(rigged: Rigged) -> None:
    for text in ('{"error": {"message": "x"}}', "\n\nevent: error\n\n", '"error"', "data: error"):
        rigged.script = [streamed([chat_chunk({"content": text}), *OPENAI[-3:-2], data({"error": None}), DONE])]
        await rigged.ask("chat")
        assert (await rigged.last())["outcome"] == "ok", text
        said = message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        rigged.script = [streamed([*ANTHROPIC[:2], said, *ANTHROPIC[-3:]])]
        await rigged.ask("messages")
        assert (await rigged.last())["outcome"] == "ok", text
    completed = response_event("response.completed", response={"error": None, "status": "completed"})
    rigged.script = [streamed([CREATED, DELTA, completed])]
    await rigged.ask("responses")
    assert (await rigged.last())["outcome"] == "ok"
    await rigged.rig.until(lambda: rigged.attempts() == {"ok": 9})


@pytest.mark.parametrize("name", ["chat", "chat, within the last chunk", "messages", "messages to chat"])
async def test_streams_that_end_with_an_error_open_a_breaker(rigged: Rigged, name: str) -> None:
    case = FAILED[name]
    path, body, slug = ROUTES[case.route]
    rigged.script = [streamed(case.stream)]
    rules = {"failure_threshold": 2}
    targets = [{"virtual_key": slug}, {"virtual_key": f"{slug}-b"}]
    config = json.dumps({"strategy": {"mode": "fallback", "cb_config": rules}, "targets": targets})
    for target in ("targets[0]", "targets[0]", "targets[1]"):
        answer = await rigged.rig.post(path, body, config=config)
        assert answer.headers["x-portkey-last-used-option-index"] == f"config.{target}"


# -- whole answers, cut short

COMPLETION = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": 'Grüße, {"a": [1]} '}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}},
    }
).encode()
MESSAGE = json.dumps(
    {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": 'Grüße, {"a": [1]} '}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 7},
    }
).encode()
WHOLE = {
    "chat": ("/v1/chat/completions", CHAT, "openai", COMPLETION),
    "messages": ("/v1/messages", MESSAGES, "anthropic", MESSAGE),
    "chat to messages": ("/v1/chat/completions", {**CHAT, "model": "claude-sonnet-4-5"}, "anthropic", MESSAGE),
}
JSON = "application/json; charset=utf-8"


def cut_answer(document: bytes, framing: str, at: int) -> Script:
    """A whole answer that breaks off after so many bytes."""
    if framing == "length":
        return [head(content_type=JSON, content_length=str(len(document))) + document[:at], End.FIN]
    if framing == "chunked":
        framed = chunk(document[:at]) if at else b""
        return [head(content_type=JSON, transfer_encoding="chunked") + framed, End.FIN]
    plain = head(content_type=JSON) + document[:at]
    return [plain.replace(b"HTTP/1.1", b"HTTP/1.0") if framing == "HTTP/1.0" else plain, End.FIN]


@pytest.mark.parametrize("route", WHOLE)
async def test_a_whole_answer_cut_anywhere_is_a_failure_and_never_looks_whole(rigged: Rigged, route: str) -> None:
    path, body, slug, document = WHOLE[route]
    for framing, step in (("close", 1), ("length", 7), ("chunked", 7), ("HTTP/1.0", 7)):
        for at in range(0, len(document), step):
            rigged.script = cut_answer(document, framing, at)
            answer = await rigged.rig.post(path, body, vk=slug)
            assert answer.status == 502 or not answer.whole, (framing, at, answer)
    await rigged.rig.until(lambda: rigged.rig.quiet)
    assert {row["outcome"] for row in await rigged.rig.usage()} == {"bad_upstream"}


@pytest.mark.parametrize("framing", ["close", "HTTP/1.0"])
async def test_an_answer_that_only_its_connection_ends_passes_as_it_is(rigged: Rigged, framing: str) -> None:
    for route, size in (("chat", 1), ("messages", 1), ("chat", 300_000)):
        path, body, slug, document = WHOLE[route]
        document = document.replace(b"Gr", b"G" * size) + b"\n"
        rigged.script = cut_answer(document, framing, len(document))
        answer = await rigged.rig.post(path, body, vk=slug)
        assert (answer.status, answer.body, answer.whole) == (200, document, True)
        row = await rigged.last()
        assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == ("ok", 9, 7)


async def test_an_answer_cut_short_is_tried_again(rigged: Rigged) -> None:
    scripts = iter([cut_answer(COMPLETION, "close", at) for at in (200, len(COMPLETION))])
    rigged.play_each = scripts
    config = json.dumps({"virtual_key": "openai", "retry": {"attempts": 1, "on_status_codes": [502]}})
    answer = await rigged.rig.post("/v1/chat/completions", CHAT, config=config)
    assert (answer.status, answer.body) == (200, COMPLETION)


async def test_json_of_any_other_path_that_stops_short_of_its_end_cuts_the_client_off(rigged: Rigged) -> None:
    document = b'{"object": "list", "data": [{"id": "file-1"}, {"id": "file-2"}]}'
    for at in range(1, len(document)):
        rigged.script = cut_answer(document, "close", at)
        answer = await rigged.rig.post("/v1/anything", {}, vk="openai")
        cut = document[at - 1 : at] not in (b"}", b"]")  # what else a body's last byte says, only parsing could tell
        assert (answer.status == 502 or not answer.whole) is cut, (at, answer)
    for other in (b"", document, document + b"\n" + document + b"\n"):
        rigged.script = cut_answer(other, "close", len(other))
        answer = await rigged.rig.post("/v1/anything", {}, vk="openai")
        assert (answer.status, answer.body, answer.whole) == (200, other, True)


# -- streams without their end

RESPONSES = [CREATED, DELTA, response_event("response.completed", sequence_number=2, response={"status": "completed"})]
FINISHED = {"candidates": [{**SAID["candidates"][0], "finishReason": "STOP"}]}
GOOGLES = [data(SAID, "\r\n"), data(FINISHED, "\r\n")]
ENDLESS = {
    "chat": OPENAI[:3],
    "messages": ANTHROPIC[:-1],
    "responses": RESPONSES[:-1],
    "gemini": GOOGLES[:1],
    "messages to chat": OPENAI[:3],
    "chat to messages": ANTHROPIC[:-1],
}


@pytest.mark.parametrize("framing", ["terminated", "close", "HTTP/1.0"])
@pytest.mark.parametrize("route", ENDLESS)
async def test_a_stream_that_closes_in_order_without_its_end_is_an_error(
    rigged: Rigged, route: str, framing: str
) -> None:
    stream = ENDLESS[route]
    plain = head(content_type=SSE) + b"".join(stream)
    rigged.script = {
        "terminated": [streamed(stream), End.FIN],
        "close": [plain, End.FIN],
        "HTTP/1.0": [plain.replace(b"HTTP/1.1", b"HTTP/1.0"), End.FIN],
    }[framing]
    answer = await rigged.ask(route)
    found = events(answer.body)
    assert (answer.status, answer.whole) == (200, True)
    assert len(errors := errors_in(found) or [each for each in found if each.name == "error"]) == 1
    assert found[-1] is errors[0]
    assert (await rigged.last())["outcome"] == "bad_upstream"


@pytest.mark.parametrize("route", ENDLESS)
async def test_a_stream_that_comes_compressed_is_refused_before_anything_is_sent(rigged: Rigged, route: str) -> None:
    packed = zlib.compress(b"".join(ENDLESS[route]), wbits=31)
    framed = head(content_type=SSE, content_encoding="gzip", transfer_encoding="chunked") + chunk(packed) + LAST_CHUNK
    rigged.script = [framed]
    answer = await rigged.ask(route)
    assert answer.status == 502
    assert "compressed" in answer.body.decode()
    assert (await rigged.last())["outcome"] == "bad_upstream"


async def test_a_prompt_that_gemini_blocks_is_an_answer_and_no_broken_stream(rigged: Rigged) -> None:
    stream = [data({"promptFeedback": {"blockReason": "SAFETY"}}, "\r\n")]
    rigged.script = [streamed(stream)]
    answer = await rigged.ask("gemini")
    assert answer.body == stream[0]
    assert (await rigged.last())["outcome"] == "ok"


ARRAY = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"


async def test_a_stream_that_is_one_array_is_whole_only_with_its_end(rigged: Rigged) -> None:
    call = {"functionCall": {"name": "f", "args": {"list": [{"error": 1}]}}}
    last = {"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP", "safetyRatings": []}]}
    document = json.dumps([SAID, last], indent=1).encode()
    for at in range(1, len(document) + 1):
        rigged.script = [head(content_type=JSON, transfer_encoding="chunked") + chunk(document[:at]) + LAST_CHUNK]
        answer = await rigged.rig.post(ARRAY, GENERATE, vk="google")
        assert (answer.status == 200 and answer.whole) is (at == len(document)), at
    await rigged.rig.until(lambda: rigged.rig.quiet)
    assert [row["outcome"] for row in await rigged.rig.usage()].count("ok") == 1


@pytest.mark.parametrize("size", [0, 20_000])
async def test_an_array_whose_last_item_is_an_error_is_a_failure(rigged: Rigged, size: int) -> None:
    quota = {"error": {**QUOTA["error"], "details": [{"reason": "x" * size}]}}
    document = json.dumps([SAID, quota], indent=2).encode() + b"\n"
    rigged.script = [head(content_type=JSON, transfer_encoding="chunked") + chunk(document) + LAST_CHUNK]
    answer = await rigged.rig.post(ARRAY, GENERATE, vk="google")
    assert (answer.status, answer.body, answer.whole) == (200, document, True)
    row = await rigged.last()
    assert row["outcome"] == "rate_limited"


@pytest.mark.parametrize("way", ["whole", "chat, whole", "chat, streamed", "array"])
async def test_when_to_come_back_is_told_of_googles_errors_under_a_200_too(rigged: Rigged, way: str) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    error = {"error": {**QUOTA["error"], "details": [retry]}}
    body = json.dumps([error] if way == "array" else error).encode()
    rigged.script = [streamed([data(error)]) if way == "chat, streamed" else ok(body)]
    if way.startswith("chat"):
        asked = {**CHAT, "model": "gemini-2.5-flash", "stream": way == "chat, streamed"}
        answer = await rigged.rig.post("/v1/chat/completions", asked, vk="google")
    else:
        path = ARRAY if way == "array" else ARRAY.replace("streamGenerate", "generate")
        answer = await rigged.rig.post(path, GENERATE, vk="google")
    told = answer.json()["error"]
    assert (answer.status, answer.headers["retry-after"], told["message"]) == (429, "35", "Resource exhausted")
    assert told["type" if way.startswith("chat") else "status"] == "RESOURCE_EXHAUSTED"


async def test_an_array_that_is_an_error_and_nothing_else_is_a_failed_attempt(rigged: Rigged) -> None:
    document = json.dumps([QUOTA]).encode()
    rigged.script = [head(content_type=JSON, transfer_encoding="chunked") + chunk(document) + LAST_CHUNK]
    answer = await rigged.rig.post(ARRAY, GENERATE, vk="google")
    assert (answer.status, answer.json()["error"]["message"]) == (429, "Resource exhausted")
