"""Chat answers as responses, whole and streamed: the same items either way."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.chain import Chain
from adapters.errors import BadAnswer
from adapters.packing import unpack
from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.types import Usage
from tests.adapters.anthropic_client.script import USAGE, chunk, sse, text, tool
from tests.adapters.anthropic_client.test_blocks import ANSWER, streamed
from tests.adapters.responses_client.script import call, events, response, run


def whole(message: dict[str, Any], finish: str = "stop", **asked: Any) -> dict[str, Any]:
    body = {
        "id": "chatcmpl-1",
        "model": "gpt-x-2026",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": USAGE,
    }
    made: dict[str, Any] = json.loads(RESPONSES_TO_CHAT.response(call(**asked), json.dumps(body).encode()).body)
    return made


def test_a_golden_answer() -> None:
    assert whole({"content": "Hello."}, instructions="Brief.", temperature=0.5, metadata={"a": "b"}) == {
        "id": "resp_0a1b",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-x-2026",
        "output": [
            {
                "id": "msg_0a1b_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello."}],
            }
        ],
        "background": False,
        "store": False,
        "instructions": "Brief.",
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "auto",
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {"a": "b"},
        "usage": {
            "input_tokens": 12,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 19,
        },
    }


def test_a_golden_stream() -> None:
    data = sse(
        chunk({"role": "assistant", "content": ""}), text("Hel"), text("lo."), chunk({}, "stop"), chunk(usage=USAGE)
    )
    out, machine = run(data)
    found = events(out)
    assert [each["type"].removeprefix("response.") for each in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert found[4] == {
        "type": "response.output_text.delta",
        "item_id": "msg_0a1b_0",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hel",
        "logprobs": [],
        "sequence_number": 4,
    }
    assert response(out) == whole({"content": "Hello."})
    assert machine.usage == Usage(12, 7, 4)


CHANCES = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]}
SOURCE = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2}}

ANSWERS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "thinking": (
        [{"reasoning_content": "Hm"}, {"reasoning_content": "m"}, {"content": "Yes"}],
        {"reasoning_content": "Hmm", "content": "Yes"},
        "stop",
    ),
    "a refusal": ([{"refusal": "I "}, {"refusal": "will not."}], {"content": None, "refusal": "I will not."}, "stop"),
    "sources": ([{"content": "Hi"}, {"annotations": [SOURCE]}], {"content": "Hi", "annotations": [SOURCE]}, "stop"),
    "cut short": ([{"content": "Hel"}], {"content": "Hel"}, "length"),
    "filtered": ([{"content": "Hel"}], {"content": "Hel"}, "content_filter"),
    "tools": (
        [
            {"content": "See:"},
            {"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "f", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
            {"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "g", "arguments": ""}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        ],
        {
            "content": "See:",
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        "tool_calls",
    ),
    "a signed call": (
        [
            {
                "tool_calls": [
                    {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}", "thought_signature": "s"}}
                ]
            }
        ],
        {
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}", "thought_signature": "s"}}],
        },
        "tool_calls",
    ),
    "a custom call": (
        [
            {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "sql", "arguments": '{"inp'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": 'ut":"SELECT 1"}'}}]},
        ],
        {
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "sql", "arguments": '{"input":"SELECT 1"}'}}],
        },
        "tool_calls",
    ),
}
TOOLS = [{"type": "custom", "name": "sql"}]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_says_what_a_whole_answer_says(name: str) -> None:
    deltas, message, finish = ANSWERS[name]
    data = sse(*map(chunk, deltas), chunk({}, finish), chunk(usage=USAGE))
    out, machine = run(data, call(True, tools=TOOLS))
    assert machine.error is None
    assert response(out) == whole(message, finish, tools=TOOLS)


def test_a_refusal_is_a_part_of_its_own() -> None:
    [item] = whole({"content": None, "refusal": "No."})["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_answer_cut_short_is_incomplete() -> None:
    made = whole({"content": "Hel"}, "length")
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert made["output"][0]["status"] == "incomplete"
    assert whole({"content": "Hel"}, "content_filter")["incomplete_details"] == {"reason": "content_filter"}
    out, _ = run(sse(text("Hel"), chunk({}, "length")))
    assert events(out)[-1]["type"] == "response.incomplete"


def test_the_input_of_a_custom_tool_is_free_text() -> None:
    deltas, _, finish = ANSWERS["a custom call"]
    out, _ = run(sse(*map(chunk, deltas), chunk({}, finish)), call(True, tools=TOOLS))
    [item] = response(out)["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "sql", "SELECT 1")


def test_sources_are_annotations_of_the_text() -> None:
    [item] = whole({"content": "Hi", "annotations": [SOURCE]})["output"]
    assert item["content"][0]["annotations"] == [
        {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "https://a", "title": "A"}
    ]


RAN = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}


@pytest.mark.parametrize("streamed", [False, True])
def test_sources_count_from_the_beginning_of_their_own_text(streamed: bool) -> None:
    source = {**SOURCE, "url_citation": {**SOURCE["url_citation"], "start_index": 5, "end_index": 8}}
    first = {**SOURCE, "url_citation": {**SOURCE["url_citation"], "start_index": 0, "end_index": 4}}
    texts = [{"type": "text", "text": "Žuť?"}, RAN, {"type": "text", "text": "So? Oh."}]
    if streamed:
        said: list[dict[str, Any]] = [
            {"content": "Žuť?"},
            {"annotations": [first]},
            {"content_blocks": [{"index": 1, "delta": RAN}]},
            {"content": "So? Oh."},
            {"annotations": [source]},
        ]
        made = response(run(sse(*map(chunk, said), chunk({}, "stop")))[0])
    else:
        made = whole({"content": "Žuť?So? Oh.", "annotations": [first, source], "content_blocks": texts})
    parts = [part for item in made["output"] for part in item.get("content") or ()]
    assert [
        [part["text"][each["start_index"] : each["end_index"]] for each in part["annotations"]] for part in parts
    ] == [
        ["Žuť?"],
        ["o? "],
    ]


def test_logprobs_stand_beside_their_text() -> None:
    data = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": CHANCES}]}
    out, _ = run(sse(data, chunk({}, "stop")))
    assert [each["logprobs"] for each in events(out) if "text.delta" in each["type"]] == [CHANCES["content"]]
    assert response(out)["output"][0]["content"][0]["logprobs"] == CHANCES["content"]


CHAIN = Chain(RESPONSES_TO_CHAT, CHAT_TO_MESSAGES)


@pytest.mark.parametrize("stream", [False, True])
def test_what_items_cannot_say_survives_a_loop_through_the_client(stream: bool) -> None:
    asked = call(stream, model="claude-sonnet-4-5")
    if stream:
        made = response(run(streamed(ANSWER), asked, CHAIN)[0])
    else:
        answer = {"id": "msg_1", "model": "claude-x", "content": ANSWER, "stop_reason": "tool_use"}
        made = json.loads(CHAIN.response(asked, json.dumps(answer).encode()).body)
    output = made["output"]
    assert [item["type"] for item in output] == ["reasoning", "reasoning", "message", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert [json.loads(bytes(each)) for each in unpack(output[0]["encrypted_content"]) or ()] == ANSWER[:1]

    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "Sunny"}
    second = call(model="claude-sonnet-4-5", input=[{"role": "user", "content": "?"}, *output, result])
    sent = json.loads(CHAIN.request(second).body)["messages"]
    expected = [dict(block) for block in ANSWER]
    expected[4].pop("citations")  # they are told as annotations, which are named as they come back
    assert sent[1]["content"] == expected
    assert CHAIN.request(second).dropped == ("input[].content[].annotations",)


def test_the_streams_end_is_what_makes_an_answer_whole() -> None:
    out, machine = run(sse(text("par"), done=False))
    assert machine.error is not None
    assert b"response.completed" not in out
    assert events(out)[-1]["type"] == "response.output_text.delta"


def test_however_a_stream_is_cut_it_says_the_same() -> None:
    data = sse(*map(chunk, [delta for deltas, _, _ in ANSWERS.values() for delta in deltas]), chunk({}, "stop"))
    data = data.replace(b'"id": "c"', b'"id": "c\\u00e9"')
    out, _ = run(data, call(True, tools=TOOLS))
    for cut in range(len(data)):
        machine = RESPONSES_TO_CHAT.stream(call(True, tools=TOOLS))
        assert machine.feed(data[:cut]) + machine.feed(data[cut:]) + machine.close() == out
    machine = RESPONSES_TO_CHAT.stream(call(True, tools=TOOLS))
    assert b"".join(machine.feed(data[at : at + 1]) for at in range(len(data))) + machine.close() == out


def test_a_prefix_of_a_stream_gives_a_prefix_of_its_events() -> None:
    deltas, _, _ = ANSWERS["tools"]
    data = sse(*map(chunk, deltas), chunk({}, "tool_calls"))
    out, _ = run(data)
    for cut in range(len(data) - len(b"\n\n")):
        machine = RESPONSES_TO_CHAT.stream(call(True))
        said = machine.feed(data[:cut]) + machine.close()
        if machine.error is None:
            assert said == out
        else:
            assert out.startswith(said)


NO_ANSWERS = [
    b"",
    b"[]",
    b"{}",
    b'{"choices":[]}',
    b'{"choices":[{"message":{"content":7}}]}',
    b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
]


@pytest.mark.parametrize("body", NO_ANSWERS)
def test_what_is_no_chat_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        RESPONSES_TO_CHAT.response(call(), body)


@pytest.mark.parametrize(
    "delta", [{"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}, {"content": 7}, {"content_blocks": [1]}]
)
def test_junk_in_a_stream_ends_it(delta: dict[str, Any]) -> None:
    out, machine = run(sse(text("a"), chunk(delta), text("b")))
    assert machine.error is not None
    assert b'"b"' not in out


def test_a_call_that_goes_on_after_its_end_is_refused() -> None:
    calls = [tool(0, "{}", id="a", name="f"), tool(1, "{}", id="b", name="g"), tool(0, "more")]
    _, machine = run(sse(*calls, chunk({}, "tool_calls")))
    assert machine.error is not None
    assert "complete" in machine.error.message


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes_give_events_and_at_most_an_error(pieces: list[bytes]) -> None:
    machine = RESPONSES_TO_CHAT.stream(call(True))
    out = b"".join([*map(machine.feed, pieces), machine.close()])
    events(out)


@given(
    st.lists(st.tuples(st.sampled_from(["content", "refusal", "reasoning_content"]), st.text(min_size=1)), max_size=8)
)
def test_every_word_comes_through_in_its_order(said: list[tuple[str, str]]) -> None:
    out, machine = run(sse(*(chunk({field: word}) for field, word in said), chunk({}, "stop")))
    assert machine.error is None
    made = response(out)["output"]
    kinds = {"output_text": "content", "refusal": "refusal", "summary_text": "reasoning_content"}
    told = []
    for item in made:
        for part in item.get("content", item.get("summary", [])):
            told.append((kinds[part["type"]], part.get("text", part.get("refusal"))))
    runs = itertools.groupby(said, key=lambda each: each[0])
    assert told == [(field, "".join(word for _, word in words)) for field, words in runs]
