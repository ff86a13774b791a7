from __future__ import annotations

import pytest
from msgspec import Raw

from adapters import pivot
from adapters.errors import BadAnswer


def test_the_first_byte_tells_a_values_type() -> None:
    kinds = [pivot.first(Raw(text)) for text in (b'"a"', b"{}", b"[]", b"null", b"")]
    assert kinds == [pivot.QUOTE, pivot.BRACE, pivot.BRACKET, pivot.NULL, pivot.NULL]


def test_strings_are_joined_without_being_decoded() -> None:
    texts = [Raw(b'"a\\u00e9"'), Raw(b'""'), Raw(b'"\\n"')]
    assert bytes(pivot.joined(texts)) == b'"a\\u00e9\\n"'
    assert bytes(pivot.joined(texts, b"\\n")) == b'"a\\u00e9\\n\\n\\n"'
    assert bytes(pivot.joined([])) == b'""'


def test_prose_is_found_in_its_order() -> None:
    said = pivot.Said(content=Raw(b'"text"'), reasoning_content=Raw(b'"thought"'), refusal=Raw(b'"no"'))
    assert [(thinking, bytes(text)) for thinking, text in pivot.pieces(said)] == [
        (True, b'"thought"'),
        (False, b'"text"'),
        (False, b'"no"'),
    ]


def test_null_and_empty_prose_is_none() -> None:
    said = pivot.Said(content=Raw(b"null"), reasoning_content=Raw(b'""'), refusal=Raw(b"null"))
    assert pivot.pieces(said) == []


def test_a_completion_with_several_choices_needs_a_message_in_each() -> None:
    with pytest.raises(BadAnswer):
        pivot.read_completion(b'{"choices":[{"message":{}},{}]}')
