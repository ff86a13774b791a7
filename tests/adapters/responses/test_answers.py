"""Responses as chat clients read them: whole, streamed, failed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import BadAnswer, Kind
from adapters.responses import CHAT_TO_RESPONSES
from adapters.responses.stream import ResponsesStream
from adapters.types import Call, Dialect, Rare, Usage
from tests.adapters.responses.script import (
    CHANCES,
    CUSTOM,
    ITEMS,
    SEARCH,
    event,
    events,
    function,
    message,
    reasoning,
    response,
    text,
)


def call(stream: bool = False, strict: bool = True, blocks: bool = False, **body: Any) -> Call:
    raw = json.dumps({"messages": [{"role": "user", "content": "?"}], **body}).encode()
    return Call(Dialect.OPENAI_CHAT, "gpt-5-pro", stream, raw, "0a1b", 1700000000, strict, blocks)


def read(answer: dict[str, Any], **asked: Any) -> dict[str, Any]:
    reply = CHAT_TO_RESPONSES.response(call(**asked), json.dumps(answer).encode())
    made: dict[str, Any] = json.loads(reply.body)
    return made


def run(data: bytes, asked: Call) -> tuple[list[dict[str, Any]], ResponsesStream]:
    machine = CHAT_TO_RESPONSES.stream(asked)
    out = machine.feed(data) + machine.close()
    chunks = [json.loads(each[6:]) for each in out.split(b"\n\n") if each.startswith(b"data: {")]
    return chunks, machine


def folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that the chunks' deltas come to, with its finish reason and logprobs."""
    made: dict[str, Any] = {"content": "", "refusal": "", "annotations": [], "logprobs": []}
    calls: dict[int, dict[str, Any]] = {}
    blocks: list[dict[str, Any]] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            made["content"] += delta.get("content") or ""
            made["refusal"] += delta.get("refusal") or ""
            made["annotations"] += delta.get("annotations", ())
            made["logprobs"] += (choice.get("logprobs") or {}).get("content", ())
            made["finish_reason"] = choice["finish_reason"]
            for each in delta.get("tool_calls", ()):
                kept = calls.setdefault(each["index"], {"type": each.get("type"), "id": each.get("id"), "said": ""})
                inner = each.get("function") or each["custom"]
                kept["name"] = kept.get("name") or inner.get("name")
                kept["said"] += inner.get("arguments", inner.get("input")) or ""
            for each in delta.get("content_blocks", ()):
                if each["index"] == len(blocks):
                    blocks.append({})
                block = blocks[each["index"]]
                for name, value in each["delta"].items():
                    grows = name in ("text", "thinking") and name in block
                    block[name] = block[name] + value if grows else value
    return {**made, "calls": list(calls.values()), "blocks": blocks}


def citation(start: int, end: int) -> dict[str, Any]:
    place = {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": {"url": "https://a.cz", "title": "A", **place}}


FIRST, LATER = citation(0, 2), citation(3, 5)
BLOCKS = [
    {"type": "thinking", "thinking": "Hm 🐎.\n\nSo.", "signature": "openai:0:rs_1:gAAA"},
    {"type": "openai_item", "after": 0, "item": SEARCH},
    {"type": "text", "text": "It ", "phase": "commentary"},
    {"type": "text", "text": "rains.", "phase": "commentary"},
    {"type": "thinking", "thinking": "", "signature": "openai:1:rs_2:gBBB"},
]


def test_a_golden_answer() -> None:
    assert read(response(*ITEMS), strict=False) == {
        "id": "resp_1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-5-pro-2025-10-06",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "It rains.",
                    "refusal": None,
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Žďár"}'},
                        },
                        {"id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
                        {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}},
                    ],
                    "annotations": [FIRST, LATER],
                    "content_blocks": BLOCKS,
                },
                "logprobs": {"content": CHANCES, "refusal": None},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 40,
            "completion_tokens": 12,
            "total_tokens": 52,
            "prompt_tokens_details": {"cached_tokens": 16},
            "completion_tokens_details": {"reasoning_tokens": 5},
            "cache_read_input_tokens": 16,
            "cache_creation_input_tokens": 0,
            "server_tool_use": {"web_search_requests": 1},
        },
        "provider": "openai",
    }


def test_strict_clients_get_openais_shape_and_nothing_beside_it() -> None:
    made = read(response(reasoning("Hm."), message(text("Yes"))))
    assert made["choices"][0]["message"] == {"role": "assistant", "content": "Yes", "refusal": None}
    assert "provider" not in made


def test_usage_is_counted_in_openais_meaning_with_its_tier() -> None:
    reply = CHAT_TO_RESPONSES.response(call(), json.dumps(response(message(text("a")))).encode())
    assert reply.usage == Usage(40, 12, 16, 0, 5, tier="default")


def test_a_stream_tells_what_the_whole_answer_tells() -> None:
    chunks, machine = run(b"".join(events(response(*ITEMS))), call(True, strict=False))
    told, whole = folded(chunks), read(response(*ITEMS), strict=False)["choices"][0]
    assert machine.error is None
    assert (told["content"], told["annotations"]) == ("It rains.", [FIRST, LATER])
    assert (told["logprobs"], told["finish_reason"]) == (CHANCES, "tool_calls")
    assert told["blocks"] == whole["message"]["content_blocks"]
    assert [(each["type"], each["id"], each["name"], each["said"]) for each in told["calls"]] == [
        ("function", "a", "weather", '{"city":"Žďár"}'),
        ("function", "b", "now", "{}"),
        ("custom", "c", "sql", "SELECT 1"),
    ]
    assert machine.usage == Usage(40, 12, 16, 0, 5, tier="default", rare=Rare(searches=1))


def test_a_golden_stream() -> None:
    machine = CHAT_TO_RESPONSES.stream(call(True, stream_options={"include_usage": True}))
    out = machine.feed(b"".join(events(response(reasoning("Hm."), message(text("Hi 🐎")))))) + machine.close()
    head = (
        b'data: {"id":"resp_1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-5-pro-2025-10-06",'
        b'"choices":['
    )
    tail = b',"finish_reason":null}],"usage":null}\n\n'
    assert out == b"".join(
        (
            *(head, b'{"index":0,"delta":{"role":"assistant","content":""}', tail),
            *(head, b'{"index":0,"delta":{"content":"Hi"}', tail),
            *(head, '{"index":0,"delta":{"content":" 🐎"}'.encode(), tail),
            *(head, b'{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'),
            *(head, b'],"usage":{"prompt_tokens":40,"completion_tokens":12,"total_tokens":52,'),
            b'"prompt_tokens_details":{"cached_tokens":16},"completion_tokens_details":{"reasoning_tokens":5}}}\n\n',
            b"data: [DONE]\n\n",
        )
    )


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("new", "length")]
)
def test_incomplete_answers_say_why(reason: str, finish: str) -> None:
    answer = response(message(text("Cut")), status="incomplete", incomplete_details={"reason": reason})
    assert read(answer)["choices"][0]["finish_reason"] == finish
    chunks, machine = run(b"".join(events(answer, "response.incomplete")), call(True))
    assert (folded(chunks)["finish_reason"], machine.error) == (finish, None)


def test_refusals_have_a_field_of_their_own() -> None:
    answer = response(message({"type": "refusal", "refusal": "I will not."}))
    said = read(answer)["choices"][0]["message"]
    assert (said["content"], said["refusal"]) == (None, "I will not.")
    assert folded(run(b"".join(events(answer)), call(True))[0])["refusal"] == "I will not."


def test_thoughts_told_in_full_are_shown_where_there_is_no_summary() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]}
    made = read(response(item, message(text("Yes"))), blocks=True)["choices"][0]["message"]
    assert made["content_blocks"][0] == {"type": "thinking", "thinking": "Hm"}
    said = event("response.reasoning_text.delta", output_index=0, content_index=0, delta="Hm")
    opened = event("response.created", response=response())
    chunks, _ = run(opened + said, call(True, blocks=True))
    assert folded(chunks)["blocks"] == [{"type": "thinking", "thinking": "Hm"}]


def test_clients_of_old_get_the_first_call_alone() -> None:
    answer = response(function("weather", "{}", "a"), function("now", "{}", "b"), CUSTOM)
    choice = read(answer, functions=[{"name": "weather"}])["choices"][0]
    assert choice["message"]["function_call"] == {"name": "weather", "arguments": "{}"}
    assert choice["finish_reason"] == "function_call"
    chunks, _ = run(b"".join(events(answer)), call(True, functions=[{"name": "weather"}]))
    deltas = [each["choices"][0]["delta"] for each in chunks if each["choices"]]
    assert [delta["function_call"].get("name") for delta in deltas if "function_call" in delta] == [
        "weather",
        None,
        None,
    ]


def test_servers_that_send_calls_whole_are_read_too() -> None:
    whole = function("weather", '{"a":1}', "a")
    opened = event("response.created", response=response())
    done = event("response.output_item.done", output_index=0, item=whole)
    for before in (b"", event("response.output_item.added", output_index=0, item={**whole, "arguments": ""})):
        told = folded(run(opened + before + done + event("response.completed", response=response()), call(True))[0])
        assert [(each["name"], each["said"]) for each in told["calls"]] == [("weather", '{"a":1}')]


def test_servers_that_leave_fields_empty_are_read_too() -> None:
    bare = {"id": "fc_1", "type": "function_call", "call_id": None, "name": "now", "arguments": None}
    cited = {"type": "url_citation", "url": "https://a.cz", "title": None, "start_index": None, "end_index": None}
    part = {"type": "output_text", "text": "Hi", "annotations": [cited], "logprobs": None}
    answer = response({"type": "message", "content": [part]}, {"type": "message", "content": None}, bare, usage=None)
    said = read(answer)["choices"][0]["message"]
    assert (said["content"], said["tool_calls"][0]["id"]) == ("Hi", "fc_1")
    assert said["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}


def test_servers_without_event_lines_are_read_too() -> None:
    asked, told = call(True, strict=False), b"".join(events(response(*ITEMS)))
    bare = b"\n".join(line for line in told.split(b"\n") if not line.startswith(b"event: "))
    assert run(bare, asked)[0] == run(told, asked)[0]


WHOLE = b"".join(events(response(*ITEMS)))


def test_any_cut_gives_the_same_bytes() -> None:
    asked = call(True, strict=False, stream_options={"include_usage": True})
    machine = CHAT_TO_RESPONSES.stream(asked)
    whole = machine.feed(WHOLE) + machine.close()
    for at in range(len(WHOLE) + 1):
        machine = CHAT_TO_RESPONSES.stream(asked)
        assert machine.feed(WHOLE[:at]) + machine.feed(WHOLE[at:]) + machine.close() == whole


def test_a_stream_cut_short_never_looks_complete() -> None:
    asked = call(True)
    for at in range(len(WHOLE)):
        machine = CHAT_TO_RESPONSES.stream(asked)
        out = machine.feed(WHOLE[:at]) + machine.close()
        assert (machine.error is None) == out.endswith(b"data: [DONE]\n\n")
        assert machine.error is not None or at >= len(WHOLE) - 2


@given(st.lists(st.text(min_size=1, max_size=9), max_size=5), st.lists(st.text(min_size=1, max_size=9), max_size=3))
def test_no_word_is_lost(texts: list[str], thoughts: list[str]) -> None:
    answer = response(reasoning(*thoughts), *(message(text(each)) for each in texts))
    told = folded(run(b"".join(events(answer)), call(True, blocks=True))[0])
    whole = read(answer, blocks=True)["choices"][0]["message"]
    assert told["content"] == "".join(texts) == whole["content"]
    assert told["blocks"] == whole["content_blocks"]
    assert told["blocks"][0]["thinking"] == "\n\n".join(thoughts)


# What goes wrong.


@pytest.mark.parametrize(
    "answer",
    [
        response(status="failed", error={"code": "server_error", "message": "Broken."}),
        response(status="in_progress"),
        response(status="queued"),
        {"object": "response"},
        {"choices": []},
    ],
)
def test_what_is_no_answer_is_a_bad_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        read(answer)


QUOTA = {"code": "insufficient_quota", "message": "No money.", "param": None}
ERRORS = {
    "flat": event("error", **QUOTA),
    "nested": event("error", error={"type": "insufficient_quota", **QUOTA}),
    "failed": event("response.failed", response=response(status="failed", error=QUOTA)),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_in_the_stream_keeps_its_code_and_what_came_before(kind: str) -> None:
    before = b"".join(events(response(message(text("Hello"))))[:-2])
    chunks, machine = run(before + ERRORS[kind] + events(response())[-1], call(True))
    assert folded(chunks)["content"] == "Hello"
    assert folded(chunks)["finish_reason"] is None
    assert machine.error is not None
    assert (machine.error.kind, machine.error.code) == (Kind.QUOTA_EXCEEDED, "insufficient_quota")
    assert machine.error.message == "No money."


@pytest.mark.parametrize(
    "junk",
    [
        event("response.output_text.delta", delta="a"),
        event("response.created", response=5),
        b"event: response.created\ndata: <html>\n\n",
        b'event: response.output_text.delta\ndata: {"delta":"\xff"}\n\n',
        event("response.failed", response={}),
        event("error"),
    ],
)
def test_junk_ends_the_stream_with_an_error(junk: bytes) -> None:
    chunks, machine = run(junk, call(True))
    assert (chunks, machine.error is not None) == ([], True)


def test_an_error_answer_keeps_its_words() -> None:
    body = b'{"error":{"message":"Slow down.","type":"requests","code":"rate_limit_exceeded","param":null}}'
    error = CHAT_TO_RESPONSES.error(429, {}, body)
    assert (error.kind, error.status, error.message, error.type) == (Kind.RATE_LIMITED, 429, "Slow down.", "requests")
