"""JSON values that nobody decodes."""

from __future__ import annotations

from msgspec import Raw

from adapters import values


def test_the_first_byte_tells_a_values_type() -> None:
    kinds = [values.first(Raw(text)) for text in (b'"a"', b"{}", b"[]", b"null", b"")]
    assert kinds == [values.QUOTE, values.BRACE, values.BRACKET, values.NULL, values.NULL]


def test_strings_are_joined_without_being_decoded() -> None:
    texts = [Raw(b'"a\\u00e9"'), Raw(b'""'), Raw(b'"\\n"')]
    assert bytes(values.joined(texts)) == b'"a\\u00e9\\n"'
    assert bytes(values.joined(texts, b"\\n")) == b'"a\\u00e9\\n\\n\\n"'
    assert bytes(values.joined([])) == b'""'
