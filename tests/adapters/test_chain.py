from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import openai_errors
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.chain import Chain, Identity
from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.errors import BadAnswer, InvalidRequest, Kind, UpstreamError
from adapters.registry import CODECS
from adapters.types import Call, Dialect, Outbound, Reply, StreamDecoder, Usage
from tests.adapters.anthropic_client.script import USAGE, chunk, message, sse, text

CHAIN = Chain(COMPLETIONS_TO_CHAT, CHAT_TO_MESSAGES)


def call(*, stream: bool = False, strict: bool = True, **body: Any) -> Call:
    raw = json.dumps({"prompt": "Ahoj 🐎", "max_tokens": 9, **body}).encode()
    return Call(Dialect.OPENAI_COMPLETIONS, "claude-sonnet-4-5", stream, raw, "0a1b", 1700000000, strict)


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n".encode()


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-2026",
        "content": [],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1},
    },
)
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})


def said(words: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def stopped(reason: str) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": 5}) + event("message_stop")


ANSWER = START + OPEN + said("Hel") + event("ping") + said("lo 🐎") + event("content_block_stop", index=0)
WHOLE = ANSWER + stopped("max_tokens")


def run(data: bytes, asked: Call) -> tuple[bytes, StreamDecoder]:
    machine = CHAIN.stream(asked)
    return machine.feed(data) + machine.close(), machine


def chunks(out: bytes) -> list[dict[str, Any]]:
    *events, done, nothing = out.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [json.loads(each.removeprefix(b"data: ")) for each in events]


# Identity.


IDENTITY = Identity(openai_errors.read)


def test_identity_gives_what_it_takes() -> None:
    asked = Call(Dialect.OPENAI_CHAT, "m", True, b'{"model" : "m", "x": 1.0}', "id", 0)
    assert IDENTITY.identity
    assert IDENTITY.request(asked) == Outbound(asked.body)
    assert IDENTITY.response(asked, b"\xff anything") == Reply(b"\xff anything", None)
    machine = IDENTITY.stream(asked)
    assert machine.feed(b"data: \xff") + machine.feed(b"") + machine.close() == b"data: \xff"
    assert (machine.usage, machine.error) == (None, None)


def test_identity_reads_errors_as_its_dialect_does() -> None:
    def reader(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return UpstreamError(Kind.OVERLOADED, status, body.decode())

    assert Identity(reader).error(529, {}, b"busy") == UpstreamError(Kind.OVERLOADED, 529, "busy")


# Completions → chat → Messages.


def test_a_request_goes_through_both() -> None:
    made = CHAIN.request(call(stop="END", top_k=5, presence_penalty=1))
    body = json.loads(made.body)
    assert body["model"] == "claude-sonnet-4-5"
    assert body["messages"][0]["role"] == "user"
    assert "Ahoj 🐎" in json.dumps(body["messages"], ensure_ascii=False)
    assert (body["max_tokens"], body["stop_sequences"]) == (9, ["END"])
    assert made.dropped == CHAT_TO_MESSAGES.request(_middle(stop="END", top_k=5, presence_penalty=1)).dropped
    assert "presence_penalty" in made.dropped


def _middle(**body: Any) -> Call:
    raw = json.dumps({"messages": [{"role": "user", "content": "Ahoj 🐎"}], "max_tokens": 9, **body}).encode()
    return Call(Dialect.OPENAI_CHAT, "claude-sonnet-4-5", False, raw, "0a1b", 1700000000)


@pytest.mark.parametrize(("field", "value"), [("echo", True), ("stop", 5)])
def test_either_half_may_refuse_a_request(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAIN.request(call(**{field: value}))
    assert caught.value.param == field


def test_a_whole_answer_goes_back_through_both() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-2026",
        "content": [{"type": "text", "text": "Hello 🐎"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 5},
    }
    reply = CHAIN.response(call(), json.dumps(body).encode())
    made = json.loads(reply.body)
    assert made["object"] == "text_completion"
    assert made["choices"] == [{"text": "Hello 🐎", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert made["usage"]["prompt_tokens"] == 12
    assert reply.usage == Usage(input=12, output=5, cached=2)


def test_an_answer_of_another_dialect_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer):
        CHAIN.response(call(), b"<html>")


def test_a_stream_goes_back_through_both() -> None:
    out, machine = run(WHOLE, call(stream=True))
    made = chunks(out)
    assert machine.error is None
    assert "".join(each["choices"][0]["text"] for each in made) == "Hello 🐎"
    assert made[-1]["choices"][0]["finish_reason"] == "length"
    assert {each["object"] for each in made} == {"text_completion"}


def test_usage_is_counted_always_and_told_to_who_asked() -> None:
    quiet, machine = run(WHOLE, call(stream=True))
    assert machine.usage == Usage(input=12, output=5, cached=2)
    assert b"usage" not in quiet
    told = chunks(run(WHOLE, call(stream=True, stream_options={"include_usage": True}))[0])
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["total_tokens"] == 17


def test_a_client_that_is_not_strict_gets_the_providers_finish_reason() -> None:
    made = chunks(run(WHOLE, call(stream=True, strict=False))[0])
    assert made[-1]["choices"][0]["finish_reason"] == "max_tokens"


def test_any_cut_gives_the_same_bytes() -> None:
    asked = call(stream=True, stream_options={"include_usage": True})
    whole, _ = run(WHOLE, asked)
    for cut in range(len(WHOLE) + 1):
        machine = CHAIN.stream(asked)
        assert machine.feed(WHOLE[:cut]) + machine.feed(WHOLE[cut:]) + machine.close() == whole


def test_a_stream_cut_short_never_looks_complete() -> None:
    for cut in range(len(WHOLE)):
        out, machine = run(WHOLE[:cut], call(stream=True))
        assert (machine.error is None) == out.endswith(b"data: [DONE]\n\n")
        if machine.error is None:
            assert b"message_stop" in WHOLE[:cut]


def test_an_error_upstream_keeps_what_came_before_and_ends_the_stream() -> None:
    busy = event("error", error={"type": "overloaded_error", "message": "Busy."})
    out, machine = run(ANSWER + busy + said("never"), call(stream=True))
    assert b"Hel" in out
    assert b"never" not in out
    assert b"[DONE]" not in out
    assert machine.error is not None
    assert (machine.error.kind, machine.error.message) == (Kind.OVERLOADED, "Busy.")
    assert machine.feed(WHOLE) == machine.close() == b""


def test_errors_are_read_in_the_upstream_dialect() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy."}}'
    assert CHAIN.error(529, {}, body) == CHAT_TO_MESSAGES.error(529, {}, body)


@given(st.lists(st.text(max_size=5), max_size=5), st.lists(st.integers(0, 3000), max_size=5))
def test_no_cut_shows_and_no_text_is_lost(texts: list[str], cuts: list[int]) -> None:
    data = START + OPEN + b"".join(map(said, texts)) + stopped("end_turn")
    machine = CHAIN.stream(call(stream=True))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = b"".join(machine.feed(data[start:stop]) for start, stop in itertools.pairwise(edges)) + machine.close()
    assert "".join(each["choices"][0]["text"] for each in chunks(out)) == "".join(texts)


# What the second half is given.


class Spy:
    """Takes chat for chat, and notes the calls."""

    identity = False

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def request(self, call: Call) -> Outbound:
        self.calls.append(call)
        return Outbound(call.body, (("x-version", "1"),), ("a", "b"))

    def response(self, call: Call, body: bytes) -> Reply:
        self.calls.append(call)
        return Reply(body)

    def stream(self, call: Call) -> StreamDecoder:
        self.calls.append(call)
        return IDENTITY.stream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return openai_errors.read(status, headers, body)


def test_the_middle_is_a_chat_call_that_asks_for_usage_when_streamed() -> None:
    spy = Spy()
    asked = call(stream=True, strict=False)
    outbound = Chain(COMPLETIONS_TO_CHAT, spy).request(asked)
    Chain(COMPLETIONS_TO_CHAT, spy).stream(asked)
    assert spy.calls[0] == spy.calls[1]
    middle = spy.calls[0]
    assert (middle.dialect, middle.model, middle.strict) == (Dialect.OPENAI_CHAT, asked.model, False)
    assert json.loads(middle.body)["stream_options"] == {"include_usage": True}
    assert (outbound.headers, outbound.dropped) == ((("x-version", "1"),), ("a", "b"))


def test_without_a_stream_the_middle_asks_for_nothing_more() -> None:
    spy = Spy()
    Chain(COMPLETIONS_TO_CHAT, spy).request(call())
    assert "stream_options" not in json.loads(spy.calls[0].body)


def test_the_first_halfs_usage_counts_where_the_second_has_none() -> None:
    machine = Chain(COMPLETIONS_TO_CHAT, Spy()).stream(call(stream=True))
    machine.feed(sse(text("a"), chunk({}, "stop"), chunk(usage=USAGE)))
    assert machine.usage == Usage(input=12, output=7, cached=4)


def test_an_early_end_that_only_the_first_half_sees_is_an_error() -> None:
    machine = Chain(COMPLETIONS_TO_CHAT, Spy()).stream(call(stream=True))
    out = machine.feed(sse(text("a"), done=False)) + machine.close()
    assert b'"text":"a"' in out
    assert machine.error is not None
    assert machine.error.kind is Kind.BAD_UPSTREAM


def test_other_clients_get_a_strict_middle_and_their_own_dialect() -> None:
    raw = b'{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"stream":true}'
    asked = Call(Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5", True, raw, "0a1b", 1700000000, strict=False)
    spy = Spy()
    Chain(MESSAGES_TO_CHAT, spy).request(asked)
    assert spy.calls[0].strict
    machine = Chain(MESSAGES_TO_CHAT, CHAT_TO_MESSAGES).stream(asked)
    made = message(machine.feed(WHOLE) + machine.close())
    assert made["content"] == [{"type": "text", "text": "Hello 🐎"}]
    assert made["stop_reason"] == "max_tokens"
    assert (made["usage"]["input_tokens"], made["usage"]["cache_read_input_tokens"]) == (10, 2)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ASKED: dict[Dialect, dict[str, Any]] = {
    Dialect.OPENAI_COMPLETIONS: {"prompt": "x" * 500},
    Dialect.OPENAI_RESPONSES: {
        "input": "x" * 500,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    },
    Dialect.GEMINI_GENERATE: {
        "contents": [{"role": "user", "parts": [{"text": "x" * 500}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    },
}
CALLED = {
    "content": [
        {"type": "text", "text": "t"},
        {"type": "tool_use", "id": "c", "name": "respond_with_json", "input": {"a": "b"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
CALLING = (
    {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": CALLED["content"][1]},  # type: ignore[index]
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", ASKED)
def test_an_answer_is_the_same_by_what_was_kept_of_the_request(client: Dialect, stream: bool) -> None:
    codec = CODECS[(client, Dialect.ANTHROPIC_MESSAGES)]
    asked = Call(client, "claude-3-5-sonnet", stream, json.dumps(ASKED[client]).encode(), "id", 1)
    kept = msgspec.structs.replace(asked, middle=codec.request(asked).middle)
    assert kept.middle is not None
    assert b"xxx" not in kept.middle.body

    def answered(asked: Call) -> object:
        if not stream:
            return codec.response(asked, json.dumps(CALLED).encode())
        machine = codec.stream(asked)
        data = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in CALLING)
        return machine.feed(data), machine.close(), machine.usage, machine.error

    assert answered(kept) == answered(asked)
    assert b"b" in repr(answered(kept)).encode()
