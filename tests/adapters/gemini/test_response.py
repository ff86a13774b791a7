from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from adapters.errors import BadAnswer, Kind
from adapters.gemini import CHAT_TO_GEMINI
from adapters.types import Usage
from tests.adapters.gemini.script import USAGE, answer, call, completion, message

CALL = {"functionCall": {"name": "f", "args": {"x": 1.5}}, "thoughtSignature": "sig=="}


def test_a_plain_answer_is_a_chat_completion() -> None:
    found = completion(answer({"text": "Hel"}, {"text": "lo"}))
    assert found == {
        "id": "resp_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gemini-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 34,
            "total_tokens": 44,
            "prompt_tokens_details": {"cached_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
    }
    ChatCompletion.model_validate(found)


def test_usage_counts_thoughts_as_output_and_what_tools_read_as_input() -> None:
    usage = {**USAGE, "toolUsePromptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}]}
    body = {**answer({"text": "a"}), "usageMetadata": usage}
    reply = CHAT_TO_GEMINI.response(call(), json.dumps(body).encode())
    assert reply.usage == Usage(15, 34, 6, 0, 30, audio_input=3)
    assert json.loads(reply.body)["usage"]["prompt_tokens_details"] == {"cached_tokens": 6, "audio_tokens": 3}


def test_parallel_calls_have_ids_of_their_own() -> None:
    found = completion(answer(CALL, {"functionCall": {"name": "g", "id": "theirs"}}))["choices"][0]
    assert found["finish_reason"] == "tool_calls"
    assert found["message"]["content"] is None
    assert found["message"]["tool_calls"] == [
        {"id": f"call_{'f' * 24}_0", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.5}'}},
        {"id": "theirs", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_a_signature_comes_with_its_call() -> None:
    found = message({"text": "Hm", "thought": True}, CALL, strict=False)
    assert found["tool_calls"][0]["function"]["thought_signature"] == "sig=="
    assert found["content_blocks"] == [{"type": "thinking", "thinking": "Hm"}]


def test_what_openai_cannot_say_is_told_in_blocks() -> None:
    found = message(
        {"text": "Hm", "thought": True},
        {"text": "Be"},
        {"text": "fore", "thoughtSignature": "s"},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        strict=False,
    )
    assert found["content"] == "Before"
    assert found["content_blocks"] == [
        {"type": "thinking", "thinking": "Hm"},
        {"type": "text", "text": "Be"},
        {"type": "thinking", "thinking": "", "signature": "google:s"},
        {"type": "text", "text": "fore"},
        {"type": "gemini_part", "part": {"executableCode": {"language": "PYTHON", "code": "1"}}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


def test_a_strict_answer_has_nothing_beside_openais_shape() -> None:
    found = completion(answer({"text": "Hm", "thought": True}, {"text": "a"}, CALL))
    assert "content_blocks" not in found["choices"][0]["message"]
    assert "thought_signature" not in found["choices"][0]["message"]["tool_calls"][0]["function"]
    assert "provider" not in found


def test_sound_is_openais_audio() -> None:
    found = message({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}})
    assert found["audio"]["data"] == "AAAA"


FINISH = {
    "STOP": ("stop", "STOP"),
    "MAX_TOKENS": ("length", "MAX_TOKENS"),
    "SAFETY": ("content_filter", "SAFETY"),
    "PROHIBITED_CONTENT": ("content_filter", "PROHIBITED_CONTENT"),
    "RECITATION": ("content_filter", "RECITATION"),
    "SOMETHING_NEW": ("stop", "SOMETHING_NEW"),
    None: ("stop", "stop"),
}


@pytest.mark.parametrize("reason", FINISH)
def test_finish_reasons_are_openais_where_the_client_is_strict(reason: str | None) -> None:
    strict, plain = FINISH[reason]
    body = answer({"text": "a"}, finish=reason)
    assert completion(body)["choices"][0]["finish_reason"] == strict
    assert completion(body, strict=False)["choices"][0]["finish_reason"] == plain


def test_a_refused_prompt_is_a_filtered_choice() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    choice = completion(body)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", "")


def test_a_candidate_without_content_is_an_empty_answer() -> None:
    body = {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}]}
    choice = completion(body)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "")


def test_every_candidate_is_a_choice() -> None:
    body = {"candidates": answer({"text": "a"})["candidates"] + answer({"text": "b"}, index=1)["candidates"]}
    assert [(each["index"], each["message"]["content"]) for each in completion(body)["choices"]] == [(0, "a"), (1, "b")]


def test_log_probabilities_are_openais() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5, "tokenId": 1}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -2}]}
        ],
    }
    found = completion(answer({"text": "é"}, logprobsResult=result))["choices"][0]["logprobs"]
    assert found["content"][0] == {
        "token": "é",
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [
            {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
            {"token": "e", "logprob": -2.0, "bytes": [101]},
        ],
    }


GROUNDING: dict[str, Any] = {
    "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}, {"web": {"uri": "https://b.test"}}],
    "groundingSupports": [{"segment": {"startIndex": 4, "endIndex": 9}, "groundingChunkIndices": [0, 1]}],
}


def test_what_an_answer_rests_on_is_cited_by_characters() -> None:
    # In bytes é counts twice.
    found = message({"text": "né. Paris"}, groundingMetadata=GROUNDING)
    assert found["annotations"] == [
        {"type": "url_citation", "url_citation": {"start_index": 3, "end_index": 8, "url": url, "title": title}}
        for url, title in (("https://a.test", "A"), ("https://b.test", "https://b.test"))
    ]
    assert (
        completion(answer({"text": "a"}, groundingMetadata=GROUNDING), strict=False)["choices"][0]["groundingMetadata"]
        == GROUNDING
    )


def test_legacy_clients_get_their_one_call() -> None:
    choice = completion(answer(CALL), functions=[{"name": "f"}])["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x": 1.5}'}


JUNK = {
    "no JSON": b"<html>",
    "another shape": b'{"choices":[]}',
    "an empty object": b"{}",
    "broken UTF-8": b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}',
    "text that is none": b'{"candidates":[{"content":{"parts":[{"text":5}]}}]}',
    "a call without a name": b'{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}',
    "depth": b'{"candidates":[{"content":{"parts":[{"x":' + b"[" * 5000,
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize("strict", [True, False])
def test_a_body_that_is_no_answer_is_a_bad_answer(name: str, strict: bool) -> None:
    with pytest.raises(BadAnswer):
        CHAT_TO_GEMINI.response(call(strict=strict), JUNK[name])


# -- errors

QUOTA = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "x"}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
        ],
    }
}


def test_an_error_keeps_its_status_words_and_the_time_to_come_back() -> None:
    for body in (QUOTA, [QUOTA]):
        error = CHAT_TO_GEMINI.error(429, {}, json.dumps(body).encode())
        assert (error.kind, error.status, error.type, error.code) == (
            Kind.RATE_LIMITED,
            429,
            "RESOURCE_EXHAUSTED",
            "429",
        )
        assert error.message == "You exceeded your current quota."
        assert error.retry_after == 34.4


def test_a_wrong_key_is_known_by_its_reason() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    body = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": details}}
    error = CHAT_TO_GEMINI.error(400, {}, json.dumps(body).encode())
    assert (error.kind, error.status) == (Kind.UNAUTHENTICATED, 400)


@pytest.mark.parametrize("body", [b"", b"<html><title>Bad gateway</title>", b"[]", b"[1]", b'{"error":"no"}', b"\xff"])
def test_any_error_body_gives_an_error(body: bytes) -> None:
    error = CHAT_TO_GEMINI.error(503, {}, body)
    assert (error.kind, error.status) == (Kind.OVERLOADED, 503)
    assert error.message
