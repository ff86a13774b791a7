"""Converse event streams → chat completion chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.bedrock import CHAT_TO_CONVERSE, MESSAGES_TO_INVOKE
from adapters.errors import Kind
from adapters.framing.eventstream import frame
from adapters.types import Call, Dialect, Usage
from tests.adapters.bedrock.streams import END, START, TEXT, THINKING, TOOLS, call, chunk, delta, event, stopped

COUNTED = Usage(15, 7, 4, 6)


def run(stream: bytes, of: Call, cut: int | None = None) -> tuple[bytes, Any]:
    machine = CHAT_TO_CONVERSE.stream(of)
    pieces = (stream,) if cut is None else (stream[:cut], stream[cut:])
    out = b"".join(machine.feed(piece) for piece in pieces)
    return out + machine.close(), machine


def chunks(out: bytes) -> list[dict[str, Any]]:
    events = out.decode().split("\n\n")
    assert events.pop() == ""
    return [json.loads(each.removeprefix("data: ")) for each in events if each != "data: [DONE]"]


def deltas(out: bytes) -> list[dict[str, Any]]:
    return [each["choices"][0]["delta"] for each in chunks(out) if each["choices"]]


def test_a_text_becomes_chunks_with_openais_words_and_counts() -> None:
    out, machine = run(TEXT, call({"stream": True, "stream_options": {"include_usage": True}}))
    assert machine.error is None
    assert out.endswith(b"data: [DONE]\n\n")
    found = chunks(out)
    assert "".join(each.get("content") or "" for each in deltas(out)) == "Hello ä"
    assert {each["id"] for each in found} == {"chatcmpl-id"}
    assert {each["model"] for each in found} == {"anthropic.claude-sonnet-4-5"}
    assert [each["choices"][0]["finish_reason"] for each in found if each["choices"]] == [None, None, None, "stop"]
    assert found[-1]["usage"]["prompt_tokens"] == 15
    assert found[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert found[-1]["usage"]["total_tokens"] == 22
    assert machine.usage == COUNTED


@pytest.mark.parametrize("stream", [TEXT, TOOLS])
def test_padding_is_no_loss(stream: bytes) -> None:
    _, machine = run(stream, call({"stream": True}))
    assert machine.unsaid == ()


def test_parallel_tool_calls_keep_their_order_ids_and_arguments() -> None:
    out, _ = run(TOOLS, call({"stream": True}))
    calls = [each["tool_calls"][0] for each in deltas(out) if "tool_calls" in each]
    assert [(each["index"], each["id"], each["function"]["name"]) for each in calls if "id" in each] == [
        (0, "t1", "a"),
        (1, "t2", "b"),
    ]
    arguments = {0: "", 1: ""}
    for each in calls:
        arguments[each["index"]] += each["function"]["arguments"]
    assert arguments == {0: '{"x":1}', 1: "{}"}
    assert chunks(out)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_thinking_is_shown_as_blocks_where_the_client_takes_them() -> None:
    out, _ = run(THINKING, call({"stream": True}, strict=False))
    shown = [block for each in deltas(out) for block in each.get("content_blocks", ())]
    assert shown == [
        {"index": 0, "delta": {"type": "thinking", "thinking": ""}},
        {"index": 0, "delta": {"thinking": "Hm"}},
        {"index": 0, "delta": {"thinking": "."}},
        {"index": 0, "delta": {"signature": "sig"}},
        {"index": 1, "delta": {"type": "redacted_thinking", "data": "opaque"}},
        {"index": 2, "delta": {"type": "text", "text": ""}},
        {"index": 2, "delta": {"text": "Yes"}},
    ]
    assert chunks(out)[-1]["choices"][0]["finish_reason"] == "max_tokens"
    assert chunks(out)[-1]["provider"] == "bedrock"
    strict, _ = run(THINKING, call({"stream": True}))
    assert b"content_blocks" not in strict
    assert chunks(strict)[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [TEXT, TOOLS, THINKING], ids=["text", "tools", "thinking"])
def test_every_cut_gives_the_same_bytes(stream: bytes) -> None:
    of = call({"stream": True, "stream_options": {"include_usage": True}}, strict=False)
    whole, _ = run(stream, of)
    for cut in range(len(stream)):
        assert run(stream, of, cut)[0] == whole


@pytest.mark.parametrize("stream", [TEXT, TOOLS, THINKING], ids=["text", "tools", "thinking"])
def test_a_stream_that_ends_early_never_looks_complete(stream: bytes) -> None:
    whole = stream.index(b"messageStop")
    for end in range(whole):
        out, machine = run(stream[:end], call({"stream": True}))
        assert machine.error is not None
        assert machine.error.kind is Kind.BAD_UPSTREAM
        assert b"[DONE]" not in out
        assert b'"finish_reason":"' not in out


def test_a_stream_without_its_usage_is_whole_once_its_reason_has_come() -> None:
    cut = TEXT.removesuffix(END)
    out, machine = run(cut, call({"stream": True}))
    assert machine.error is None
    assert out.endswith(b"[DONE]\n\n")
    late, machine = run(cut + END[:-1], call({"stream": True}))
    assert machine.error is not None
    assert b"[DONE]" not in late


def test_usage_may_come_before_the_reason() -> None:
    out, machine = run(START + delta(0, {"text": "x"}) + END + stopped("end_turn"), call({"stream": True}))
    assert machine.error is None
    assert out.endswith(b"[DONE]\n\n")
    assert machine.usage == COUNTED


EXCEPTIONS = {
    "throttlingException": (Kind.RATE_LIMITED, 429),
    "modelStreamErrorException": (Kind.BAD_UPSTREAM, 424),
    "validationException": (Kind.INVALID_REQUEST, 400),
    "serviceUnavailableException": (Kind.OVERLOADED, 503),
    "internalServerException": (Kind.BAD_UPSTREAM, 500),
    "somethingNew": (Kind.BAD_UPSTREAM, 502),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_within_a_stream_is_an_error_and_no_end(name: str) -> None:
    stream = START + delta(0, {"text": "x"}) + frame(name, b'{"message":"oh no"}', "exception")
    out, machine = run(stream, call({"stream": True}))
    assert (machine.error.kind, machine.error.status) == EXCEPTIONS[name]
    assert machine.error.message == "oh no"
    assert machine.error.type == name[0].upper() + name[1:]
    assert b'"content":"x"' in out
    assert b"[DONE]" not in out


def test_a_wrong_checksum_is_an_error_after_what_was_whole() -> None:
    good = START + delta(0, {"text": "x"})
    bad = bytearray(delta(0, {"text": "y"}))
    bad[-1] ^= 1
    out, machine = run(good + bytes(bad) + stopped("end_turn") + END, call({"stream": True}))
    assert "checksum" in machine.error.message
    assert b'"content":"x"' in out
    assert b'"content":"y"' not in out
    assert b"[DONE]" not in out


def test_junk_within_whole_frames_is_an_error() -> None:
    _, machine = run(START + event("contentBlockDelta", ["no"]), call({"stream": True}))
    assert machine.error.kind is Kind.BAD_UPSTREAM


def test_a_json_answer_by_tool_is_text() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    of = call({"model": "anthropic.claude-3-5-sonnet-v2:0", "stream": True, "response_format": schema})
    stream = (
        START
        + event(
            "contentBlockStart",
            {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "respond_with_json"}}},
        )
        + delta(0, {"toolUse": {"input": '{"a":1}'}})
        + stopped("tool_use")
        + END
    )
    out, _ = run(stream, of)
    assert "".join(each.get("content") or "" for each in deltas(out)) == '{"a":1}'
    assert chunks(out)[-1]["choices"][0]["finish_reason"] == "stop"


# -- Anthropic's clients

MESSAGES = [
    {
        "type": "message_start",
        "message": {"id": "msg_bdrk_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm ä"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 9}},
]
WRAPPED = b"".join(map(chunk, MESSAGES))


def messages(stream: bytes, cut: int | None = None) -> tuple[bytes, Any]:
    machine = MESSAGES_TO_INVOKE.stream(call(dialect=Dialect.ANTHROPIC_MESSAGES))
    pieces = (stream,) if cut is None else (stream[:cut], stream[cut:])
    out = b"".join(machine.feed(piece) for piece in pieces)
    return out + machine.close(), machine


def test_every_event_of_anthropics_passes_as_it_is() -> None:
    out, machine = messages(WRAPPED)
    assert machine.error is None
    assert machine.usage == Usage(9, 4)
    assert out == b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in MESSAGES)
    for cut in range(len(WRAPPED)):
        assert messages(WRAPPED, cut)[0] == out


def test_a_wrapped_stream_that_breaks_is_an_error() -> None:
    for end in (0, 10, len(WRAPPED) - 3):
        assert messages(WRAPPED[:end])[1].error is not None
    _, machine = messages(WRAPPED[: len(chunk(MESSAGES[0]))] + frame("throttlingException", b"{}", "exception"))
    assert machine.error.kind is Kind.RATE_LIMITED
    _, machine = messages(frame("chunk", b'{"bytes":"!"}'))
    assert machine.error.kind is Kind.BAD_UPSTREAM
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    out, machine = messages(chunk(MESSAGES[0]) + chunk(failure) + chunk(MESSAGES[1]))
    assert out.count(b"event: ") == 1  # the client is told in its own dialect, by who reads `error`
    assert (machine.error.kind, machine.error.message) == (Kind.OVERLOADED, "Overloaded")
