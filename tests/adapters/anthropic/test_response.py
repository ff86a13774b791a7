from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.errors import BadAnswer, Kind, UpstreamError
from adapters.types import Reply, Usage
from tests.adapters.anthropic.conversation import OLD_MODEL, call

TEXT = {"type": "text", "text": "Hello"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}


def answer(*content: Any, **fields: Any) -> bytes:
    body = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    return json.dumps(body | fields).encode()


def replied(body: bytes, **request: Any) -> Any:
    return json.loads(CHAT_TO_MESSAGES.response(call(**request), body).body)


def message(*content: Any, stop_reason: Any = "end_turn", **request: Any) -> Any:
    return replied(answer(*content, stop_reason=stop_reason), **request)["choices"][0]


def test_a_text_answer_becomes_a_completion() -> None:
    assert CHAT_TO_MESSAGES.response(call(), answer(TEXT)) == Reply(
        b'{"id":"msg_01","object":"chat.completion","created":1700000000,"model":"claude-sonnet-4-5-20250929","choices":'
        b'[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null},"logprobs":null,'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":0}}}',
        Usage(input=10, output=5),
    )


def test_without_strictness_the_provider_its_words_and_its_blocks_are_shown() -> None:
    thinking = {"type": "thinking", "thinking": "Hm", "signature": "sig==", "n": 1.5}
    body = replied(answer(thinking, TEXT, TOOL_USE, stop_reason="tool_use"), strict=False)
    assert body["provider"] == "anthropic"
    assert body["choices"][0]["finish_reason"] == "tool_use"
    assert body["choices"][0]["message"]["content_blocks"] == [thinking, TEXT]
    assert body["usage"]["cache_read_input_tokens"] == body["usage"]["cache_creation_input_tokens"] == 0


def test_with_strictness_nothing_is_shown_that_openai_does_not_have() -> None:
    body = CHAT_TO_MESSAGES.response(
        call(), answer({"type": "thinking", "thinking": "Hm", "signature": "s"}, TEXT)
    ).body
    assert ChatCompletion.model_validate_json(body).model_extra == {}
    assert b"Hm" not in body


def test_texts_are_joined() -> None:
    assert message(TEXT, {"type": "server_tool_use", "id": "x"}, TEXT)["message"]["content"] == "HelloHello"


def test_tool_uses_become_tool_calls() -> None:
    second = {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}
    choice = message(TEXT, TOOL_USE, second, stop_reason="tool_use")
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Hello"
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_the_content_is_null_when_there_are_only_tool_calls_and_empty_when_there_is_nothing() -> None:
    assert message(TOOL_USE)["message"]["content"] is None
    assert message()["message"]["content"] == ""


def test_arguments_keep_the_text_of_their_numbers() -> None:
    body = answer(TOOL_USE).replace(b'{"x": 1}', b'{"x": 1.50, "y": 123456789012345678901234567890}')
    arguments = replied(body)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"x": 1.50, "y": 123456789012345678901234567890}'


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons_are_told_in_openais_words_or_as_they_are(reason: str | None, finish: str) -> None:
    assert message(TEXT, stop_reason=reason)["finish_reason"] == finish
    assert message(TEXT, stop_reason=reason, strict=False)["finish_reason"] == (reason or "stop")


def test_cached_tokens_count_as_prompt_tokens() -> None:
    tokens = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    details = {"output_tokens_details": {"thinking_tokens": 3}}
    reply = CHAT_TO_MESSAGES.response(call(strict=False), answer(TEXT, usage=tokens | details))
    assert reply.usage == Usage(input=130, output=5, cached=100, cache_write=20, reasoning=3)
    assert json.loads(reply.body)["usage"] == {
        "prompt_tokens": 130,
        "completion_tokens": 5,
        "total_tokens": 135,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
    }


def test_null_counts_mean_none() -> None:
    tokens = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": None, "output_tokens_details": None}
    assert CHAT_TO_MESSAGES.response(call(), answer(TEXT, usage=tokens)).usage == Usage(input=10, output=5)


def test_what_the_answer_lacks_comes_from_the_call() -> None:
    reply = CHAT_TO_MESSAGES.response(call(), b'{"content":[],"stop_reason":"end_turn"}')
    body = json.loads(reply.body)
    assert (body["id"], body["model"], reply.usage) == ("chatcmpl-abc123", "claude-sonnet-4-5", None)


def test_the_input_of_the_answering_tool_is_the_answer() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "respond_with_json", "input": {"a": 1.5}}
    choice = message(tool, stop_reason="tool_use", model=OLD_MODEL, response_format=JSON_SCHEMA)
    assert choice["message"] == {"role": "assistant", "content": '{"a": 1.5}', "refusal": None}
    assert choice["finish_reason"] == "stop"


def test_a_tool_of_that_name_is_a_tool_when_no_schema_was_asked_for() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "respond_with_json", "input": {}}
    assert message(tool, model=OLD_MODEL)["message"]["tool_calls"][0]["id"] == "t"
    assert message(tool, response_format=JSON_SCHEMA)["message"]["tool_calls"][0]["id"] == "t"


def test_a_client_of_legacy_functions_gets_a_function_call() -> None:
    choice = message(TOOL_USE, stop_reason="tool_use", functions=[{"name": "f"}])
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x": 1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"type":"error","error":{"type":"api_error","message":"secret"}}',
        b'{"content":"secret"}',
        b'{"content":[{"text":"secret"}]}',
        b'{"content":[{"type":"text","text":5}]}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
        b'{"content":[{"type":"tool_use","id":"a","name":"f","input":{"a":"\xff"}}]}',
        b'{"content":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"choices":[]}',
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_foreign_answer_is_a_bad_one_and_its_text_is_not_repeated(body: bytes, strict: bool) -> None:
    with pytest.raises(BadAnswer) as caught:
        CHAT_TO_MESSAGES.response(call(strict=strict), body)
    assert "secret" not in str(caught.value)


@given(st.binary())
def test_any_bytes_are_an_answer_or_a_bad_one(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CHAT_TO_MESSAGES.response(call(), body)


# Errors.


@pytest.mark.parametrize(
    ("status", "type", "kind"),
    [
        (400, "invalid_request_error", Kind.INVALID_REQUEST),
        (401, "authentication_error", Kind.UNAUTHENTICATED),
        (402, "billing_error", Kind.QUOTA_EXCEEDED),
        (403, "permission_error", Kind.FORBIDDEN),
        (404, "not_found_error", Kind.NOT_FOUND),
        (413, "request_too_large", Kind.TOO_LARGE),
        (429, "rate_limit_error", Kind.RATE_LIMITED),
        (500, "api_error", Kind.BAD_UPSTREAM),
        (504, "timeout_error", Kind.TIMEOUT),
        (529, "overloaded_error", Kind.OVERLOADED),
        (529, "brand_new_error", Kind.OVERLOADED),
        (400, None, Kind.INVALID_REQUEST),
    ],
)
def test_an_error_keeps_its_status_type_and_message(status: int, type: str | None, kind: Kind) -> None:
    body = json.dumps({"type": "error", "error": {"type": type, "message": "No."}, "request_id": "req_1"}).encode()
    assert CHAT_TO_MESSAGES.error(status, {}, body) == UpstreamError(kind, status, "No.", type)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The provider answered with status 503."),
        (b"<html><body>Bad</body></html>", "The provider answered with status 503."),
        (b'{"half', "The provider answered with status 503."),
        (b"\xff\x00", "The provider answered with status 503."),
        (b"upstream\n  connect error", "The provider answered with status 503: upstream connect error"),
        (b"x" * 500, "The provider answered with status 503: " + "x" * 120 + "…"),
        (b'{"type":"error","error":{}}', "The provider answered with status 503 and no message."),
        (b"[" * 100_000, "The provider answered with status 503."),
    ],
)
def test_an_error_body_of_any_kind_is_an_error_of_the_statuss_kind(body: bytes, message: str) -> None:
    error = CHAT_TO_MESSAGES.error(503, {}, body)
    assert (error.kind, error.status, error.message) == (Kind.OVERLOADED, 503, message)
