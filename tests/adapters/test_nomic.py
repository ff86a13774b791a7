"""OpenAI's embeddings on Nomic: what it is asked, what its answer becomes, what it says in error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.embeddings import packed
from adapters.errors import BadAnswer, InvalidRequest, Kind
from adapters.registry import codec
from adapters.types import Call, Dialect, Usage

NOMIC = codec(Dialect.OPENAI_EMBEDDINGS, Dialect.NOMIC_EMBED)
ANSWER = b'{"embeddings":[[0.5,-1.0],[0.25,2.0]],"usage":{"prompt_tokens":9,"total_tokens":9},"model":"m"}'


def call(**fields: Any) -> Call:
    body = json.dumps({"model": "nomic-embed-text-v1.5", "input": ["a", "b"], **fields}).encode()
    return Call(Dialect.OPENAI_EMBEDDINGS, "nomic-embed-text-v1.5", False, body, "id", 0)


def test_a_request_is_texts_in_nomics_words() -> None:
    sent = NOMIC.request(call(dimensions=256, task_type="search_query", encoding_format="base64", user="u"))
    assert json.loads(sent.body) == {
        "model": "nomic-embed-text-v1.5",
        "texts": ["a", "b"],
        "dimensionality": 256,
        "task_type": "search_query",
    }
    assert sent.dropped == ("user",)


def test_an_answer_has_a_vector_for_each_text_and_its_tokens() -> None:
    reply = NOMIC.response(call(), ANSWER)
    answer = json.loads(reply.body)
    assert [each["embedding"] for each in answer["data"]] == [[0.5, -1.0], [0.25, 2.0]]
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert reply.usage == Usage(9)
    packed_too = json.loads(NOMIC.response(call(encoding_format="base64"), ANSWER).body)
    assert packed_too["data"][1]["embedding"] == packed([0.25, 2.0])


@pytest.mark.parametrize("given", [[1, 2], [{"image": "https://example.com/a.png"}]])
def test_what_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest):
        NOMIC.request(call(input=given))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"embeddings":[[1]]}', b'{"data":[]}', b"\xff"])
def test_an_answer_without_them_is_a_bad_one(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        NOMIC.response(call(), body)


def test_an_error_keeps_its_message() -> None:
    error = NOMIC.error(401, {}, b'{"detail":"Invalid API key"}')
    assert (error.kind, error.message) == (Kind.UNAUTHENTICATED, "Invalid API key")
