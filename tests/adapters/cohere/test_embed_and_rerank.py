"""Embeddings and ranking on Cohere, and ranking on Voyage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters import embeddings
from adapters.cohere import EMBEDDINGS_TO_EMBED, RERANK_TO_COHERE
from adapters.errors import BadAnswer, InvalidRequest
from adapters.rerank import RERANK_TO_VOYAGE
from adapters.types import Call, Dialect, Rare, Usage


def call(**body: Any) -> Call:
    return Call(Dialect.OPENAI_EMBEDDINGS, "m", False, json.dumps({"model": "x", **body}).encode(), "id", 0)


VECTORS = {"id": "1", "embeddings": {"float": [[0.5, 1.0], [2.0, 3.0]]}, "meta": {"billed_units": {"input_tokens": 10}}}


def test_texts_become_vectors_in_either_encoding() -> None:
    asked = call(input=["a", "b"], dimensions=2, input_type="search_query", user="u")
    outbound = EMBEDDINGS_TO_EMBED.request(asked)
    assert json.loads(outbound.body) == {
        "model": "m",
        "embedding_types": ["float"],
        "input_type": "search_query",
        "texts": ["a", "b"],
        "output_dimension": 2,
    }
    assert outbound.dropped == ("user",)
    reply = EMBEDDINGS_TO_EMBED.response(asked, json.dumps(VECTORS).encode())
    assert [each["embedding"] for each in json.loads(reply.body)["data"]] == [[0.5, 1.0], [2.0, 3.0]]
    assert reply.usage == Usage(10)
    asked = call(input=["a", "b"], encoding_format="base64")
    data = json.loads(EMBEDDINGS_TO_EMBED.response(asked, json.dumps(VECTORS).encode()).body)["data"]
    assert [embeddings.unpacked(each["embedding"]) for each in data] == [[0.5, 1.0], [2.0, 3.0]]


def test_images_are_embedded_too() -> None:
    made = json.loads(EMBEDDINGS_TO_EMBED.request(call(input=["a", {"image": {"url": "https://x"}}])).body)
    assert made["inputs"] == [
        {"content": [{"type": "text", "text": "a"}]},
        {"content": [{"type": "image_url", "image_url": {"url": "https://x"}}]},
    ]


@pytest.mark.parametrize("given", [[1, 2], [{"video": {"url": "https://x"}}]])
def test_what_cannot_be_embedded_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest):
        EMBEDDINGS_TO_EMBED.request(call(input=given))


@pytest.mark.parametrize("body", [b"{}", b'{"embeddings":[[1]]}', json.dumps(VECTORS).encode()])
def test_vectors_that_are_not_one_for_each_input_are_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        EMBEDDINGS_TO_EMBED.response(call(input="a"), body)


ASK: dict[str, Any] = {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 2, "return_documents": True}
RESULTS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
MADE = [
    {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}},
    {"index": 0, "relevance_score": 0.1, "document": {"text": "a"}},
]


def test_a_ranking_by_cohere() -> None:
    outbound = RERANK_TO_COHERE.request(call(**ASK, max_tokens_per_doc=9, other=1))
    assert json.loads(outbound.body) == {
        "model": "m",
        "query": "q",
        "documents": ["a", "b"],
        "top_n": 2,
        "max_tokens_per_doc": 9,
    }
    assert outbound.dropped == ("other",)
    body = {"id": "r1", "results": RESULTS, "meta": {"billed_units": {"search_units": 1}}}
    reply = RERANK_TO_COHERE.response(call(**ASK), json.dumps(body).encode())
    assert json.loads(reply.body) == {"id": "r1", "model": "m", "results": MADE, "usage": {"search_units": 1}}
    assert reply.usage == Usage(rare=Rare(searches=1))


def test_a_ranking_by_voyage() -> None:
    sent = json.loads(RERANK_TO_VOYAGE.request(call(**ASK)).body)
    assert sent == {"model": "m", "query": "q", "documents": ["a", "b"], "top_k": 2}
    body = {"object": "list", "data": RESULTS, "usage": {"total_tokens": 26}}
    reply = RERANK_TO_VOYAGE.response(call(**ASK), json.dumps(body).encode())
    assert json.loads(reply.body) == {"id": "rerank-id", "model": "m", "results": MADE, "usage": {"total_tokens": 26}}
    assert reply.usage == Usage(26)


def test_documents_are_repeated_only_where_asked_for() -> None:
    asked = call(**{**ASK, "return_documents": False})
    made = json.loads(RERANK_TO_COHERE.response(asked, json.dumps({"results": RESULTS}).encode()).body)
    assert made["results"] == RESULTS


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"results":[{"index":7,"relevance_score":1}]}'])
def test_what_is_no_ranking_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        RERANK_TO_COHERE.response(call(**ASK), body)


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"documents": []}, "documents"), ({"documents": [1]}, "documents[0]"), ({"query": 1}, "query")],
)
def test_what_cannot_be_ranked_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RERANK_TO_COHERE.request(call(**{**ASK, **fields}))
    assert refused.value.param == path
