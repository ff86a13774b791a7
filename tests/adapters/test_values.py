"""Values far out of the usual range arrive as they are or are named: nothing is clamped, or lost in silence."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from adapters.capabilities import PROBES
from adapters.errors import InvalidRequest
from adapters.registry import CODECS
from adapters.types import Call, Dialect

STOPS = [f"stop {number}" for number in range(20)]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}

FAR_OUT: dict[Dialect, dict[str, Any]] = {
    Dialect.OPENAI_CHAT: {
        "temperature": 1.9,
        "top_p": 0.987,
        "max_tokens": 987_654,
        "max_completion_tokens": 987_654,
        "seed": 987_654_321_987,
        "n": 127,
        "stop": STOPS,
        "frequency_penalty": -1.97,
        "presence_penalty": 1.97,
        "top_k": 987,
        "top_logprobs": 97,
        "user": "u" * 600,
        "safety_identifier": "u" * 600,
        "metadata": {f"key{number}": f"value {number}" for number in range(40)},
        "service_tier": "unheard-of",
        "verbosity": "unheard-of",
        "parallel_tool_calls": False,
        "logit_bias": {"50256": -99},
        "prompt_cache_key": "k" * 600,
        "thinking.budget_tokens": 987_654,
    },
    Dialect.OPENAI_COMPLETIONS: {
        "temperature": 1.9,
        "top_p": 0.987,
        "max_tokens": 987_654,
        "seed": 987_654_321_987,
        "n": 127,
        "stop": STOPS,
        "frequency_penalty": -1.97,
        "presence_penalty": 1.97,
        "best_of": 97,
        "user": "u" * 600,
        "metadata": {"key": "value"},
        "suffix": "the end",
        "logprobs": 97,
    },
    Dialect.OPENAI_RESPONSES: {
        "temperature": 1.9,
        "top_p": 0.987,
        "max_output_tokens": 987_654,
        "top_logprobs": 97,
        "max_tool_calls": 97,
        "user": "u" * 600,
        "safety_identifier": "u" * 600,
        "metadata": {"key": "value"},
        "service_tier": "unheard-of",
        "truncation": "auto",
        "text": {"verbosity": "unheard-of"},
        "parallel_tool_calls": False,
        "tools": [{"type": "web_search", "external_web_access": "no", "search_context_size": "vast"}],
    },
    Dialect.ANTHROPIC_MESSAGES: {
        "temperature": 1.9,
        "top_p": 0.987,
        "top_k": 987,
        "max_tokens": 987_654,
        "stop_sequences": STOPS,
        "thinking.budget_tokens": 98_765,
        "metadata": {"user_id": "u" * 250},
        "service_tier": "unheard-of",
        "output_config": {"task_budget": 98_765},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    },
    Dialect.GEMINI_GENERATE: {
        "generationConfig.temperature": 1.9,
        "generationConfig.topP": 0.987,
        "generationConfig.topK": 987.5,
        "generationConfig.maxOutputTokens": 987_654,
        "generationConfig.candidateCount": 127,
        "generationConfig.stopSequences": STOPS,
        "generationConfig.seed": 987_654_321,
        "generationConfig.presencePenalty": 1.97,
        "generationConfig.frequencyPenalty": -1.97,
        "generationConfig.logprobs": 97,
        "generationConfig.thinkingConfig": {"thinkingBudget": 98_765},
        "generationConfig.responseMimeType": "text/x.enum",
        "generationConfig.responseSchema": {"type": "STRING", "maxLength": "987"},
        "generationConfig.responseModalities": ["SMELL"],
        "generationConfig.mediaResolution": "MEDIA_RESOLUTION_VAST",
        "serviceTier": "unheard-of",
        "safetySettings": [{"category": "unheard-of", "threshold": "BLOCK_MOST"}],
        "labels": {"key": "value"},
    },
    Dialect.OPENAI_EMBEDDINGS: {"dimensions": 98_765, "user": "u" * 600},
    Dialect.RERANK: {"top_n": 98_765, "max_chunks_per_doc": 98_765},
}
"""A value for each parameter, such that it cannot be taken for anything that the gateway would say itself."""

BASE: dict[Dialect, dict[str, Any]] = {
    **{client: base for client, (base, _, _) in PROBES.items()},
    Dialect.GEMINI_GENERATE: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    Dialect.RERANK: {"query": "hello", "documents": ["a", "b"]},
}
BESIDE: dict[tuple[Dialect, str], dict[str, Any]] = {
    (Dialect.OPENAI_CHAT, "parallel_tool_calls"): {"tools": [FUNCTION]},
    (Dialect.OPENAI_CHAT, "thinking.budget_tokens"): THINKING,
    (Dialect.ANTHROPIC_MESSAGES, "thinking.budget_tokens"): THINKING,
    (Dialect.OPENAI_CHAT, "top_logprobs"): {"logprobs": True},
    (Dialect.OPENAI_RESPONSES, "parallel_tool_calls"): {
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    },
    (Dialect.ANTHROPIC_MESSAGES, "tool_choice"): {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
}

MODELS = (
    "claude-sonnet-4-5",
    "claude-opus-4-1",
    "claude-opus-4-6",
    "claude-opus-5-5",
    "claude-3-5-haiku-latest",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3-pro-preview",
    "gemini-3-flash-preview",
    "gemini-2.0-flash",
    "amazon.nova-2-lite-v1:0",
    "amazon.nova-pro-v1:0",
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-opus-4-6-v1",
    "openai.gpt-oss-120b-1:0",
    "qwen.qwen3-32b-v1:0",
    "meta.llama3-3-70b-instruct-v1:0",
    "command-a-reasoning-08-2025",
    "magistral-medium-latest",
    "some-other-model",
)
"""One of every kind that some codec tells apart."""

PAIRS = [(client, up) for (client, up), codec in CODECS.items() if not codec.identity and client in FAR_OUT]


def sent(client: Dialect, upstream: Dialect, model: str, fields: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    body = msgspec.json.encode({"model": model, **fields})
    out = CODECS[client, upstream].request(Call(client, model, False, body, "id", 0, strict=False))
    return msgspec.json.decode(out.body), out.dropped


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for below in value.values() if isinstance(value, dict) else value:
            yield from leaves(below)
    else:
        yield value


def with_value(fields: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    head, _, rest = name.partition(".")
    return {**fields, head: with_value(fields.get(head, {}), rest, value) if rest else value}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@pytest.mark.parametrize("model", MODELS)
def test_a_value_far_out_arrives_as_it_is_or_is_named(client: Dialect, upstream: Dialect, model: str) -> None:
    for name, value in FAR_OUT[client].items():
        base = {**BASE[client], **BESIDE.get((client, name), {})}
        _, usual = sent(client, upstream, model, BASE[client])
        try:
            body, dropped = sent(client, upstream, model, with_value(base, name, value))
        except InvalidRequest:
            continue  # refused aloud
        there = list(leaves(body))
        arrived = all(wanted in there for wanted in leaves(value)) or told_otherwise(name, body)
        assert arrived or set(dropped) - set(usual), f"{name} was changed or lost in silence"


def told_otherwise(name: str, body: dict[str, Any]) -> bool:
    """Whether a value that has other words upstream is there in those."""
    if name == "parallel_tool_calls":
        return bool(body.get("tool_choice", {}).get("disable_parallel_tool_use"))
    if name == "tool_choice":
        return body.get("tool_choice") in ("required", "any") and body.get("parallel_tool_calls") is False
    return name == "generationConfig.responseModalities" and "smell" in body.get("modalities", ())


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def effort(client: Dialect, word: str) -> dict[str, Any]:
    if client is Dialect.OPENAI_RESPONSES:
        return {"reasoning": {"effort": word}}
    return {"output_config": {"effort": word}} if client is Dialect.ANTHROPIC_MESSAGES else {"reasoning_effort": word}


REASONING = (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("client", "upstream"), [pair for pair in PAIRS if pair[0] in REASONING])
def test_two_efforts_that_come_out_alike_are_not_both_unnamed(client: Dialect, upstream: Dialect, model: str) -> None:
    for limit in (1000, 2000, 10_000, None):
        base = dict(BASE[client])
        if limit is not None:
            base["max_output_tokens" if client is Dialect.OPENAI_RESPONSES else "max_tokens"] = limit
        _, usual = sent(client, upstream, model, base)
        told = {}
        for word in EFFORTS:
            body, dropped = sent(client, upstream, model, {**base, **effort(client, word)})
            if dropped == usual:
                told[word] = body
        for one, other in itertools.combinations(told, 2):
            assert told[one] != told[other], f"{one} and {other}, limit {limit}"


@pytest.mark.parametrize("model", [each for each in MODELS if "claude" in each])
@pytest.mark.parametrize("word", EFFORTS)
@pytest.mark.parametrize("limit", [None, 1025, 5000, 40_000])
def test_a_budget_leaves_room_for_an_answer_within_what_the_model_can_say(
    model: str, word: str, limit: int | None
) -> None:
    fields = {**BASE[Dialect.OPENAI_CHAT], "reasoning_effort": word, "max_tokens": limit}
    body, _ = sent(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, model, fields)
    usual, _ = sent(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, model, BASE[Dialect.OPENAI_CHAT])
    assert body["max_tokens"] == (limit or usual["max_tokens"])
    assert body.get("thinking", {}).get("budget_tokens", 0) < body["max_tokens"]


def test_thinking_that_is_kept_is_not_reported_as_an_effort_lost() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    fields = {**BASE[Dialect.ANTHROPIC_MESSAGES], **thinking}
    for upstream, model in (
        (Dialect.GEMINI_GENERATE, "gemini-2.5-flash"),
        (Dialect.COHERE_CHAT, "command-a-reasoning-08-2025"),
        (Dialect.BEDROCK_CONVERSE, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ):
        body, dropped = sent(Dialect.ANTHROPIC_MESSAGES, upstream, model, fields)
        assert 2048 in leaves(body)
        assert dropped == ()


def test_two_limits_that_disagree_are_not_both_kept_in_silence() -> None:
    fields = {**BASE[Dialect.OPENAI_CHAT], "max_tokens": 100, "max_completion_tokens": 200}
    for (client, upstream), codec in CODECS.items():
        if client is Dialect.OPENAI_CHAT and not codec.identity:
            body, dropped = sent(client, upstream, "some-model", fields)
            assert 200 in leaves(body)
            assert dropped == ("max_tokens",)
