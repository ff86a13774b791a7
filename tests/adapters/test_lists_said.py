"""What of vectors, rankings and texts of Anthropic's first API reaches no client is named; an ordinary answer names
nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec, unsaid
from adapters.types import Call, Dialect

EMBED = {"input": ["a"]}
RANK = {"query": "q", "documents": ["a"]}
BILLED = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 3.0}}
RANKED = {"results": [{"index": 0, "relevance_score": 0.5}]}
STATISTICS = {"token_count": 2, "truncated": False}
TEXT = {"prompt": "a", "max_tokens": 9}

CASES: list[tuple[Dialect, Dialect, dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.COHERE_EMBED, EMBED),
        {"id": "1", "embeddings": {"float": [[1.0]]}, "texts": ["a"], "meta": BILLED, "response_type": "embeddings"},
        {"meta": {**BILLED, "warnings": ["soon gone"]}},
        "meta.warnings",
    ),
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.BEDROCK_COHERE_EMBEDDINGS, EMBED),
        {"id": "1", "embeddings": [[1.0]], "texts": ["a"], "response_type": "embeddings_floats"},
        {"meta": {"warnings": ["soon gone"]}},
        "meta",
    ),
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.BEDROCK_TITAN_EMBEDDINGS, EMBED),
        {"embedding": [1.0], "embeddingsByType": {"float": [1.0]}, "inputTextTokenCount": 2},
        {"message": "cut"},
        "message",
    ),
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.NOMIC_EMBED, EMBED),
        {"embeddings": [[1.0]], "usage": {"prompt_tokens": 2, "total_tokens": 2}, "model": "m"},
        {"usage": {"total_tokens": 2, "images": 1}},
        "usage.images",
    ),
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.GEMINI_BATCH_EMBED, EMBED),
        {
            "embeddings": [{"values": [1.0]}],
            "usageMetadata": {"promptTokenCount": 2, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}]},
        },
        {"embeddings": [{"values": [1.0], "statistics": {"truncated": True}}]},
        "embeddings[].statistics",
    ),
    (
        *(Dialect.OPENAI_EMBEDDINGS, Dialect.VERTEX_PREDICT, EMBED),
        {
            "predictions": [{"embeddings": {"values": [1.0], "statistics": STATISTICS}}],
            "metadata": {"billableCharacterCount": 1},
        },
        {"predictions": [{"embeddings": {"values": [1.0], "statistics": {**STATISTICS, "truncated": True}}}]},
        "predictions[].embeddings.statistics.truncated",
    ),
    (
        *(Dialect.RERANK, Dialect.COHERE_RERANK, RANK),
        {"id": "1", **RANKED, "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1.0}}},
        {"meta": {"warnings": ["soon gone"]}},
        "meta.warnings",
    ),
    (
        *(Dialect.RERANK, Dialect.VOYAGE_RERANK, RANK),
        {"object": "list", "data": RANKED["results"], "model": "m", "usage": {"total_tokens": 2}},
        {"notice": "soon gone"},
        "notice",
    ),
    (
        *(
            Dialect.GEMINI_BATCH_EMBED,
            Dialect.OPENAI_EMBEDDINGS,
            {"requests": [{"content": {"parts": [{"text": "a"}]}}]},
        ),
        {
            "object": "list",
            "model": "m",
            "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        },
        {"warning": "cut"},
        "warning",
    ),
    (
        *(Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_COMPLETE, TEXT),
        {"type": "completion", "completion": "Hi", "stop_reason": "stop_sequence", "stop": "\n\nHuman:", "id": "1"},
        {"stop": "END"},
        "stop",
    ),
    (
        *(Dialect.OPENAI_COMPLETIONS, Dialect.MISTRAL_FIM, TEXT),
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]},
        {"warning": "cut"},
        "warning",
    ),
]


@pytest.mark.parametrize(
    ("client", "upstream", "body", "usual", "more", "name"), CASES, ids=[f"{case[0]} on {case[1]}" for case in CASES]
)
def test_what_no_client_of_a_list_gets_is_named(
    client: Dialect, upstream: Dialect, body: dict[str, Any], usual: dict[str, Any], more: dict[str, Any], name: str
) -> None:
    model = "claude-2" if upstream is Dialect.ANTHROPIC_COMPLETE else "m"
    call = Call(client, model, False, json.dumps({"model": model, **body}).encode(), "id", 1)
    for answer, names in ((usual, ()), ({**usual, **more}, (name,))):
        raw = json.dumps(answer).encode()
        assert codec(client, upstream).response(call, raw).body
        assert unsaid(upstream, call, raw) == names
    if upstream is Dialect.ANTHROPIC_COMPLETE:
        machine = codec(client, upstream).stream(call)
        machine.feed(b"event: completion\ndata: %b\n\n" % json.dumps({**usual, **more}).encode())
        assert (machine.error, machine.unsaid) == (None, (name,))
