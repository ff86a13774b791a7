"""What is said of a request body that is no JSON object: the reason that helps, and never its text."""

from __future__ import annotations

import pytest

from adapters.errors import InvalidRequest
from adapters.peek import peek


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty or breaks off"),
        (b'{"model":"a","x":"b', "empty or breaks off"),
        (b'{"model":"a","x":"\\ud83d\\ude00', "empty or breaks off"),
        (b'{"model":"a","messages":[{"content":"\\ud800"}]} ', "half of a surrogate pair"),
        (b'{"model":"a","messages":[{"content":"\\uDFFF."}]}', "surrogate pair"),
        (b'{"model":"a"} {"model":"b"}', "trailing characters"),
        (b'\xef\xbb\xbf{"model":"a"}', "not valid JSON"),
        (b'{"model":"a","x":NaN}', "not valid JSON"),
        (b'{"model":"a","x":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested too deeply"),
        (b"[]", "not a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_why(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        peek(body)
    assert said in caught.value.message
