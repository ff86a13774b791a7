"""What is charged by the piece: counted from whole answers and streams alike, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters import counting, observe
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.pieces import SEARCHES, asked_for
from adapters.types import Call, Dialect, Rare, Usage

RESPONSES, GEMINI = Dialect.OPENAI_RESPONSES, Dialect.GEMINI_GENERATE
TOKENS = {
    "input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15,
}  # fmt: skip
ITEMS = [
    {"type": "web_search_call", "id": "1", "action": {"type": "search", "query": 'a "type":"web_search_call"'}},
    {"type": "web_search_call", "id": "2", "action": {"type": "open_page", "url": "https://a.test"}},
    {"type": "web_search_call", "id": "3", "status": "completed"},
    {"type": "file_search_call", "id": "4", "queries": ["q"]},
    {"type": "code_interpreter_call", "id": "5", "container_id": "c1"},
    {"type": "code_interpreter_call", "id": "6", "container_id": "c1"},
    {"type": "shell_call", "id": "7", "environment": {"type": "container_reference", "container_id": "c2"}},
    {"type": "message", "content": [{"type": "output_text", "text": '"type":"file_search_call"'}]},
]
USED = Rare(searches=2, files=1, sessions=2)


def response(items: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"object": "response", "status": "completed", "output": items, "usage": {**TOKENS, **more}}


def events(items: list[dict[str, Any]]) -> list[bytes]:
    told = [{"type": f"response.{each['type']}.completed"} for each in items if each["type"].endswith("_call")]
    told.append({"type": "response.completed", "response": response(items)})
    return [f"event: {each['type']}\ndata: {json.dumps(each, separators=(',', ':'))}\n\n".encode() for each in told]


def tapped(dialect: Dialect, text: bytes, size: int) -> observe.Tap:
    tap = observe.tap(dialect)
    for at in range(0, len(text), size):
        tap.feed(text[at : at + size])
    return tap


def test_searches_files_and_containers_of_a_response_are_counted_and_pages_that_are_opened_are_not() -> None:
    assert counting.usage_of(json.dumps(response(ITEMS)).encode()) == Usage(10, 5, rare=USED)
    assert counting.usage_of(json.dumps(response(ITEMS[-1:])).encode()) == Usage(10, 5)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_streamed_response_counts_the_same_however_it_is_cut(size: int) -> None:
    assert tapped(RESPONSES, b"".join(events(ITEMS)), size).usage() == Usage(10, 5, rare=USED)


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_a_response_that_is_cut_short_counts_the_calls_that_had_passed(size: int) -> None:
    # Which of the web's calls were searches, only the end says: all count.
    whole = events(ITEMS)
    for text in (b"".join(whole[:-1]), b"".join(whole)[:-40]):
        assert tapped(RESPONSES, text, size).usage() == Usage(rare=Rare(searches=3, files=1, sessions=1))


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_searches_of_anthropics_count_as_they_pass_until_it_has_counted_them(size: int) -> None:
    block = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_start", "index": 1, "content_block": {**block, "name": "web_fetch"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "web_search_tool_result", "content": []}},
        {"type": "content_block_start", "index": 3, "content_block": block},
        {
            "type": "content_block_delta",
            "index": 4,
            "delta": {"type": "text_delta", "text": json.dumps(block) + "x" * 5000},
        },
    ]
    steps = [{"type": "message", "input_tokens": 10, "output_tokens": 1}] * 200
    end = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5, "iterations": steps}}
    counted = {
        "type": "message_delta",
        "delta": {},
        "usage": {"output_tokens": 5, "server_tool_use": {"web_search_requests": 1}},
    }
    ends: list[tuple[list[dict[str, Any]], Usage]] = [
        ([], Usage(10, 1, rare=Rare(searches=2))),
        ([end], Usage(10, 5, rare=Rare(searches=2))),
        ([counted], Usage(10, 5, rare=Rare(searches=1))),
    ]
    for last, usage in ends:
        text = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (*told, *last))
        assert tapped(Dialect.ANTHROPIC_MESSAGES, text, size).usage() == usage
        decoder = CHAT_TO_MESSAGES.stream(Call(Dialect.OPENAI_CHAT, "c", True, b"{}", "1", 0))
        for at in range(0, len(text), size):
            decoder.feed(text[at : at + size])
        assert decoder.usage == usage


def test_a_picture_within_a_response_leaves_something_uncounted() -> None:
    usage = counting.usage_of(json.dumps(response([{"type": "image_generation_call"}])).encode())
    assert usage == Usage(10, 5, rare=Rare(uncounted=True))


def grounded(*queries: str, maps: bool = False) -> dict[str, Any]:
    chunks = [{"maps" if maps else "web": {"uri": "https://a.test"}}]
    rests = {"groundingChunks": chunks, "webSearchQueries": [*queries], "searchEntryPoint": {"renderedContent": "{"}}
    said = {"content": {"parts": [{"text": "webSearchQueries"}]}, "finishReason": "STOP"}
    tokens = {"promptTokenCount": 10, "candidatesTokenCount": 5}
    return {"candidates": [{**said, "groundingMetadata": rests}], "usageMetadata": tokens}


@pytest.mark.parametrize(
    ("answer", "rare"),
    [
        (grounded("a", "", 'b "]"'), Rare(searches=2)),
        (grounded(), None),
        (grounded(maps=True), Rare(maps=1)),
        (grounded("a", maps=True), Rare(searches=1, maps=1)),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_an_answer_of_geminis_rests_on_is_counted(answer: dict[str, Any], rare: Rare | None, size: int) -> None:
    expected = Usage(10, 5, rare=rare)
    assert counting.usage_of(json.dumps(answer).encode()) == expected
    stream = b"".join(b"data: %b\r\n\r\n" % json.dumps(each).encode() for each in (answer, answer))
    assert tapped(GEMINI, stream, size).usage() == expected  # streams may say the same again


def test_tokens_of_video_are_told_apart() -> None:
    told = {"promptTokenCount": 300, "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 263}]}
    assert counting.usage_of(json.dumps({"usageMetadata": told}).encode()) == Usage(300, rare=Rare(video_input=263))


CHAT = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({**CHAT, "search_context_size": "low", "num_search_queries": 1}, Usage(10, 5, rare=Rare(size="low"))),
        ({**CHAT, "prompt_tokens_details": {}, "num_sources_used": 4}, Usage(10, 5, rare=Rare(sources=4))),
        ({**CHAT, "prompt_tokens_details": {}, "num_sources_used": 0}, Usage(10, 5)),
        # What xAI's chat tells: thoughts beside the answer.
        (
            {**CHAT, "total_tokens": 204, "completion_tokens_details": {"reasoning_tokens": 189}},
            Usage(10, 194, reasoning=189),
        ),
        ({**CHAT, "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(10, 5, reasoning=3)),
    ],
)
def test_what_other_providers_say_of_searches_and_thoughts(usage: dict[str, Any], expected: Usage) -> None:
    assert counting.usage_of(json.dumps({"usage": usage}).encode()) == expected


def test_what_xais_servers_did_is_counted_once() -> None:
    served = {"web_search_calls": 2, "x_search_calls": 1, "code_interpreter_calls": 1}
    told = response(ITEMS, num_server_side_tools_used=4, server_side_tool_usage_details=served)
    usage = counting.usage_of(json.dumps(told).encode())
    assert usage == Usage(10, 5, rare=Rare(searches=3, sessions=1))


@pytest.mark.parametrize(
    ("kind", "sent", "answer", "expected"),
    [
        ("images", b"", b'{"data":[{"url":"https://a.test"},{"url":"https://b.test"}]}', Rare(images=2)),
        ("images", b"", b'{"data":[{"b64_json": "%b"}]}' % (b"url" * 4000), Rare(images=1)),
        ("speech", '{"input":"grüß dich"}'.encode(), b"ID3\x00", Rare(characters=9)),
        ("sound", b"", b'{"task":"transcribe","duration":"8.5","text":"a"}', Rare(seconds=8.5)),
        ("pages", b"", b'{"pages":[],"usage_info":{"pages_processed":3},"document_annotation":null}', Rare(pages=3)),
        (
            "pages",
            b"",
            b'{"usage_info":{"pages_processed":3},"document_annotation":"{}"}',
            Rare(pages=3, uncounted=True),
        ),
        *((kind, b"", b"\x00junk", Rare(uncounted=True)) for kind in ("images", "speech", "sound", "pages", "others")),
    ],
)
def test_what_passes_through_and_is_paid_for_is_never_nothing(
    kind: str, sent: bytes, answer: bytes, expected: Rare
) -> None:
    for size in (1, 50, 100_000):
        charged = observe.Charged(kind, sent)
        for at in range(0, len(answer), size):
            charged.feed(answer[at : at + size])
        assert charged.usage() == Usage(rare=expected)


def test_what_a_provider_counts_itself_stands() -> None:
    charged = observe.Charged("images", b"")
    charged.feed(b'{"data":[{"b64_json":"AA"}],"usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}')
    assert charged.usage() == Usage(5, 7)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "search maps"}]}, None),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}]}, None),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, Rare(searches=3)),
        ({"tools": [{"type": "web_search"}]}, Rare(searches=SEARCHES)),
        ({"tools": [{"type": "web_search"}, {"type": "file_search"}], "max_tool_calls": 2}, Rare(searches=2, files=2)),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, Rare(sessions=1)),
        ({"tools": [{"googleSearch": {}}, {"google_maps": {}}]}, Rare(searches=SEARCHES, maps=1)),
        ({"search_parameters": {"mode": "on", "max_search_results": 5}}, Rare(sources=5)),
        ({"search_parameters": {"mode": "off"}}, None),
        ({"tools": "web_search"}, None),
    ],
)
def test_what_a_request_may_use_is_its_own_limit_or_what_is_usual(body: dict[str, Any], expected: Rare | None) -> None:
    found = asked_for(json.dumps(body).encode(), Dialect.OPENAI_CHAT)
    assert found == (None if expected is None else Rare(**{**_dict(expected), "size": "high"}))


def _dict(rare: Rare) -> dict[str, Any]:
    return {name: getattr(rare, name) for name in rare.__struct_fields__}


def test_pictures_and_speech_say_how_much_they_are() -> None:
    asked = asked_for(b'{"model":"m","n":3,"prompt":"x"}', Dialect.PASSTHROUGH, "/v1/images/generations")
    assert asked is not None
    assert asked.images == 3
    spoken = asked_for(b'{"model":"m","input":"abc"}', Dialect.PASSTHROUGH, "/v1/audio/speech")
    assert spoken is not None
    assert spoken.characters == 3
