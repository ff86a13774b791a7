"""What cannot come along is named as the client knows it, however many codecs are on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.providers import PROVIDERS
from adapters.registry import codec
from adapters.types import Call, Dialect, in_words

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def dropped(client: Dialect, upstream: Dialect, model: str, body: dict[str, Any]) -> tuple[str, ...]:
    return codec(client, upstream).request(Call(client, model, False, json.dumps(body).encode(), "1", 1)).dropped


def gemini(**config: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config}


def messages(**fields: Any) -> dict[str, Any]:
    return {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


def responses(**fields: Any) -> dict[str, Any]:
    return {"input": "hi", **fields}


THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "google:c2ln"}
FUNCTION = {"name": "f", "parameters": SCHEMA}

CASES: list[tuple[Dialect, Dialect, str, dict[str, Any], tuple[str, ...]]] = [
    (
        Dialect.GEMINI_GENERATE,
        Dialect.ANTHROPIC_MESSAGES,
        "claude-sonnet-4-5",
        gemini(seed=1, candidateCount=2, presencePenalty=0.5, frequencyPenalty=0.5, responseLogprobs=True, logprobs=2),
        tuple(
            f"generationConfig.{name}"
            for name in (
                "candidateCount",
                "seed",
                "presencePenalty",
                "frequencyPenalty",
                "responseLogprobs",
                "logprobs",
            )
        ),
    ),
    (
        Dialect.GEMINI_GENERATE,
        Dialect.BEDROCK_CONVERSE,
        "amazon.nova-pro-v1:0",
        gemini(responseMimeType="application/json", responseSchema=SCHEMA, topK=5)
        | {"tools": [{"functionDeclarations": [FUNCTION]}]},
        (),
    ),
    (
        Dialect.GEMINI_GENERATE,
        Dialect.ANTHROPIC_MESSAGES,
        "claude-3-5-haiku-latest",
        gemini(thinkingConfig={"thinkingLevel": "high"}),
        ("generationConfig.thinkingConfig.thinkingLevel",),
    ),
    (
        Dialect.GEMINI_GENERATE,
        Dialect.ANTHROPIC_MESSAGES,
        "claude-3-5-haiku-latest",
        gemini(thinkingConfig={"thinkingBudget": 2048}),
        ("generationConfig.thinkingConfig.thinkingBudget",),
    ),
    (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.BEDROCK_CONVERSE,
        "amazon.nova-pro-v1:0",
        messages(
            output_config={"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
            metadata={"user_id": "u"},
            tools=[{"name": "f", "input_schema": SCHEMA}],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        ),
        ("metadata.user_id", "output_config.effort", "tool_choice.disable_parallel_tool_use"),
    ),
    (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.GEMINI_GENERATE,
        "gemini-2.5-flash",
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{**THOUGHT, "signature": "theirs"}, {"type": "text", "text": "a"}]},
                {"role": "user", "content": "hi"},
            ],
        },
        ("messages[].content[].thinking",),
    ),
    (
        Dialect.OPENAI_RESPONSES,
        Dialect.ANTHROPIC_MESSAGES,
        "claude-3-5-haiku-latest",
        responses(reasoning={"effort": "low"}, text={"verbosity": "low"}, top_logprobs=2),
        ("text.verbosity", "top_logprobs", "reasoning.effort"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} to {case[1]} {case[4][:1]}")
def test_a_chain_names_what_it_drops_in_the_clients_words(case: Any) -> None:
    client, upstream, model, body, names = case
    found = dropped(client, upstream, model, body)
    assert set(names) <= set(found), found
    assert not set(found) & {"seed", "n", "user", "reasoning_effort", "response_format", "verbosity", "logprobs"}


def test_a_name_is_changed_by_its_longest_known_beginning() -> None:
    words = ({"a[].b": "X", "a": "Y"}, {"a": "Z", "c": "W"})
    names = ("a[].b", "a[].b.c", "a[].c", "ab", "c[].d", "c", "e.a")
    assert in_words(words, names) == ("X", "X.c", "Y[].c", "ab", "W[].d", "W", "e.a")


def test_only_vertex_knows_names_of_files_in_googles_dialect() -> None:
    known = {
        row.name
        for row in PROVIDERS.values()
        if Dialect.GEMINI_GENERATE in row.quirks and row.quirks[Dialect.GEMINI_GENERATE].file_names
    }
    assert known == {"vertex-ai"}
