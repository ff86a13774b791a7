"""The finer counts that prices differ by, read from answers that pass through untouched."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters import counting, observe
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.types import Call, Dialect, Rare, Usage

OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5, "audio_tokens": 7, "image_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 9, "image_tokens": None},
}
ANTHROPIC = {
    "input_tokens": 10,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 7,
    "service_tier": "batch",
}
EXPECTED_OPENAI = Usage(100, 50, 10, 5, 20, audio_input=7, audio_output=9, image_input=3, image_output=0, tier="flex")
EXPECTED_ANTHROPIC = Usage(45, 7, 5, 30, cache_write_1h=20, tier="batch")


def test_openais_details_and_tier_are_read() -> None:
    body = json.dumps({"id": "x", "usage": OPENAI, "service_tier": "flex"}).encode()
    assert counting.usage_of(body) == EXPECTED_OPENAI


@pytest.mark.parametrize("name", ["prompt_cache_hit_tokens", "cached_tokens"])
def test_cached_tokens_that_have_no_details_are_read(name: str) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, name: 80}
    assert counting.usage_of(json.dumps({"usage": usage}).encode()) == Usage(100, 50, 80)
    thought = usage | {"completion_tokens_details": {"reasoning_tokens": 20}}
    assert counting.usage_of(json.dumps({"usage": thought}).encode()) == Usage(100, 50, 80, reasoning=20)


def test_anthropics_details_and_tier_are_read() -> None:
    assert counting.usage_of(json.dumps({"usage": ANTHROPIC}).encode()) == EXPECTED_ANTHROPIC


def test_what_is_charged_by_the_piece_is_read() -> None:
    searched = ANTHROPIC | {"server_tool_use": {"web_search_requests": 2}}
    assert counting.usage_of(json.dumps({"usage": searched}).encode()) == msgspec.structs.replace(
        EXPECTED_ANTHROPIC, rare=Rare(searches=2)
    )
    tap = observe.Tap(Dialect.ANTHROPIC_MESSAGES)
    start = {"type": "message_start", "message": {"usage": ANTHROPIC | {"output_tokens": 1}}}
    end = {"type": "message_delta", "usage": {"output_tokens": 7, "server_tool_use": {"web_search_requests": 2}}}
    for event in (start, end):
        tap.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    assert tap.usage() == msgspec.structs.replace(EXPECTED_ANTHROPIC, rare=Rare(searches=2))
    heard = {"text": "hi", "usage": {"type": "duration", "seconds": 9}}
    assert counting.usage_of(json.dumps(heard).encode()) == Usage(rare=Rare(seconds=9))
    counted = {"input_tokens": 14, "output_tokens": 45, "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}
    assert counting.usage_of(json.dumps({"usage": counted}).encode()) == Usage(14, 45, audio_input=14)


STEP = {"type": "message", "input_tokens": 10, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 20}}
LATER: list[tuple[dict[str, Any], Usage]] = [
    # What searches bring is input of the next step: only the last count has all of it.
    (
        {"input_tokens": 900, "cache_read_input_tokens": 40, "output_tokens": 7},
        Usage(970, 7, 40, 30, cache_write_1h=20, tier="batch"),
    ),
    # A compaction is in no sum.
    (
        {"output_tokens": 7, "iterations": [{**STEP, "type": "compaction", "cache_read_input_tokens": 3}, STEP]},
        Usage(58, 9, 8, 30, cache_write_1h=40, tier="batch"),
    ),
    # Another model's steps have prices of their own.
    (
        {"output_tokens": 7, "iterations": [STEP, {**STEP, "type": "advisor_message", "model": "another"}]},
        msgspec.structs.replace(EXPECTED_ANTHROPIC, rare=Rare(uncounted=True)),
    ),
    # Answers of a dearer kind.
    ({"output_tokens": 7, "speed": "fast"}, msgspec.structs.replace(EXPECTED_ANTHROPIC, tier="fast")),
    (
        {"output_tokens": 7, "inference_geo": "us", "server_tool_use": {"web_search_requests": 2}},
        msgspec.structs.replace(EXPECTED_ANTHROPIC, rare=Rare(searches=2, region="us")),
    ),
    ({"output_tokens": 7, "inference_geo": "global", "speed": "standard"}, EXPECTED_ANTHROPIC),
]


@pytest.mark.parametrize(("later", "expected"), LATER, ids=range(len(LATER)))
def test_what_anthropic_tells_of_at_the_end_or_beside_its_sums_is_counted(
    later: dict[str, Any], expected: Usage
) -> None:
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": ANTHROPIC | {"output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": later}
    stream = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (start, end))
    tap = observe.tap(Dialect.ANTHROPIC_MESSAGES)
    tap.feed(stream)
    assert tap.usage() == expected
    decoder = CHAT_TO_MESSAGES.stream(Call(Dialect.OPENAI_CHAT, "c", True, b"{}", "1", 0))
    decoder.feed(stream)
    assert decoder.usage == expected
    assert counting.usage_of(json.dumps({"usage": ANTHROPIC | later}).encode()) == expected


def test_a_stream_tells_the_same() -> None:
    tap = observe.Tap(Dialect.OPENAI_CHAT)
    chunk = {"choices": [], "service_tier": "flex", "usage": OPENAI}
    tap.feed(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
    assert tap.usage() == EXPECTED_OPENAI
    tap = observe.Tap(Dialect.ANTHROPIC_MESSAGES)
    start = {"type": "message_start", "message": {"usage": ANTHROPIC | {"output_tokens": 1}}}
    tap.feed(b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n")
    tap.feed(b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":7}}\n\n')
    assert tap.usage() == EXPECTED_ANTHROPIC


def test_a_tier_inside_the_answers_text_is_no_tier() -> None:
    tap = observe.Tap(Dialect.OPENAI_CHAT)
    said = {"choices": [{"delta": {"content": '"service_tier": "flex"'}}]}
    tap.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
    tap.feed(b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n')
    assert tap.usage() == Usage(1, 2)


@pytest.mark.parametrize("dialect", [Dialect.OPENAI_CHAT, Dialect.GEMINI_GENERATE])
@pytest.mark.parametrize("count", [b"[" * 1900 + b"]" * 1900, b'"\xff"', b"9" * 400, b'"many"'], ids=range(4))
def test_a_count_that_nobody_can_read_is_none(dialect: Dialect, count: bytes) -> None:
    tap = observe.tap(dialect)
    tap.feed(b'data: {"usage":{"prompt_tokens":%b},"usageMetadata":{"promptTokenCount":%b}}\n\n' % (count, count))
    assert tap.usage() is None
