from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.errors import Kind, UpstreamError
from adapters.types import Call, Usage
from tests.adapters.anthropic.conversation import (
    OLD_MODEL,
    block,
    block_stop,
    call,
    chunks,
    delta,
    end,
    run,
    sse,
    start,
    text_events,
)

JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
PING = {"type": "ping"}


def deltas(found: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in found if chunk != "[DONE]" and chunk["choices"]]


TEXT = sse(start(), PING, *text_events("Hel", "lo ", 'ž"\n'), *end())
TOOLS = sse(
    start(),
    *text_events("Looking."),
    block(1, type="tool_use", id="toolu_1", name="f", input={}),
    delta(1, "input_json_delta", partial_json=""),
    delta(1, "input_json_delta", partial_json='{"x":'),
    delta(1, "input_json_delta", partial_json=" 1.50}"),
    block_stop(1),
    block(2, type="tool_use", id="toolu_2", name="g", input={}),
    block_stop(2),
    *end("tool_use"),
)
THINKING = sse(
    start(cache_read_input_tokens=100, cache_creation_input_tokens=20),
    block(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Hm"),
    delta(0, "signature_delta", signature="sig=="),
    block_stop(0),
    block(1, type="redacted_thinking", data="xyz"),
    block_stop(1),
    block(2, type="server_tool_use", id="srv_1", name="web_search", input={}),
    delta(2, "input_json_delta", partial_json='{"q":1}'),
    block_stop(2),
    block(3, type="text", text=""),
    delta(3, "citations_delta", citation={"url": "https://x.test"}),  # before its text, as Anthropic sends them
    delta(3, "text_delta", text="Yes"),
    block_stop(3),
    {"type": "something_new", "index": 3},
    *end(),
)
ERROR = sse(
    start(),
    block(0, type="text", text=""),
    delta(0, "text_delta", text="Hel"),
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    delta(0, "text_delta", text="lo"),
)
JSON_TOOL = sse(
    start(),
    block(0, type="tool_use", id="t", name="respond_with_json", input={}),
    delta(0, "input_json_delta", partial_json='{"a":'),
    delta(0, "input_json_delta", partial_json=" 1}"),
    block_stop(0),
    *end("tool_use"),
)
CRLF = TEXT.replace(b"\n", b"\r\n")

STREAMS: dict[str, tuple[Call, bytes]] = {
    "text": (call(), TEXT),
    "text with usage": (call(stream_options={"include_usage": True}), TEXT),
    "text, not strict": (call(strict=False), TEXT),
    "text in CRLF": (call(), CRLF),
    "tools": (call(), TOOLS),
    "tools for legacy functions": (call(functions=[{"name": "f"}]), TOOLS),
    "thinking": (call(), THINKING),
    "thinking, not strict": (call(strict=False), THINKING),
    "an error": (call(), ERROR),
    "an answering tool": (call(model=OLD_MODEL, response_format=JSON_SCHEMA), JSON_TOOL),
    "junk": (call(), sse(start(), *text_events("Hel")) + b"event: content_block_delta\ndata: {half\n\n" + sse(*end())),
    "cut short": (call(), TEXT[:-80]),
    "without a last empty line": (call(), TEXT[:-1]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_any_cut_gives_the_same_output_and_state(name: str) -> None:
    asked, data = STREAMS[name]
    whole = CHAT_TO_MESSAGES.stream(asked)
    expected = run(whole, data)
    for cut in range(len(data) + 1):
        decoder = CHAT_TO_MESSAGES.stream(asked)
        assert run(decoder, data[:cut], data[cut:]) == expected, cut
        assert (decoder.usage, decoder.error) == (whole.usage, whole.error), cut


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_gives_the_same_output_and_state(name: str) -> None:
    asked, data = STREAMS[name]
    whole, decoder = CHAT_TO_MESSAGES.stream(asked), CHAT_TO_MESSAGES.stream(asked)
    assert run(decoder, *[bytes([byte]) for byte in data]) == run(whole, data)
    assert (decoder.usage, decoder.error) == (whole.usage, whole.error)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_anywhere_never_looks_complete(name: str) -> None:
    asked, data = STREAMS[name]
    # A stream that lacks nothing but the last line end counts as whole.
    for cut in range(len(data) - 4):
        decoder = CHAT_TO_MESSAGES.stream(asked)
        out = run(decoder, data[:cut])
        assert decoder.error is not None, cut
        assert b"[DONE]" not in out, cut


@pytest.mark.parametrize("name", [name for name, (asked, _) in STREAMS.items() if asked.strict])
def test_every_chunk_for_a_strict_client_is_one_of_openais(name: str) -> None:
    asked, data = STREAMS[name]
    for chunk in chunks(run(CHAT_TO_MESSAGES.stream(asked), data)):
        if chunk != "[DONE]":
            parsed = ChatCompletionChunk.model_validate(chunk)
            assert not parsed.model_extra
            assert (parsed.id, parsed.created, parsed.object) == ("msg_01", 1_700_000_000, "chat.completion.chunk")


def test_a_text_stream_becomes_chunks() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    head = (
        b'data: {"id":"msg_01","object":"chat.completion.chunk","created":1700000000,"model":'
        b'"claude-sonnet-4-5-20250929","choices":[{"index":0,"delta":'
    )
    assert run(decoder, TEXT) == b"".join(
        [
            head + b'{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
            head + b'{"content":"Hel"},"finish_reason":null}]}\n\n',
            head + b'{"content":"lo "},"finish_reason":null}]}\n\n',
            head + '{"content":"ž\\"\\n"},"finish_reason":null}]}\n\n'.encode(),
            head + b'{},"finish_reason":"stop"}]}\n\n',
            b"data: [DONE]\n\n",
        ]
    )
    assert decoder.usage == Usage(input=10, output=7)
    assert decoder.error is None


def test_events_leave_with_the_read_they_came_in() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    assert decoder.feed(sse(start())).endswith(b"\n\n")
    assert b'"Hel"' in decoder.feed(sse(delta(0, "text_delta", text="Hel")))


def test_usage_comes_in_a_chunk_of_its_own_when_it_was_asked_for() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call(stream_options={"include_usage": True})), THINKING))
    *others, last, done = found
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 130,
        "completion_tokens": 7,
        "total_tokens": 137,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
    }
    assert all(chunk["usage"] is None for chunk in others)


def test_without_strictness_usage_comes_with_the_last_chunk_unless_it_has_one_of_its_own() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call(strict=False)), THINKING))
    assert found[-2]["choices"][0]["finish_reason"] == "end_turn"
    assert found[-2]["usage"]["cache_read_input_tokens"] == 100
    assert found[-2]["usage"]["prompt_tokens"] == 130
    asked = call(strict=False, stream_options={"include_usage": True})
    assert [chunk["usage"] is None for chunk in chunks(run(CHAT_TO_MESSAGES.stream(asked), TEXT))[-3:-1]] == [
        True,
        False,
    ]


def test_later_counts_replace_earlier_ones() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    decoder.feed(sse(start(10, cache_read_input_tokens=5)))
    assert decoder.usage == Usage(input=15, output=1, cached=5)
    decoder.feed(sse(*end(input_tokens=12, output_tokens=9)))
    assert decoder.usage == Usage(input=17, output=9, cached=5)


def test_a_stream_left_in_the_middle_has_the_usage_so_far() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    decoder.feed(sse(start(33), delta(0, "text_delta", text="Hel")))
    assert decoder.usage == Usage(input=33, output=1)


def test_tool_uses_become_tool_calls_counted_from_zero() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call()), TOOLS))
    assert deltas(found)[2:-1] == [
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " 1.50}"}}]},
        {"tool_calls": [{"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tool_input_that_comes_whole_is_not_lost() -> None:
    events = sse(start(), block(0, type="tool_use", id="t", name="f", input={"x": 1}), block_stop(0), *end("tool_use"))
    assert deltas(chunks(run(CHAT_TO_MESSAGES.stream(call()), events)))[2] == {
        "tool_calls": [{"index": 0, "function": {"arguments": '{"x":1}'}}]
    }


def test_a_client_of_legacy_functions_gets_its_first_call_as_a_function_call() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call(functions=[{"name": "f"}])), TOOLS))
    assert deltas(found)[2:-1] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"x":'}},
        {"function_call": {"arguments": " 1.50}"}},
    ]
    assert found[-2]["choices"][0]["finish_reason"] == "function_call"


def test_thinking_is_not_shown_to_a_strict_client() -> None:
    source = {"url": "https://x.test", "title": "", "start_index": 0, "end_index": 3}
    assert deltas(chunks(run(CHAT_TO_MESSAGES.stream(call()), THINKING))) == [
        {"role": "assistant", "content": ""},
        {"content": "Yes"},
        {"annotations": [{"url_citation": source, "type": "url_citation"}]},
        {},
    ]


def test_without_strictness_every_block_is_shown() -> None:
    found = deltas(chunks(run(CHAT_TO_MESSAGES.stream(call(strict=False)), THINKING)))
    assert [each["content_blocks"][0] for each in found if "content_blocks" in each] == [
        {"index": 0, "delta": {"type": "thinking", "thinking": "", "signature": ""}},
        {"index": 0, "delta": {"thinking": "Hm"}},
        {"index": 0, "delta": {"signature": "sig=="}},
        {"index": 1, "delta": {"type": "redacted_thinking", "data": "xyz"}},
        {"index": 2, "delta": {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}},
        {"index": 2, "delta": {"partial_json": '{"q":1}'}},
        {"index": 3, "delta": {"type": "text", "text": ""}},
        {"index": 3, "delta": {"text": "Yes"}},
        {"index": 3, "delta": {"citation": {"url": "https://x.test"}}},
    ]
    assert [each["content"] for each in found if "content" in each] == ["", "Yes"]


def test_a_block_spread_over_several_lines_stays_one_event() -> None:
    pretty = b'event: content_block_start\ndata: {"index": 0, "content_block": {\ndata:  "type": "x"\ndata: }}\n\n'
    out = CHAT_TO_MESSAGES.stream(call(strict=False)).feed(sse(start()) + pretty)
    assert deltas(chunks(out))[1] == {"content_blocks": [{"index": 0, "delta": {"type": "x"}}]}


def test_the_input_of_the_answering_tool_is_the_content() -> None:
    asked = call(model=OLD_MODEL, response_format=JSON_SCHEMA)
    found = chunks(run(CHAT_TO_MESSAGES.stream(asked), JSON_TOOL))
    assert "".join(each.get("content", "") for each in deltas(found)) == '{"a": 1}'
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert not any("tool_calls" in each for each in deltas(found))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_tokens", "length"), ("refusal", "content_filter"), ("pause_turn", "stop"), ("x", "stop")],
)
def test_stop_reasons_are_told_in_openais_words_or_as_they_are(reason: str, finish: str) -> None:
    for strict, expected in ((True, finish), (False, reason)):
        found = chunks(run(CHAT_TO_MESSAGES.stream(call(strict=strict)), sse(start(), *text_events("x"), *end(reason))))
        assert found[-2]["choices"][0]["finish_reason"] == expected


def test_a_stream_without_a_stop_reason_still_finishes_once() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call()), sse(start(), *text_events("x"), *end(None))))
    assert [chunk["choices"][0]["finish_reason"] for chunk in found[:-1]] == [None, None, "stop"]


def test_a_repeated_start_is_no_second_role() -> None:
    found = chunks(run(CHAT_TO_MESSAGES.stream(call()), sse(start(), start(), *text_events("x"), *end())))
    assert [each.get("role") for each in deltas(found)] == ["assistant", None, None]


def test_events_without_names_are_told_by_their_type() -> None:
    data = b"".join(line + b"\n\n" for line in TEXT.split(b"\n") if line.startswith(b"data:"))
    assert run(CHAT_TO_MESSAGES.stream(call()), data) == run(CHAT_TO_MESSAGES.stream(call()), TEXT)


def test_what_the_start_lacks_comes_from_the_call() -> None:
    out = CHAT_TO_MESSAGES.stream(call()).feed(sse({"type": "message_start", "message": {}}))
    assert (chunks(out)[0]["id"], chunks(out)[0]["model"]) == ("chatcmpl-abc123", "claude-sonnet-4-5")


# Errors.


@pytest.mark.parametrize(
    ("type", "kind", "status"),
    [
        ("overloaded_error", Kind.OVERLOADED, 529),
        ("rate_limit_error", Kind.RATE_LIMITED, 429),
        ("api_error", Kind.BAD_UPSTREAM, 500),
        ("invalid_request_error", Kind.INVALID_REQUEST, 400),
        ("brand_new_error", Kind.BAD_UPSTREAM, 502),
    ],
)
def test_an_error_event_ends_the_stream(type: str, kind: Kind, status: int) -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    before = decoder.feed(sse(start(), delta(0, "text_delta", text="Hel")))
    assert b"Hel" in before
    assert decoder.feed(sse({"type": "error", "error": {"type": type, "message": "No."}}, *text_events("lo"))) == b""
    assert decoder.error == UpstreamError(kind, status, "No.", type)
    assert decoder.feed(sse(*end())) == b""
    assert decoder.close() == b""
    assert decoder.error.kind == kind


def test_an_error_before_the_start_leaves_nothing_said() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    assert decoder.feed(sse({"type": "error", "error": {"type": "overloaded_error", "message": "No."}})) == b""
    assert decoder.error is not None


def test_a_stream_that_ends_early_says_so() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    assert b"[DONE]" not in run(decoder, sse(start(), *text_events("Hel")))
    assert decoder.error == UpstreamError(Kind.BAD_UPSTREAM, 502, "The upstream ended the stream early.")


def test_nothing_comes_after_the_end() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call())
    assert decoder.feed(TEXT + sse(*text_events("more"))).endswith(b"data: [DONE]\n\n")
    assert decoder.feed(TEXT) == b""
    assert decoder.close() == b""
    assert decoder.error is None


@pytest.mark.parametrize(
    "junk",
    [
        b"event: content_block_delta\ndata: oops\n\n",
        b"event: content_block_delta\ndata: {}\n\n",
        b'event: content_block_delta\ndata: {"index":0,"delta":{"type":"text_delta","text":5}}\n\n',
        b'event: content_block_delta\ndata: {"index":0,"delta":{"type":"text_delta","text":"\xff"}}\n\n',
        b'event: content_block_start\ndata: {"index":0,"content_block":{"type":"x","a":"\xff"}}\n\n',
        b"event: message_delta\ndata: " + b"[" * 5000 + b"]" * 5000 + b"\n\n",
        b"data: [DONE]\n\n",
        b"data: x" + b"y" * (9 * 1024 * 1024),
    ],
)
def test_junk_is_an_error_and_what_came_before_is_kept(junk: bytes) -> None:
    decoder = CHAT_TO_MESSAGES.stream(call(strict=False))
    out = decoder.feed(sse(start(), delta(0, "text_delta", text="Hel")) + junk)
    assert b"Hel" in out
    assert decoder.error is not None
    assert decoder.error.kind is Kind.BAD_UPSTREAM


def test_a_stream_must_begin_with_its_start() -> None:
    for event in (delta(0, "text_delta", text="x"), block(0, type="text", text=""), *end()):
        decoder = CHAT_TO_MESSAGES.stream(call())
        assert decoder.feed(sse(event)) == b""
        assert decoder.error is not None


@given(st.lists(st.binary(max_size=20) | st.sampled_from([TEXT[:300], TOOLS[300:600], b"\n\n", ERROR]), max_size=6))
def test_any_bytes_give_chunks_and_at_most_an_error(pieces: list[bytes]) -> None:
    decoder = CHAT_TO_MESSAGES.stream(call(strict=False))
    chunks(run(decoder, *pieces))


def test_unreadable_request_bodies_ask_for_nothing_special() -> None:
    decoder = CHAT_TO_MESSAGES.stream(call(b"{"))
    assert run(decoder, TEXT) == run(CHAT_TO_MESSAGES.stream(call()), TEXT)
    body = CHAT_TO_MESSAGES.response(call(b"{"), b'{"content":[],"stop_reason":"end_turn"}').body
    assert json.loads(body)["object"] == "chat.completion"
