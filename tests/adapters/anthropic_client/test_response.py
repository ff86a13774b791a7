from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.errors import BadAnswer, Kind
from adapters.types import Usage
from tests.adapters.anthropic_client.script import CALL, USAGE


def completion(message: dict[str, Any], finish: str | None = "stop", **other: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "chatcmpl-abc", "object": "chat.completion", "created": 1, "model": "gpt-x-2026"}
    return json.dumps({**body, "choices": [choice], "usage": USAGE, **other}).encode()


def answer(body: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(MESSAGES_TO_CHAT.response(CALL, body).body)
    return message


def called(*calls: dict[str, Any], finish: str = "tool_calls") -> dict[str, Any]:
    return answer(completion({"content": None, "tool_calls": list(calls)}, finish))


def function(arguments: Any, name: str = "f", **other: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **other}


def test_a_completion_becomes_a_message() -> None:
    assert answer(completion({"content": "Ahoj, žluťoučký 🐎", "refusal": None})) == {
        "type": "message",
        "id": "msg_abc",
        "role": "assistant",
        "model": "gpt-x-2026",
        "content": [{"type": "text", "text": "Ahoj, žluťoučký 🐎"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 8,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 7,
        },
    }


def test_usage_is_told_to_the_gateway_in_openais_meaning() -> None:
    assert MESSAGES_TO_CHAT.response(CALL, completion({"content": "a"})).usage == Usage(input=12, output=7, cached=4)
    assert MESSAGES_TO_CHAT.response(CALL, completion({"content": "a"}, usage=None)).usage is None


def test_text_and_parallel_tool_calls() -> None:
    body = completion(
        {"content": "Look:", "tool_calls": [function('{"a": {"b": [1, 2.0]}}'), function("", "g", id="call_2")]},
        "tool_calls",
    )
    message = answer(body)
    assert message["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": {"b": [1, 2.0]}}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
    ]
    assert message["stop_reason"] == "tool_use"


def test_arguments_that_are_no_object_are_kept_under_a_key_that_says_so() -> None:
    for arguments in ('{"a": "cut sho', "[1]", "nonsense"):
        message = called(function(arguments), finish="length")
        assert message["content"][0]["input"] == {"INVALID_JSON": arguments}
        assert message["stop_reason"] == "max_tokens"


def test_arguments_given_as_an_object_are_kept() -> None:
    assert called(function({"a": 1}))["content"][0]["input"] == {"a": 1}


def test_a_call_without_an_id_gets_one() -> None:
    assert called(function("{}", id=None))["content"][0]["id"] == "toolu_0a1b2c_0"


def test_a_stop_after_tool_calls_is_told_as_tool_use() -> None:
    assert called(function("{}"), finish="stop")["stop_reason"] == "tool_use"


def test_the_function_call_of_older_providers() -> None:
    message = answer(completion({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    assert message["content"][0]["name"] == "f"
    assert message["stop_reason"] == "tool_use"


def test_an_empty_function_call_is_none() -> None:
    message = answer(completion({"content": "a", "function_call": {"name": "", "arguments": ""}}))
    assert message["content"] == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_becomes_thinking(field: str) -> None:
    assert answer(completion({"content": "4", field: "2 + 2"}))["content"] == [
        {"type": "thinking", "thinking": "2 + 2", "signature": ""},
        {"type": "text", "text": "4"},
    ]


def test_content_in_parts_is_read() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "4"},
    ]
    assert [block["type"] for block in answer(completion({"content": parts}))["content"]] == ["thinking", "text"]


def test_a_refusal_is_text() -> None:
    message = answer(completion({"content": None, "refusal": "No."}, "content_filter"))
    assert message["content"] == [{"type": "text", "text": "No."}]
    assert message["stop_reason"] == "refusal"


def test_an_empty_answer_is_an_empty_message() -> None:
    assert answer(completion({"content": ""}))["content"] == []


def test_an_answer_without_id_and_model_gets_the_calls() -> None:
    message = answer(completion({"content": "a"}, id=None, model=""))
    assert (message["id"], message["model"]) == ("msg_0a1b-2c", "gpt-x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"error": {"message": "no"}}',
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"id": "a"}]}}]}',
        b'{"choices": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_completion_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        MESSAGES_TO_CHAT.response(CALL, body)


def test_errors_are_read_in_openais_dialect() -> None:
    error = MESSAGES_TO_CHAT.error(404, {}, b'{"error": {"message": "No such model.", "code": "model_not_found"}}')
    assert (error.kind, error.status, error.message) == (Kind.NOT_FOUND, 404, "No such model.")
