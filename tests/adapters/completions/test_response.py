from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.errors import BadAnswer, Kind
from adapters.types import Call, Dialect, Usage
from tests.adapters import recordings

CALL = Call(Dialect.OPENAI_COMPLETIONS, "gpt-x", False, b'{"prompt":"a"}', "0a1b", 1700000000)
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def answer(body: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(COMPLETIONS_TO_CHAT.response(CALL, json.dumps(body).encode()).body)
    return made


def test_a_chat_completion_becomes_a_text_completion() -> None:
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "one 🐎", "refusal": None}, "finish_reason": "stop"},
        {"index": 1, "message": {"role": "assistant", "content": "two"}, "finish_reason": "length"},
    ]
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 9, "model": "gpt-x-2026"}
    assert answer({**body, "choices": choices, "usage": {**USAGE, "extra": 1.50}}) == {
        "id": "chatcmpl-1",
        "object": "text_completion",
        "created": 9,
        "model": "gpt-x-2026",
        "choices": [
            {"text": "one 🐎", "index": 0, "logprobs": None, "finish_reason": "stop"},
            {"text": "two", "index": 1, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": {**USAGE, "extra": 1.50},
    }


def test_what_the_provider_leaves_out_comes_from_the_call() -> None:
    assert answer({"choices": [{"message": {"content": None}}], "usage": None}) == {
        "id": "cmpl-0a1b",
        "object": "text_completion",
        "created": 1700000000,
        "model": "gpt-x",
        "choices": [{"text": "", "index": 0, "logprobs": None, "finish_reason": None}],
    }


def test_text_in_parts_is_joined_and_thinking_left_out() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "2 + 2"},
        {"type": "text", "text": " = 4"},
    ]
    message = {"content": content, "reasoning_content": "Hm"}
    assert answer({"choices": [{"message": message}]})["choices"][0]["text"] == "2 + 2 = 4"


def test_usage_is_told_to_the_gateway() -> None:
    body = json.dumps({"choices": [{"message": {"content": "a"}}], "usage": USAGE}).encode()
    assert COMPLETIONS_TO_CHAT.response(CALL, body).usage == Usage(input=5, output=2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"text": "a"}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
    ],
)
def test_what_is_no_chat_completion_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        COMPLETIONS_TO_CHAT.response(CALL, body)


def test_errors_are_read_in_openais_dialect() -> None:
    assert COMPLETIONS_TO_CHAT.error(429, {}, b'{"error": {"message": "Slow."}}').kind is Kind.RATE_LIMITED


ANSWERS = {
    each.name: each.response
    for each in recordings.exchanges("/chat/completions")
    if each.status == 200 and isinstance(each.response, dict)
}


@pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_keep_their_text_and_usage(name: str) -> None:
    recorded = ANSWERS[name]
    made = answer(recorded)
    content = recorded["choices"][0]["message"].get("content") or ""
    if isinstance(content, str):
        assert made["choices"][0]["text"] == content
    assert made["choices"][0]["finish_reason"] == recorded["choices"][0]["finish_reason"]
    assert made.get("usage") == recorded.get("usage")
