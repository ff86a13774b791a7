"""What a request says about itself, and who wins where several say it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.metadata import VALUE_LENGTH, read


def _sent(value: object) -> dict[bytes, bytes]:
    return {b"x-portkey-metadata": json.dumps(value).encode()}


def test_an_object_of_strings_is_metadata() -> None:
    assert read(_sent({"team": "blue", "_user": "ada"}), {}) == {"team": "blue", "_user": "ada"}


def test_baggage_gives_way_to_the_header_and_that_to_the_key() -> None:
    headers = {**_sent({"b": "header", "c": "header"}), b"baggage": b"a=bag,b=bag,c=bag"}
    assert read(headers, {"c": "key"}) == {"a": "bag", "b": "header", "c": "key"}


def test_baggage_is_decoded_and_its_properties_left_out() -> None:
    assert read({b"baggage": b"city=Z%C3%BCrich;ttl=3, plain , =x,a=b=c"}, {}) == {"city": "Zürich", "a": "b=c"}


def test_what_is_no_json_object_is_no_metadata() -> None:
    for text in (b"", b"{", b"[1]", b'"a"', b"\xff", b"{" * 5000):
        assert read({b"x-portkey-metadata": text}, {}) == {}


def test_only_strings_are_values_and_long_ones_are_cut() -> None:
    given = _sent({"n": 1, "b": True, "o": {"x": "y"}, "s": "x" * 500})
    assert read(given, {}) == {"s": "x" * VALUE_LENGTH}


def test_no_name_and_no_value_has_a_nul() -> None:
    headers = {**_sent({"a\0": "b\0", "c": "\\u0000"}), b"baggage": b"x%00=%00y"}
    assert read(headers, {}, b'"u\\u0000"') == {
        "a\ufffd": "b\ufffd", "c": "\\u0000", "x\ufffd": "\ufffdy", "_user": "u\ufffd"
    }  # fmt: skip


def test_the_bodys_user_is_the_user_unless_metadata_names_one() -> None:
    assert read({}, {}, b'"ada"') == {"_user": "ada"}
    assert read(_sent({"_user": "bob"}), {}, b'"ada"') == {"_user": "bob"}
    assert read({}, {"_user": "key"}, b'"ada"') == {"_user": "key"}
    for odd in (b"1", b"null", b'""', b'{"a":1}'):
        assert read({}, {}, odd) == {}


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=50))
def test_nothing_that_a_client_sends_makes_it_fail(given: bytes, baggage: bytes, user: bytes) -> None:
    found = read({b"x-portkey-metadata": given, b"baggage": baggage}, {}, user)
    assert all(isinstance(value, str) and len(value) <= VALUE_LENGTH for value in found.values())
