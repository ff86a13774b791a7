from __future__ import annotations

import pytest
from msgspec import Raw

from adapters import pivot
from adapters.errors import BadAnswer
from adapters.registry import codec
from adapters.types import Call, Dialect, Usage


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


@pytest.mark.parametrize("other", [b"null", b'""', b""])
def test_a_thought_has_either_of_two_names(other: bytes) -> None:
    for said in (pivot.Said(reasoning=Raw(b'"Hm"'), reasoning_content=Raw(other)),
                 pivot.Said(reasoning=Raw(other), reasoning_content=Raw(b'"Hm"'))):  # fmt: skip
        assert [(kind, bytes(text)) for kind, text in pivot.pieces(said)] == [(pivot.THINKING, b'"Hm"')]


CLIENTS = (Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.OPENAI_RESPONSES)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "told",
    [
        b'"citations":["https://a.example/1","https://a.example/2"]',
        b'"citations":["https://a.example/1"],'
        b'"search_results":[{"title":"One","url":"https://a.example/1"},{"title":"Two","url":"https://a.example/2"}]',
    ],
)
def test_sources_beside_the_choices_reach_every_client(client: Dialect, told: bytes) -> None:
    asked = Call(client, "sonar", False, b'{"model":"sonar","input":"?","messages":[],"contents":[]}', "1", 0)
    whole = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Yes [1]"},"finish_reason":"stop"}],%b}'
    seen = codec(client, Dialect.OPENAI_CHAT).response(asked, whole % told).body
    assert [seen.count(b"https://a.example/%d" % number) > 0 for number in (1, 2)] == [True, True]
    chunks = (
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Yes [1]"}}]',
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]',
        b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2},' + told,
    )
    machine = codec(client, Dialect.OPENAI_CHAT).stream(asked)
    seen = machine.feed(b"".join(b"data: {%b}\n\n" % each for each in chunks) + b"data: [DONE]\n\n")
    assert machine.error is None
    assert [seen.count(b"https://a.example/%d" % number) > 0 for number in (1, 2)] == [True, True]


def test_sources_in_a_form_of_their_own_harm_nothing() -> None:
    body = b'{"choices":[{"message":{"content":"a"}}],"citations":[{"doc":1}],"search_results":{"a":1}}'
    completion = pivot.read_completion(body)
    assert completion.choices is not None
    assert completion.choices[0].message == pivot.Said(content=Raw(b'"a"'))


def test_usage_in_a_choice_is_read() -> None:
    machine = codec(Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT).stream(
        Call(Dialect.ANTHROPIC_MESSAGES, "kimi", True, b"{}", "1", 0)
    )
    usage = b'{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"cached_tokens":4}'
    chunk = b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop","usage":%b}]}'
    machine.feed(b"data: %b\n\ndata: [DONE]\n\n" % (chunk % usage))
    assert machine.usage == Usage(9, 2, 4)


def test_a_completion_with_several_choices_needs_a_message_in_each() -> None:
    with pytest.raises(BadAnswer):
        pivot.read_completion(b'{"choices":[{"message":{}},{}]}')
