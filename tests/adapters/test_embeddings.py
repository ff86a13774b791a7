"""Embeddings: n inputs are n vectors, and a vector is the same numbers in either encoding."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import embeddings
from adapters.embeddings import TO_FLOATS, Item
from adapters.errors import BadAnswer, InvalidRequest
from adapters.types import Call, Dialect, Usage

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20)


def call(**body: Any) -> Call:
    raw = json.dumps({"model": "m", **body}).encode()
    return Call(Dialect.OPENAI_EMBEDDINGS, "m", False, raw, "id", 0)


@given(FLOATS)
def test_a_vector_survives_base64(vector: list[float]) -> None:
    assert embeddings.unpacked(embeddings.packed(vector)) == vector


def test_base64_is_little_endian_floats_of_32_bits() -> None:
    assert b64decode(embeddings.packed([1.0, -2.5])) == struct.pack("<2f", 1.0, -2.5)


@pytest.mark.parametrize("text", ["!", "AAA=", "AAAAAAA="])
def test_what_is_no_vector_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        embeddings.unpacked(text)


def test_a_number_too_large_for_32_bits_is_refused() -> None:
    with pytest.raises(BadAnswer):
        embeddings.packed([1e300])


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ("a", (Item("a"),)),
        (["a", "b"], (Item("a"), Item("b"))),
        ([{"text": "a"}], (Item("a"),)),
        ([{"image": {"base64": "AAAA"}}], (Item(image="data:image/png;base64,AAAA"),)),
        ([{"image": {"url": "https://x/y.png"}, "text": "a"}], (Item("a", "https://x/y.png"),)),
        ([{"video": {"url": "gs://b/v.mp4"}}], (Item(video="gs://b/v.mp4"),)),
    ],
)
def test_input_is_one_item_or_many(given: Any, items: tuple[Item, ...]) -> None:
    assert embeddings.read(call(input=given)).items == items


@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]], [], None, 7, [None], [{}], [{"text": 1}], [{"image": 1}]])
def test_other_input_is_refused_with_its_path(given: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        embeddings.read(call(input=given))
    assert (refused.value.param or "").startswith("input")


def test_known_fields_are_read_and_others_kept() -> None:
    wish = embeddings.read(call(input="a", encoding_format="base64", dimensions=3, user="u", extra=None))
    assert (wish.base64, wish.dimensions) == (True, 3)
    assert {name: bytes(value) for name, value in wish.rest.items()} == {"user": b'"u"'}
    with pytest.raises(InvalidRequest, match="no encoding"):
        embeddings.read(call(input="a", encoding_format="int8"))


def test_texts_are_told_from_other_items() -> None:
    assert embeddings.read(call(input=["a", "b"])).texts("Acme") == ["a", "b"]
    with pytest.raises(InvalidRequest) as refused:
        embeddings.read(call(input=["a", {"image": "https://x"}])).texts("Acme")
    assert refused.value.param == "input[1]"


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_every_input_has_its_vector_in_the_answer(encoding: str) -> None:
    asked = call(input=["a", "b"], encoding_format=encoding)
    reply = embeddings.answer(asked, embeddings.read(asked), [[1.0, 2.0], [3.0, 4.0]], Usage(7))
    body = json.loads(reply.body)
    vectors = [each["embedding"] for each in body["data"]]
    assert [each["index"] for each in body["data"]] == [0, 1]
    assert [embeddings.unpacked(v) if encoding == "base64" else v for v in vectors] == [[1.0, 2.0], [3.0, 4.0]]
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    with pytest.raises(BadAnswer, match="1 vectors for 2 inputs"):
        embeddings.answer(asked, embeddings.read(asked), [[1.0]], None)


ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "model": "m",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


def test_a_provider_of_lists_answers_in_base64_too() -> None:
    asked = call(input="a", encoding_format="base64")
    assert b"encoding_format" not in TO_FLOATS.request(asked).body
    reply = TO_FLOATS.response(asked, json.dumps(ANSWER).encode())
    body = json.loads(reply.body)
    assert embeddings.unpacked(body["data"][0]["embedding"]) == [0.5, 0.25]
    assert (body["model"], reply.usage) == ("m", Usage(3))


def test_what_asks_for_lists_passes_as_it_is() -> None:
    asked = call(input="a")
    raw = json.dumps(ANSWER, indent=1).encode()
    assert TO_FLOATS.request(asked).body is asked.body
    assert TO_FLOATS.response(asked, raw).body is raw
    with pytest.raises(BadAnswer):
        TO_FLOATS.response(asked, b'{"ok":true}')
