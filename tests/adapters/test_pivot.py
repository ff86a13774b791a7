from __future__ import annotations

import pytest
from msgspec import Raw

from adapters import pivot
from adapters.errors import BadAnswer


def test_prose_is_found_in_its_order() -> None:
    said = pivot.Said(content=Raw(b'"text"'), reasoning_content=Raw(b'"thought"'), refusal=Raw(b'"no"'))
    assert [(kind, bytes(text)) for kind, text in pivot.pieces(said)] == [
        (pivot.THINKING, b'"thought"'),
        (pivot.TEXT, b'"text"'),
        (pivot.REFUSAL, b'"no"'),
    ]


def test_content_blocks_are_told_piece_by_piece() -> None:
    source = b'{"type":"web_search_result_location","url":"https://a"}'
    search = b'{"type":"server_tool_use","id":"s","name":"web_search","input":{}}'
    blocks = [
        b'{"type":"thinking","thinking":"Hm","signature":"sig"}',
        b'{"type":"redacted_thinking","data":"xx"}',
        search,
        b'{"type":"text","text":"Hi","citations":[%b]}' % source,
        b'{"type":"tool_use","id":"t","name":"f","input":{}}',
    ]
    said = pivot.Said(content=Raw(b'"Hi"'), content_blocks=[Raw(each) for each in blocks])
    assert [(kind, bytes(value)) for kind, value in pivot.pieces(said)] == [
        (pivot.THOUGHT, b""),
        (pivot.THINKING, b'"Hm"'),
        (pivot.SIGNATURE, b'"sig"'),
        (pivot.REDACTED, b'"xx"'),
        (pivot.FOREIGN, search),
        (pivot.TEXT, b'"Hi"'),
        (pivot.CITATION, source),
    ]


@pytest.mark.parametrize(
    ("fields", "piece"),
    [
        (b'{"thinking":"Hm"}', (pivot.THINKING, b'"Hm"')),
        (b'{"signature":"s"}', (pivot.SIGNATURE, b'"s"')),
        (b'{"citation":{"url":"u"}}', (pivot.CITATION, b'{"url":"u"}')),
        (b'{"partial_json":"{"}', (pivot.FOREIGN_INPUT, b'"{"')),
        (b'{"type":"redacted_thinking","data":"x"}', (pivot.REDACTED, b'"x"')),
    ],
)
def test_deltas_of_content_blocks_are_told_by_their_fields(fields: bytes, piece: tuple[int, bytes]) -> None:
    said = pivot.Said(content_blocks=[Raw(b'{"index":0,"delta":%b}' % fields)])
    assert [(kind, bytes(value)) for kind, value in pivot.pieces(said)] == [piece]


def test_text_stands_in_content_where_the_blocks_hold_none() -> None:
    thinking = Raw(b'{"type":"thinking","thinking":"Hm"}')
    said = pivot.Said(content=Raw(b'"Hi"'), content_blocks=[thinking])
    assert [kind for kind, _ in pivot.pieces(said)] == [pivot.THOUGHT, pivot.THINKING, pivot.TEXT]


def test_null_and_empty_prose_is_none() -> None:
    said = pivot.Said(content=Raw(b"null"), reasoning_content=Raw(b'""'), refusal=Raw(b"null"))
    assert pivot.pieces(said) == []


def test_a_completion_with_several_choices_needs_a_message_in_each() -> None:
    with pytest.raises(BadAnswer):
        pivot.read_completion(b'{"choices":[{"message":{}},{}]}')
