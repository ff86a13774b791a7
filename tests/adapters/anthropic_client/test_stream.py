from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.errors import Kind
from tests.adapters.anthropic_client.script import CALL, USAGE, chunk, events, message, run, sse, text, tool

ROLE = chunk({"role": "assistant", "content": "", "refusal": None}, usage=None)


def end(reason: str) -> list[dict[str, Any]]:
    return [chunk({}, reason), chunk(usage=USAGE)]


STREAMS: dict[str, bytes] = {
    "text": sse(ROLE, text("Hel"), text('lo, žluťoučký 🐎 "quoted"\n'), *end("stop")),
    "one tool": sse(
        ROLE,
        tool(0, id="call_1", name="weather"),
        tool(0, '{"city": "Pra'),
        tool(0, 'ha"}'),
        *end("tool_calls"),
    ),
    "text and two tools": sse(
        ROLE,
        text("Let me look."),
        tool(0, id="call_1", name="weather"),
        tool(0, '{"city":"Praha"}'),
        tool(1, id="call_2", name="time"),
        tool(1, '{"zone":'),
        tool(1, '"CET"}'),
        *end("tool_calls"),
    ),
    "interleaved tools": sse(
        tool(0, id="call_1", name="a"),
        tool(1, id="call_2", name="b"),
        tool(0, '{"x":'),
        tool(1, '{"y":'),
        text("meanwhile "),
        tool(0, "1}"),
        text("both"),
        tool(1, "2}"),
        *end("tool_calls"),
    ),
    "thinking": sse(
        chunk({"role": "assistant", "reasoning_content": "First"}),
        chunk({"reasoning_content": ", think."}),
        chunk({"content": None, "reasoning_content": None}),
        text("Done."),
        *end("stop"),
    ),
    "parts": sse(
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
        chunk({"content": [{"type": "text", "text": "2 + 2"}, {"type": "text", "text": " = 4"}]}),
        *end("stop"),
    ),
    "CRLF and comments": sse(ROLE, text("a"), *end("length")).replace(b"\n\n", b"\r\n\r\n: keep-alive\r\n\r\n"),
    "no [DONE]": sse(ROLE, text("a"), *end("stop"), done=False),
}


@pytest.mark.parametrize("name", STREAMS)
def test_any_cut_gives_the_same_bytes(name: str) -> None:
    data = STREAMS[name]
    whole, machine = run(data)
    assert machine.error is None
    for cut in range(len(data) + 1):
        machine = MESSAGES_TO_CHAT.stream(CALL)
        assert machine.feed(data[:cut]) + machine.feed(data[cut:]) + machine.close() == whole
        assert machine.error is None


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_gives_the_same_bytes(name: str) -> None:
    machine = MESSAGES_TO_CHAT.stream(CALL)
    out = b"".join(machine.feed(bytes([byte])) for byte in STREAMS[name])
    assert out + machine.close() == run(STREAMS[name])[0]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_short_never_looks_complete(name: str) -> None:
    data = STREAMS[name]
    for cut in range(len(data)):
        machine = MESSAGES_TO_CHAT.stream(CALL)
        out = machine.feed(data[:cut]) + machine.close()
        if machine.error is None:
            # Only a finish reason, or the end marker itself, makes an answer whole.
            assert b'"finish_reason": "' in data[:cut]
            assert out.endswith(b'data: {"type":"message_stop"}\n\n')
        else:
            assert machine.error.kind is Kind.BAD_UPSTREAM
            assert b"message_stop" not in out


def test_text_becomes_one_block() -> None:
    out, machine = run(STREAMS["text"])
    assert [event["type"] for event in events(out)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert message(out) == {
        "type": "message",
        "id": "msg_abc",
        "role": "assistant",
        "model": "gpt-x-2026",
        "content": [{"type": "text", "text": 'Hello, žluťoučký 🐎 "quoted"\n'}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 8,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 7,
        },
    }
    assert machine.usage is not None
    assert (machine.usage.input, machine.usage.output, machine.usage.cached) == (12, 7, 4)


def test_text_leaves_with_the_chunk_that_brought_it() -> None:
    machine = MESSAGES_TO_CHAT.stream(CALL)
    machine.feed(sse(ROLE, done=False))
    out = machine.feed(sse(text("now"), done=False))
    assert b'"delta":{"type":"text_delta","text":"now"}' in out


def test_a_tool_call_becomes_a_block_whose_arguments_are_streamed() -> None:
    out = message(run(STREAMS["one tool"])[0])
    assert out["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Praha"}}]
    assert out["stop_reason"] == "tool_use"


def test_parallel_tool_calls_told_in_turn_are_streamed_as_they_come() -> None:
    machine = MESSAGES_TO_CHAT.stream(CALL)
    out = b""
    for each in (
        tool(0, id="call_1", name="weather"),
        tool(0, '{"city":"Praha"}'),
        tool(1, id="call_2", name="time"),
    ):
        out = machine.feed(sse(each, done=False))
    assert [event["type"] for event in events(out)] == ["content_block_stop", "content_block_start"]
    assert b"partial_json" in machine.feed(sse(tool(1, '{"zone":'), done=False))


def test_interleaved_tool_calls_lose_nothing() -> None:
    assert message(run(STREAMS["interleaved tools"])[0])["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "a", "input": {"x": 1}},
        {"type": "tool_use", "id": "call_2", "name": "b", "input": {"y": 2}},
        {"type": "text", "text": "meanwhile both"},
    ]


def test_text_after_a_complete_tool_call_is_a_block_of_its_own() -> None:
    data = sse(text("a"), tool(0, "{}", id="c", name="f"), text("b"), *end("tool_calls"))
    assert [block["type"] for block in message(run(data)[0])["content"]] == ["text", "tool_use", "text"]


def test_a_tool_call_without_arguments_has_an_empty_input() -> None:
    out = message(run(sse(tool(0, id="c", name="f"), *end("tool_calls")))[0])
    assert out["content"] == [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]


def test_calls_without_an_index_or_with_the_same_one_stay_apart() -> None:
    for index in (0, None):
        calls = [
            chunk({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": "{}"}}]})
            for id, name in (("1", "f"), ("2", "g"))
        ]
        content = message(run(sse(*calls, *end("stop")))[0])["content"]
        assert [(block["id"], block["name"]) for block in content] == [("1", "f"), ("2", "g")]


def test_a_call_without_an_id_gets_one_that_providers_take_back() -> None:
    out = message(run(sse(tool(0, "{}", name="f"), tool(1, "{}", name="g"), *end("tool_calls")))[0])
    assert [block["id"] for block in out["content"]] == ["toolu_0a1b2c_0", "toolu_0a1b2c_1"]


def test_arguments_given_as_an_object_are_kept() -> None:
    data = sse(
        chunk({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": {"a": "ž"}}}]}),
        *end("tool_calls"),
    )
    assert message(run(data)[0])["content"][0]["input"] == {"a": "ž"}


def test_the_single_function_call_of_older_providers_is_a_tool_call() -> None:
    data = sse(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":1}'}}),
        *end("function_call"),
    )
    out = message(run(data)[0])
    assert out["content"] == [{"type": "tool_use", "id": "toolu_0a1b2c_0", "name": "f", "input": {"a": 1}}]
    assert out["stop_reason"] == "tool_use"


def test_reasoning_becomes_thinking_before_the_text() -> None:
    assert message(run(STREAMS["thinking"])[0])["content"] == [
        {"type": "thinking", "thinking": "First, think.", "signature": ""},
        {"type": "text", "text": "Done."},
    ]


def test_content_in_parts_is_read() -> None:
    assert message(run(STREAMS["parts"])[0])["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": ""},
        {"type": "text", "text": "2 + 2 = 4"},
    ]


def test_a_refusal_is_text() -> None:
    out = message(run(sse(chunk({"refusal": "I will "}), chunk({"refusal": "not."}), *end("content_filter")))[0])
    assert out["content"] == [{"type": "text", "text": "I will not."}]
    assert out["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
        ("eos", "end_turn"),
    ],
)
def test_finish_reasons_become_stop_reasons(reason: str, expected: str) -> None:
    assert message(run(sse(text("a"), *end(reason)))[0])["stop_reason"] == expected


def test_a_stop_after_tool_calls_is_told_as_tool_use() -> None:
    assert message(run(sse(tool(0, "{}", id="c", name="f"), *end("stop")))[0])["stop_reason"] == "tool_use"


def test_usage_in_the_last_chunk_with_choices_counts_too() -> None:
    out = message(run(sse(text("a"), chunk({}, "stop", usage=USAGE)))[0])
    assert out["usage"]["input_tokens"] == 8


def test_thinking_tokens_are_told() -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}}
    out = message(run(sse(text("a"), chunk({}, "stop"), chunk(usage=usage)))[0])
    assert out["usage"]["output_tokens_details"] == {"thinking_tokens": 5}


def test_an_answer_without_usage_counts_nothing() -> None:
    out, machine = run(sse(text("a"), chunk({}, "stop")))
    assert message(out)["usage"]["output_tokens"] == 0
    assert machine.usage is None


def test_an_answer_without_content_is_an_empty_message() -> None:
    assert message(run(sse(ROLE, *end("stop")))[0])["content"] == []


def test_an_upstream_that_names_neither_id_nor_model_gets_the_calls() -> None:
    data = sse({"choices": [], "prompt_filter_results": []}, text("a"), *end("stop"))
    start = events(run(data)[0])[0]["message"]
    assert (start["id"], start["model"]) == ("msg_0a1b-2c", "gpt-x")


def test_an_error_event_ends_the_stream_with_that_error() -> None:
    error = {"error": {"message": "Too fast.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
    out, machine = run(sse(ROLE, text("par"), error, text("never")))
    assert b'"text":"par"' in out
    assert b"never" not in out
    assert b"message_stop" not in out
    assert machine.error is not None
    assert (machine.error.kind, machine.error.message) == (Kind.RATE_LIMITED, "Too fast.")
    assert machine.feed(sse(text("more"))) == machine.close() == b""


@pytest.mark.parametrize(
    "junk",
    [
        b"data: <html>\n\n",
        b"data: 7\n\n",
        b'data: {"choices": 3}\n\n',
        b'data: {"choices": [{"delta": {"content": 3}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
        b'data: {"choices": ' + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]}\n\n'
        b"data: [DONE]\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_junk_is_an_error_and_never_an_exception(junk: bytes) -> None:
    out, machine = run(junk)
    assert machine.error is not None
    assert machine.error.kind is Kind.BAD_UPSTREAM
    assert b"message_stop" not in out


def test_arguments_after_a_complete_call_was_closed_are_an_error_not_a_loss() -> None:
    data = sse(tool(0, "{}", id="a", name="f"), tool(1, "{}", id="b", name="g"), tool(0, " "), tool(0, "{}"))
    assert run(data)[1].error is not None
    assert run(sse(tool(0, "{}", id="a", name="f"), text("x"), tool(0, " \n"), *end("stop")))[1].error is None


def test_an_upstream_without_end_cannot_fill_the_memory() -> None:
    machine = MESSAGES_TO_CHAT.stream(CALL)
    machine.feed(sse(tool(0, "{", id="a", name="f"), tool(1, "", id="b", name="g"), done=False))
    more = sse(tool(1, "x" * 1_000_000), done=False)
    for _ in range(40):
        machine.feed(more)
    assert machine.error is not None


deltas = st.one_of(
    st.text(max_size=8).map(text),
    st.text(max_size=8).map(lambda value: chunk({"reasoning_content": value})),
    st.builds(tool, st.integers(0, 2), st.sampled_from(["{", "}", '"a":1', "", " "])),
)


@given(st.lists(deltas, max_size=12), st.lists(st.integers(0, 4000), max_size=6))
def test_whatever_the_order_nothing_is_lost_and_no_cut_shows(middle: list[dict[str, Any]], cuts: list[int]) -> None:
    opening = [tool(index, id=f"call_{index}", name=f"f{index}") for index in range(3)]
    data = sse(*opening, *middle, *end("tool_calls"))
    whole, machine = run(data)
    cut_up = MESSAGES_TO_CHAT.stream(CALL)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [cut_up.feed(data[start:stop]) for start, stop in itertools.pairwise(edges)]
    assert b"".join(pieces) + cut_up.close() == whole
    assert cut_up.error == machine.error
    if machine.error is None:
        assert _said(events(whole)) == _meant([*opening, *middle])


def _said(found: list[dict[str, Any]]) -> dict[str, str]:
    """All text by where it belongs: prose by kind, arguments by call."""
    owner = ""
    said: dict[str, str] = {}
    for event in found:
        if event["type"] == "content_block_start":
            block = event["content_block"]
            owner = block.get("id", block["type"])
            said.setdefault(owner, "")
        elif event["type"] == "content_block_delta":
            [value] = [value for key, value in event["delta"].items() if key != "type"]
            said[owner] += value
    return said


def _meant(chunks: list[dict[str, Any]]) -> dict[str, str]:
    meant: dict[str, str] = {}
    for each in chunks:
        delta = each["choices"][0]["delta"]
        for kind, key in (("text", "content"), ("thinking", "reasoning_content")):
            if delta.get(key):
                meant[kind] = meant.get(kind, "") + delta[key]
        for call in delta.get("tool_calls", []):
            id = f"call_{call['index']}"
            meant[id] = meant.get(id, "") + call["function"]["arguments"]
    return meant


def test_events_are_one_line_of_json_each() -> None:
    for data in STREAMS.values():
        for line in run(data)[0].splitlines():
            assert not line or line.startswith(b"event: ") or json.loads(line.removeprefix(b"data: "))
