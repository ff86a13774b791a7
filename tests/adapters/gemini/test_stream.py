from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from adapters.errors import Kind
from adapters.gemini import CHAT_TO_GEMINI
from adapters.types import Usage
from tests.adapters.gemini.script import answer, call, chunks, part, run, sse

TEXT = sse(part({"text": "Hel"}), part({"text": 'lo ž"\n'}), answer({"text": ""}))
TOOLS = sse(
    part({"text": "Hm", "thought": True}),
    part({"text": "Looking."}),
    part({"functionCall": {"name": "f", "args": {"x": 1.5}}, "thoughtSignature": "s1"}),
    part({"functionCall": {"name": "g", "args": {}, "id": "theirs"}}),
    answer({"text": "", "thoughtSignature": "s2"}, groundingMetadata={}),
)
OTHER = sse(
    part({"executableCode": {"language": "PYTHON", "code": "1"}}),
    part({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}),
    part({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
    answer({"text": "Yes"}),
)
TWO = sse(part({"text": "a"}), part({"text": "b"}, index=1), answer({"text": "c"}), answer({"text": "d"}, index=1))
ERROR = sse(
    part({"text": "Hel"}),
    {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}},
    part({"text": "lo"}),
)
BLOCKED = sse({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
STREAMS = {"text": TEXT, "tools": TOOLS, "other": OTHER, "two": TWO, "error": ERROR, "blocked": BLOCKED}


def deltas(found: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in found if chunk != "[DONE]" and chunk["choices"]]


def finishes(found: list[Any]) -> list[str]:
    reasons = [each["finish_reason"] for chunk in found if chunk != "[DONE]" for each in chunk["choices"]]
    return [reason for reason in reasons if reason is not None]


def test_text_becomes_chunks_that_end_with_done() -> None:
    decoder = CHAT_TO_GEMINI.stream(call())
    found = chunks(run(decoder, TEXT))
    assert deltas(found) == [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": 'lo ž"\n'}, {}]
    assert finishes(found) == ["stop"]
    assert found[-1] == "[DONE]"
    assert found[0]["id"] == "resp_1"
    assert decoder.error is None
    assert decoder.usage == Usage(10, 34, 6, 0, 30)
    for chunk in found[:-1]:
        ChatCompletionChunk.model_validate(chunk)


def test_usage_is_told_to_those_who_ask() -> None:
    found = chunks(run(CHAT_TO_GEMINI.stream(call(stream_options={"include_usage": True})), TEXT))
    assert all(chunk["usage"] is None for chunk in found[:-2])
    assert found[-2]["choices"] == []
    assert found[-2]["usage"]["completion_tokens"] == 34


def test_parallel_calls_have_indexes_and_ids_of_their_own() -> None:
    found = chunks(run(CHAT_TO_GEMINI.stream(call()), TOOLS))
    calls = [each["tool_calls"] for each in deltas(found) if "tool_calls" in each]
    assert calls == [
        [
            {
                "index": 0,
                "id": f"call_{'f' * 24}_0",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x": 1.5}'},
            }
        ],
        [{"index": 1, "id": "theirs", "type": "function", "function": {"name": "g", "arguments": "{}"}}],
    ]
    assert finishes(found) == ["tool_calls"]


def folded(found: list[Any]) -> list[Any]:
    blocks: list[dict[str, Any]] = []
    for each in deltas(found):
        for block in each.get("content_blocks", []):
            if block["index"] == len(blocks):
                blocks.append({})
            for name, value in block["delta"].items():
                old = blocks[block["index"]].get(name)
                grows = name in ("text", "thinking") and old is not None
                blocks[block["index"]][name] = old + value if grows else value
    return blocks


@pytest.mark.parametrize("name", ["text", "tools", "other"])
def test_a_stream_tells_the_blocks_of_the_whole_answer(name: str) -> None:
    events = [json.loads(event[6:]) for event in STREAMS[name].split(b"\r\n\r\n") if event]
    parts = [each for event in events for each in event["candidates"][0]["content"]["parts"]]
    whole = json.loads(CHAT_TO_GEMINI.response(call(strict=False), json.dumps(answer(*parts)).encode()).body)
    found = chunks(run(CHAT_TO_GEMINI.stream(call(strict=False)), STREAMS[name]))
    message = whole["choices"][0]["message"]
    assert folded(found) == message["content_blocks"]
    assert "".join(each.get("content") or "" for each in deltas(found)) == (message["content"] or "")
    assert finishes(found) == [whole["choices"][0]["finish_reason"]]


def test_every_candidate_is_a_choice_with_its_own_finish() -> None:
    found = chunks(run(CHAT_TO_GEMINI.stream(call()), TWO))
    said: dict[int, str] = {}
    for chunk in found[:-1]:
        for choice in chunk["choices"]:
            said[choice["index"]] = said.get(choice["index"], "") + (choice["delta"].get("content") or "")
    assert said == {0: "ac", 1: "bd"}
    assert finishes(found) == ["stop", "stop"]


def test_a_refused_prompt_ends_filtered() -> None:
    assert finishes(chunks(run(CHAT_TO_GEMINI.stream(call()), BLOCKED))) == ["content_filter"]


def test_an_error_ends_the_stream_after_what_came_before() -> None:
    for data in (ERROR, sse(part({"text": "Hel"})) + b'data: [{"error":{"code":503,"status":"UNAVAILABLE"}}]\n\n'):
        decoder = CHAT_TO_GEMINI.stream(call())
        found = chunks(run(decoder, data))
        assert deltas(found)[-1] == {"content": "Hel"}
        assert "[DONE]" not in found
        assert decoder.error is not None
        assert (decoder.error.kind, decoder.error.status) == (Kind.OVERLOADED, 503)


def test_places_of_citations_are_characters_of_the_whole_text() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": 4, "endIndex": 9}, "groundingChunkIndices": [0]}],
    }
    data = sse(part({"text": "né. "}), answer({"text": "Paris"}, groundingMetadata=grounding))
    found = deltas(chunks(run(CHAT_TO_GEMINI.stream(call(tools=[{"type": "google_search"}])), data)))
    cited = next(each["annotations"] for each in found if "annotations" in each)[0]["url_citation"]
    assert (cited["start_index"], cited["end_index"]) == (3, 8)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_may_be_cut_at_every_byte(name: str, strict: bool) -> None:
    data = STREAMS[name]
    whole = CHAT_TO_GEMINI.stream(call(strict=strict))
    expected = run(whole, data)
    for at in range(len(data)):
        decoder = CHAT_TO_GEMINI.stream(call(strict=strict))
        assert run(decoder, data[:at], data[at:]) == expected
        assert (decoder.usage, decoder.error) == (whole.usage, whole.error)


@pytest.mark.parametrize("name", ["text", "tools", "two"])
def test_a_stream_that_ends_early_is_never_made_to_look_complete(name: str) -> None:
    data = STREAMS[name]
    for at in range(data.rindex(b"finishReason")):
        decoder = CHAT_TO_GEMINI.stream(call())
        out = run(decoder, data[:at])
        assert decoder.error is not None
        assert b"[DONE]" not in out
        assert finishes(chunks(out)) == []


@given(st.binary(max_size=300))
def test_junk_never_raises(data: bytes) -> None:
    for each in (data, b"data: " + data + b"\n\n", TEXT[: len(data)] + data):
        decoder = CHAT_TO_GEMINI.stream(call(strict=False))
        run(decoder, each)
        assert decoder.feed(TEXT) == b""
