from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters.embeddings import packed
from adapters.errors import BadAnswer, InvalidRequest
from adapters.gemini_client.embeddings import BATCH_TO_EMBEDDINGS, EMBED_TO_EMBEDDINGS
from adapters.google_embeddings import EMBEDDINGS_TO_BATCH, EMBEDDINGS_TO_PREDICT, RENAMED_EMBEDDINGS
from adapters.registry import codec
from adapters.types import Call, Dialect, Headed, Usage


def call(body: Any, model: str = "m") -> Call:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(Dialect.OPENAI_EMBEDDINGS, model, False, raw, "i", 1)


def test_n_inputs_are_n_requests_and_n_vectors() -> None:
    asked = call({"input": ["a", "b"], "dimensions": 2, "task_type": "RETRIEVAL_QUERY", "user": "u"})
    sent = EMBEDDINGS_TO_BATCH.request(asked)
    each = {"model": "models/m", "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}
    assert json.loads(sent.body) == {
        "requests": [{**each, "content": {"parts": [{"text": text}]}} for text in ("a", "b")]
    }
    assert sent.dropped == ("user",)
    body = {"embeddings": [{"values": [1.0, 2.0]}, {"values": [3.0, 4.0]}], "usageMetadata": {"promptTokenCount": 9}}
    reply = EMBEDDINGS_TO_BATCH.response(asked, json.dumps(body).encode())
    assert [each["embedding"] for each in json.loads(reply.body)["data"]] == [[1.0, 2.0], [3.0, 4.0]]
    assert reply.usage == Usage(9)


def test_vectors_come_in_base64_where_the_client_asked_for_it() -> None:
    asked = call({"input": "a", "encoding_format": "base64"})
    reply = EMBEDDINGS_TO_BATCH.response(asked, b'{"embeddings":[{"values":[0.5]}]}')
    assert json.loads(reply.body)["data"][0]["embedding"] == packed([0.5])


def test_a_missing_vector_is_a_bad_answer() -> None:
    for body in (b'{"embeddings":[]}', b"{}", b"<html>"):
        with pytest.raises(BadAnswer):
            EMBEDDINGS_TO_BATCH.response(call({"input": "a"}), body)


def test_models_that_take_one_input_get_one_call_each() -> None:
    asked = call({"input": ["a", "b"]}, "gemini-embedding-001")
    sent = EMBEDDINGS_TO_PREDICT.request(asked)
    assert [json.loads(body)["instances"] for body in (sent.body, *sent.more)] == [
        [{"content": "a"}],
        [{"content": "b"}],
    ]
    bodies = [
        b'{"predictions":[{"embeddings":{"values":[1.0],"statistics":{"token_count":2,"truncated":false}}}]}',
        b'{"predictions":[{"embeddings":{"values":[2.0],"statistics":{"token_count":3,"truncated":false}}}]}',
    ]
    reply = EMBEDDINGS_TO_PREDICT.combined(asked, bodies)
    assert [each["embedding"] for each in json.loads(reply.body)["data"]] == [[1.0], [2.0]]
    assert reply.usage == Usage(5)


def test_pictures_go_to_the_multimodal_model() -> None:
    picture = {"image": {"url": "data:image/png;base64,AAAA"}}
    asked = call({"input": ["a", picture], "dimensions": 128}, "multimodalembedding@001")
    sent = EMBEDDINGS_TO_PREDICT.request(asked)
    assert [json.loads(body) for body in (sent.body, *sent.more)] == [
        {"instances": [each], "parameters": {"dimension": 128}}
        for each in ({"text": "a"}, {"image": {"bytesBase64Encoded": "AAAA"}})
    ]
    for item in ({"image": "https://x.test/a"}, {"text": "would get a vector of its own", **picture}):
        with pytest.raises(InvalidRequest):
            EMBEDDINGS_TO_PREDICT.request(call({"input": [item]}))


BATCH = {
    "requests": [
        {"model": "models/x", "content": {"parts": [{"text": "a"}, {"text": "b"}]}, "output_dimensionality": 3},
        {"content": {"parts": [{"text": "c"}]}, "taskType": "CLUSTERING"},
    ]
}


def test_googles_clients_reach_openais_embeddings() -> None:
    sent = BATCH_TO_EMBEDDINGS.request(call(BATCH))
    assert json.loads(sent.body) == {"model": "m", "input": ["a\nb", "c"]}
    assert sent.dropped == ("requests[].outputDimensionality", "requests[].taskType")
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": packed([1.0])}]
    body = json.dumps({"data": data, "usage": {"prompt_tokens": 3}}).encode()
    assert json.loads(BATCH_TO_EMBEDDINGS.response(call(BATCH), body).body) == {
        "embeddings": [{"values": [1.0]}, {"values": [2.0]}],
        "usageMetadata": {"promptTokenCount": 3},
    }
    single = EMBED_TO_EMBEDDINGS.request(call({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}))
    assert json.loads(single.body) == {"model": "m", "input": ["a"], "dimensions": 3}
    made = json.loads(EMBED_TO_EMBEDDINGS.response(call({}), body).body)
    assert made["embedding"] == {"values": [1.0]}


@pytest.mark.parametrize(
    ("upstream", "sent", "dropped", "answer"),
    [
        (
            Dialect.COHERE_EMBED,
            {"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 3},
            "title",
            {"embeddings": {"float": [[1.0], [2.0]]}, "meta": {"billed_units": {"input_tokens": 4}}},
        ),
        (
            Dialect.BEDROCK_COHERE_EMBEDDINGS,
            {"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 3},
            "title",
            {"embeddings": [[1.0], [2.0]]},
        ),
        (
            Dialect.NOMIC_EMBED,
            {"texts": ["a", "b"], "task_type": "RETRIEVAL_QUERY", "dimensionality": 3},
            "title",
            {"embeddings": [[1.0], [2.0]], "usage": {"total_tokens": 4}},
        ),
        (
            Dialect.VERTEX_PREDICT,
            {"instances": [{"content": text, "task_type": "RETRIEVAL_QUERY", "title": "t"} for text in "ab"]},
            "",
            {"predictions": [{"embeddings": {"values": [n], "statistics": {"token_count": 2}}} for n in (1.0, 2.0)]},
        ),
    ],
)
def test_googles_clients_reach_any_providers_embeddings(
    upstream: Dialect, sent: dict[str, Any], dropped: str, answer: dict[str, Any]
) -> None:
    more = {"taskType": "RETRIEVAL_QUERY", "title": "t", "outputDimensionality": 3}
    asked = call({"requests": [{"content": {"parts": [{"text": text}]}, **more} for text in "ab"]})
    made = codec(Dialect.GEMINI_BATCH_EMBED, upstream)
    out = made.request(asked)
    assert json.loads(out.body).items() >= sent.items()
    assert out.dropped == ((f"requests[].{dropped}",) if dropped else ())
    asked = msgspec.structs.replace(asked, middle=out.middle, counted=4)
    reply = made.response(asked, json.dumps(answer).encode())
    assert (reply.usage, [each["values"] for each in json.loads(reply.body)["embeddings"]]) == (
        Usage(4),
        [[1.0], [2.0]],
    )
    assert isinstance(made, Headed) == (upstream is Dialect.BEDROCK_COHERE_EMBEDDINGS)


def test_what_googles_clients_embed_is_never_lost_in_silence() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "_-8="}}
    asked = call({"content": {"parts": [{"text": "a"}, picture], "role": "user"}, "extra": 1, "title": None})
    for upstream in (Dialect.COHERE_EMBED, Dialect.BEDROCK_TITAN_EMBEDDINGS):
        sent = codec(Dialect.GEMINI_EMBED, upstream).request(asked)
        assert b"/+8=" in sent.body
        assert sent.dropped == ("extra",)
    for upstream in (Dialect.NOMIC_EMBED, Dialect.BEDROCK_COHERE_EMBEDDINGS, Dialect.VERTEX_PREDICT):
        with pytest.raises(InvalidRequest) as refused:
            codec(Dialect.GEMINI_EMBED, upstream).request(asked)
        assert refused.value.param == "content"
    for part in ({"fileData": {"mimeType": "text/plain", "fileUri": "gs://a/b"}}, {"functionCall": {"name": "f"}}, {}):
        body = {"requests": [{"content": {"parts": [{"text": "a"}, part]}}]}
        if "fileData" in part:
            with pytest.raises(InvalidRequest):
                BATCH_TO_EMBEDDINGS.request(call(body))
        else:
            named = tuple(f"requests[].content.parts[].{name}" for name in part)
            assert BATCH_TO_EMBEDDINGS.request(call(body)).dropped == named
    with pytest.raises(InvalidRequest) as too_many:
        codec(Dialect.GEMINI_BATCH_EMBED, Dialect.BEDROCK_TITAN_EMBEDDINGS).request(
            call({"requests": [{"content": {"parts": [{"text": "a"}]}}] * 97})
        )
    assert too_many.value.param == "requests[].content"


def test_a_batch_for_google_names_the_model_of_the_path_and_is_otherwise_untouched() -> None:
    right = b'{ "requests":[{"model":"models/m", "content":{"parts":[{"text":"\\u0041"}]}}] }'
    assert RENAMED_EMBEDDINGS.request(call(right)).body == right
    made = json.loads(RENAMED_EMBEDDINGS.request(call(BATCH)).body)
    assert [each["model"] for each in made["requests"]] == ["models/m", "models/m"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"requests":5}', b'{"requests":[]}', b'{"requests":[{"content":5}]}'])
def test_junk_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        BATCH_TO_EMBEDDINGS.request(call(body))
