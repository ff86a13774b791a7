"""How answers end, and that the ledger, the counters and the breakers know it: by their provider's error, cut short, or
whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from adapters.errors import Kind
from tests.behaviour.client import errors_in, events
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.behaviour.test_cuts import ANTHROPIC, OPENAI, chat_chunk, message_event
from tests.fakes.upstream import LAST_CHUNK, SSE, Asked, Script, Scripted, chunk, head

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
        Kind.BAD_UPSTREAM,
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
        self.asked: list[Asked] = []
        self.rig: Rig

    def play(self, asked: Asked) -> Script:
        self.asked.append(asked)
        return self.script

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
