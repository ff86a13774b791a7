"""What is no answer under a 200 is told apart from an answer that says nothing; and why a provider refuses, is told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters.errors import BadAnswer
from adapters.registry import codec, unsaid
from adapters.types import Call, Codec, Dialect
from tests.adapters.bedrock.streams import START, event, stopped
from tests.adapters.test_sdk_answers import CLIENTS, sse

CHAT, MESSAGES, GEMINI = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE
CONVERSE, COHERE, RESPONSES = Dialect.BEDROCK_CONVERSE, Dialect.COHERE_CHAT, Dialect.OPENAI_RESPONSES
COUNTED = {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}


def asked(client: str, upstream: Dialect, stream: bool = False) -> tuple[Codec, Call]:
    dialect, strict, body = CLIENTS[client]
    made = codec(dialect, upstream)
    call = Call(dialect, "m", stream, msgspec.json.encode({"model": "m", **body}), "id", 1, strict=strict)
    return made, call if made.identity else msgspec.structs.replace(call, middle=made.request(call).middle)


def chosen(message: Any, finish: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


NO_ANSWERS: list[tuple[Dialect, dict[str, Any]]] = [
    (GEMINI, COUNTED),
    (GEMINI, {"candidates": [], **COUNTED}),
    (GEMINI, {"candidates": [], "promptFeedback": {"safetyRatings": []}}),
    (GEMINI, {"candidates": [{"index": 0}]}),
    (MESSAGES, {"type": "message", "role": "assistant", "stop_reason": "end_turn"}),
    (MESSAGES, {"type": "message", "content": []}),
    (CONVERSE, {"stopReason": "end_turn"}),
    (CONVERSE, {"output": {}, "stopReason": "end_turn"}),
    (CONVERSE, {"output": {"message": {"role": "assistant", "content": []}}}),
    (COHERE, {"id": "1", "finish_reason": "COMPLETE"}),
    (COHERE, {"message": {"role": "assistant", "content": []}}),
    (COHERE, {"message": {"role": "assistant", "content": [{"type": "text", "text": "He"}]}, "finish_reason": "ERROR"}),
    (RESPONSES, {"output": []}),
    (RESPONSES, {"output": [], "status": "failed", "error": None}),
    (RESPONSES, {"status": "completed"}),
    (CHAT, {"choices": []}),
    (CHAT, {"choices": [{"index": 0, "finish_reason": "stop"}]}),
    (CHAT, chosen({"role": "assistant", "content": "He"}, "error")),
    (CHAT, chosen({"role": "assistant", "content": "He"}, "insufficient_system_resource")),
]

EMPTY: list[tuple[Dialect, dict[str, Any], str]] = [
    (GEMINI, {"promptFeedback": {"blockReason": "OTHER"}, "candidates": []}, "content_filter"),
    (GEMINI, {"candidates": [{"finishReason": "RECITATION"}]}, "content_filter"),
    (GEMINI, {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}, "length"),
    (MESSAGES, {"content": [], "stop_reason": "end_turn"}, "stop"),
    (CONVERSE, {"output": {"message": {"content": []}}, "stopReason": "guardrail_intervened"}, "content_filter"),
    (COHERE, {"message": {"role": "assistant"}, "finish_reason": "TIMEOUT"}, "length"),
    (RESPONSES, {"output": [], "status": "incomplete"}, "length"),
    (RESPONSES, {"output": [], "status": "completed"}, "stop"),
]
"""Answers that say nothing, but why."""


@pytest.mark.parametrize(("upstream", "body"), NO_ANSWERS, ids=lambda value: str(value)[:60])
def test_what_is_no_answer_is_a_failed_attempt_for_every_client(upstream: Dialect, body: dict[str, Any]) -> None:
    for client in CLIENTS:
        made, call = asked(client, upstream)
        if not made.identity:
            with pytest.raises(BadAnswer):
                made.response(call, json.dumps(body).encode())


@pytest.mark.parametrize(("upstream", "body", "finish"), EMPTY, ids=lambda value: str(value)[:60])
def test_an_answer_that_says_only_why_it_ended_is_one(upstream: Dialect, body: dict[str, Any], finish: str) -> None:
    made, call = asked("strict", upstream)
    choice = json.loads(made.response(call, json.dumps(body).encode()).body)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == (finish, "")


def test_a_stream_that_fails_by_its_finish_reason_ends_with_an_error() -> None:
    for finish in ("error", "insufficient_system_resource"):
        chunk = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "He"}, "finish_reason": finish}]}
        made, call = asked("messages", CHAT, stream=True)
        machine = made.stream(call)
        out = machine.feed(sse(chunk, end=b"data: [DONE]\n\n")) + machine.close()
        assert b'"He"' in out
        assert b"message_stop" not in out
        assert machine.error is not None


# -- refusals

WHY = "It would harm somebody."
STOPPED = {"stop_reason": "refusal", "stop_sequence": None}
STOPPED["stop_details"] = {"type": "refusal", "category": "bio", "explanation": WHY}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": WHY}, **COUNTED}
FILTERED = {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": WHY, "index": 0}], **COUNTED}
REFUSALS: dict[str, tuple[Dialect, Any, bytes, frozenset[str]]] = {
    "anthropic": (
        MESSAGES,
        {"content": [], **STOPPED},
        sse(
            {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1}}},
            {"type": "message_delta", "delta": STOPPED, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
            named=True,
        ),
        frozenset(("stop_details.category",)),
    ),
    "gemini, the prompt": (GEMINI, BLOCKED, sse(BLOCKED), frozenset()),
    "gemini, the answer": (GEMINI, FILTERED, sse(FILTERED), frozenset()),
}


def told(client: str, answer: Any) -> tuple[Any, Any]:
    """Why it ended, and where each client is told more of it."""
    if client in ("strict", "chat"):
        choice = answer["choices"][0]
        return choice["finish_reason"], (choice["message"]["content"], choice["message"]["refusal"])
    if client == "completions":
        return answer["choices"][0]["finish_reason"], answer["choices"][0]["text"]
    if client == "responses":
        return answer["incomplete_details"]["reason"], answer["output"][0]["content"]
    if client == "messages":
        return answer["stop_reason"], answer["content"][0]["text"]
    return answer["candidates"][0]["finishReason"], answer["candidates"][0]["content"]["parts"][0]["text"]


TOLD = {
    "strict": ("content_filter", (None, WHY)),
    "completions": ("content_filter", WHY),
    "responses": ("content_filter", [{"type": "refusal", "refusal": WHY}]),
    "messages": ("refusal", WHY),
    "gemini": ("SAFETY", WHY),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_why_a_provider_refuses_is_told_as_a_refusal(name: str) -> None:
    upstream, whole, stream, named = REFUSALS[name]
    body = json.dumps(whole).encode()
    for client, expected in TOLD.items():
        made, call = asked(client, upstream)
        if made.identity:
            continue
        assert told(client, json.loads(made.response(call, body).body)) == expected
        assert set(unsaid(upstream, call, body)) - {"candidates[].finishReason"} == named
        made, call = asked(client, upstream, stream=True)
        machine = made.stream(call)
        out = machine.feed(stream) + machine.close()
        assert machine.error is None
        assert out.count(WHY.encode()) == (5 if client == "responses" else 1)
        assert {each.removeprefix("delta.") for each in machine.unsaid} == named


def test_what_gemini_says_of_an_end_that_is_no_refusal_is_named() -> None:
    body = {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "call:f{", "index": 0}]}
    made, call = asked("strict", GEMINI)
    reply = made.response(call, json.dumps(body).encode())
    assert b"call:f" not in reply.body
    assert "candidates[].finishMessage" in unsaid(GEMINI, call, json.dumps(body).encode())


def test_a_guardrail_that_intervenes_ends_a_stream_filtered() -> None:
    made, call = asked("strict", CONVERSE, stream=True)
    machine = made.stream(call)
    out = machine.feed(START + stopped("guardrail_intervened") + event("metadata", {"usage": {"inputTokens": 1}}))
    assert b'"finish_reason":"content_filter"' in out


@pytest.mark.parametrize("client", ["responses", "messages"])
def test_a_second_choice_is_named_to_clients_that_know_one_alone(client: str) -> None:
    two = [chosen({"role": "assistant", "content": "He"}, "stop")["choices"][0] | {"index": at} for at in (0, 1)]
    chunk = {"choices": [{"index": at, "delta": {"content": "He"}, "finish_reason": "stop"} for at in (0, 1)]}
    candidates = [{"content": {"parts": [{"text": "He"}]}, "finishReason": "STOP", "index": at} for at in (0, 1)]
    for upstream, whole, stream, name in (
        (CHAT, {"choices": two}, sse(chunk, end=b"data: [DONE]\n\n"), "choices[1]"),
        (GEMINI, {"candidates": candidates}, sse({"candidates": candidates}), "candidates[1]"),
    ):
        _, call = asked(client, upstream)
        assert unsaid(upstream, call, json.dumps(whole).encode()) == (name,)
        made, call = asked(client, upstream, stream=True)
        machine = made.stream(call)
        assert machine.feed(stream) + machine.close()
        assert (machine.error, machine.unsaid) == (None, (name,))


SILENT: tuple[dict[str, Any], ...] = ({"role": "assistant", "content": "", "refusal": None}, {"content": None}, {})


@pytest.mark.parametrize(
    ("upstream", "stream"),
    [
        (MESSAGES, sse({"type": "message_start", "message": {"id": "m"}}, {"type": "message_stop"}, named=True)),
        (CONVERSE, START + event("messageStop", {}) + event("metadata", {"usage": {"inputTokens": 1}})),
        (GEMINI, sse(COUNTED)),
        (RESPONSES, sse({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, named=True)),
        (CHAT, sse({"choices": [], "usage": {"prompt_tokens": 1}}, end=b"data: [DONE]\n\n")),
        (CHAT, sse(*[{"choices": [{"index": 0, "delta": each}]} for each in SILENT], end=b"data: [DONE]\n\n")),
        (COHERE, sse({"type": "message-start", "id": "c"}, {"type": "message-end", "delta": {}}, named=True)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_stream_that_says_nothing_nor_why_ends_with_an_error(upstream: Dialect, stream: bytes) -> None:
    for client in CLIENTS:
        made, call = asked(client, upstream, stream=True)
        if not made.identity:
            machine = made.stream(call)
            out = machine.feed(stream) + machine.close()
            assert machine.error is not None
            assert not any(end in out for end in (b"[DONE]", b"message_stop", b"response.completed", b"finishReason"))
