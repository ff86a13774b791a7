"""What only Anthropic has words for, there and back: through the middle of a chain nothing of it is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters import packing
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.chain import Chain
from adapters.types import Call, Dialect
from tests.adapters.anthropic_client.script import chunk, events, message, run, sse, text, tool

CHAIN = Chain(MESSAGES_TO_CHAT, CHAT_TO_MESSAGES)
EPHEMERAL = {"type": "ephemeral", "ttl": "1h"}
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "horses"}}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}
SOURCE = {"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "x"}
ANSWER = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "sig=="},
    {"type": "redacted_thinking", "data": "opaque"},
    SEARCH,
    RESULT,
    {"type": "text", "text": "Horses.", "citations": [SOURCE]},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Praha"}},
]


def call(stream: bool = False, **body: Any) -> Call:
    raw = json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 9000, **body}).encode()
    return Call(Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5", stream, raw, "0a1b", 1700000000)


def sent(**body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What an Anthropic provider gets by way of the pivot."""
    outbound = CHAIN.request(call(**body))
    return json.loads(outbound.body), outbound.dropped


ASKED = {"role": "user", "content": "Go on."}
SAID = {"type": "text", "text": "So."}
CONVERSATION: list[Any] = [
    {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": EPHEMERAL}]},
    {"role": "assistant", "content": ANSWER},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [PIXEL], "is_error": True},
            {"type": "text", "text": "Go on."},
        ],
    },
]


def test_a_turn_with_thinking_tools_and_images_comes_through_whole() -> None:
    made, dropped = sent(
        system=[{"type": "text", "text": "Brief.", "cache_control": EPHEMERAL}],
        messages=CONVERSATION,
        tools=[
            {"name": "weather", "input_schema": {"type": "object"}, "cache_control": EPHEMERAL},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ],
        thinking={"type": "enabled", "budget_tokens": 2048},
        top_k=5,
    )
    assert made["messages"] == CONVERSATION
    assert made["system"] == [{"type": "text", "text": "Brief.", "cache_control": EPHEMERAL}]
    assert made["tools"][0]["cache_control"] == EPHEMERAL
    assert made["tools"][1] == {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    assert made["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert (made["top_k"], dropped) == (5, ())


def test_a_summary_of_the_earlier_conversation_stays_where_it_stood() -> None:
    summary = {"type": "compaction", "content": "They said hello."}
    made, dropped = sent(messages=[ASKED, {"role": "assistant", "content": [ANSWER[0], summary, SAID]}, ASKED])
    assert made["messages"][1]["content"] == [ANSWER[0], {"type": "text", "text": "They said hello."}, SAID]
    assert dropped == ()


def test_an_answer_comes_back_whole() -> None:
    body = {
        "id": "msg_1",
        "model": "claude-x",
        "content": ANSWER,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": 2},
    }
    made = json.loads(CHAIN.response(call(messages=CONVERSATION[:1]), json.dumps(body).encode()).body)
    assert made["content"] == ANSWER
    assert made["usage"]["cache_creation_input_tokens"] == 2


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n".encode()


def streamed(blocks: list[dict[str, Any]]) -> bytes:
    """Anthropic's own stream of an answer."""
    start = {"id": "msg_1", "model": "claude-x", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}
    out = event("message_start", message=start)
    for index, block in enumerate(blocks):
        whole, deltas = dict(block), []
        for field, kind in (("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")):
            if field in whole:
                value = whole.pop(field)
                whole[field] = ""
                deltas += [{"type": kind, field: value[:3]}, {"type": kind, field: value[3:]}]
        deltas += [{"type": "citations_delta", "citation": each} for each in whole.pop("citations", [])]
        if "input" in whole:
            written = json.dumps(whole["input"])
            whole["input"] = {}
            deltas += [{"type": "input_json_delta", "partial_json": part} for part in (written[:4], written[4:])]
        out += event("content_block_start", index=index, content_block=whole)
        out += b"".join(event("content_block_delta", index=index, delta=delta) for delta in deltas)
        out += event("content_block_stop", index=index)
    out += event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 3})
    return out + event("message_stop")


def accumulated(data: bytes) -> list[dict[str, Any]]:
    """The blocks of a client's stream."""
    blocks: list[dict[str, Any]] = []
    written = ""
    for each in events(data):
        if each["type"] == "content_block_start":
            blocks.append(each["content_block"])
            written = ""
        elif each["type"] == "content_block_delta":
            delta = each["delta"]
            kind = delta.pop("type")
            if kind == "citations_delta":
                blocks[-1].setdefault("citations", []).append(delta["citation"])
            elif kind == "input_json_delta":
                written += delta["partial_json"]
            else:
                [(field, value)] = delta.items()
                blocks[-1][field] += value
        elif each["type"] == "content_block_stop" and written:
            blocks[-1]["input"] = json.loads(written)
    return blocks


def test_a_stream_comes_back_whole_however_it_is_cut() -> None:
    data = streamed(ANSWER)
    asked = call(True, messages=CONVERSATION[:1])
    whole = CHAIN.stream(asked)
    out = whole.feed(data) + whole.close()
    assert whole.error is None
    assert accumulated(out) == ANSWER
    for cut in range(0, len(data), 7):
        machine = CHAIN.stream(asked)
        assert machine.feed(data[:cut]) + machine.feed(data[cut:]) + machine.close() == out


SIGNED_CALL = {"name": "weather", "arguments": '{"city":"Praha"}', "thought_signature": "gem+sig"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_signature_of_a_tool_call_comes_back_to_its_call(stream: bool) -> None:
    tool_calls = [{"index": 0, "id": "call_1", "type": "function", "function": SIGNED_CALL}]
    if stream:
        out, _ = run(sse(chunk({"tool_calls": tool_calls}), chunk({}, "tool_calls")))
        content = message(out)["content"]
    else:
        said = {"role": "assistant", "content": None, "tool_calls": tool_calls}
        answer = {"choices": [{"message": said, "finish_reason": "tool_calls"}]}
        content = json.loads(MESSAGES_TO_CHAT.response(call(), json.dumps(answer).encode()).body)["content"]
    assert [block["type"] for block in content] == ["redacted_thinking", "tool_use"]
    conversation = [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]
    middle = Call(Dialect.ANTHROPIC_MESSAGES, "g", False, json.dumps({"messages": conversation}).encode(), "i", 0, True)
    made = json.loads(CHAIN._between(middle)[0].body)
    [function] = [each["function"] for each in made["messages"][1]["tool_calls"]]
    assert {**function, "arguments": json.loads(function["arguments"])} == {
        **SIGNED_CALL,
        "arguments": {"city": "Praha"},
    }
    assert "content_blocks" not in made["messages"][1]


def test_an_openai_upstream_gets_none_of_it_and_the_client_is_told() -> None:
    outbound = MESSAGES_TO_CHAT.request(call(messages=CONVERSATION))
    assert b"content_blocks" not in outbound.body
    assert b"cache_control" not in outbound.body
    assert set(outbound.dropped) == {
        "cache_control",
        "messages[].content[].thinking",
        "messages[].content[].server_tool_use",
        "messages[].content[].web_search_tool_result",
        "messages[].content[].citations",
    }


def test_pieces_that_come_while_a_call_is_open_are_told_after_it() -> None:
    blocks = [
        {"index": 0, "delta": {"type": "thinking", "thinking": "", "signature": ""}},
        {"index": 0, "delta": {"thinking": "a"}},
        {"index": 0, "delta": {"thinking": "b"}},
        {"index": 0, "delta": {"signature": "s"}},
        {"index": 1, "delta": {"type": "redacted_thinking", "data": "d"}},
    ]
    out, machine = run(
        sse(
            tool(0, '{"a"', id="call_1", name="f"),
            *[chunk({"content_blocks": [each]}) for each in blocks],
            tool(0, ":1}"),
            chunk({}, "tool_calls"),
        )
    )
    assert machine.error is None
    assert accumulated(out) == [
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "thinking", "thinking": "ab", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]


def test_sources_that_openai_names_become_citations() -> None:
    annotation = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "A", "end_index": 3}}
    out, _ = run(sse(text("Hi."), chunk({"annotations": [annotation]}), chunk({}, "stop")))
    assert accumulated(out)[0]["citations"] == [{**SOURCE, "cited_text": "", "encrypted_index": ""}]


def test_packed_blocks_are_unpacked_as_they_were() -> None:
    blocks: list[Any] = [{"type": "thinking", "thinking": "é", "signature": "s"}]
    packed = packing.pack(blocks)
    assert packed.startswith(packing.PREFIX)
    assert [json.loads(bytes(each)) for each in packing.unpack(packed) or ()] == blocks


@pytest.mark.parametrize(
    "foreign", ["", "gAAAA", packing.PREFIX + "?", packing.PREFIX + "e30=", packing.PREFIX + "WzFd"]
)
def test_what_was_not_packed_here_is_not_unpacked(foreign: str) -> None:
    assert packing.unpack(foreign) is None
