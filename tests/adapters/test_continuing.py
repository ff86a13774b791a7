"""The seam between two streams: nothing is lost, nothing said twice, whatever the split."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.continuing import CLIENTS, PREFILLED, Seam, Transcript, prefilled
from adapters.errors import InvalidRequest
from adapters.opening import look
from adapters.registry import CODECS
from adapters.types import Call, Dialect


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    body = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def words(events: bytes) -> list[Any]:
    """The data of each event."""
    return [
        msgspec.json.decode(line[6:])
        for line in events.split(b"\n")
        if line.startswith(b"data: ") and line != b"data: [DONE]"
    ]


def read(*events: bytes) -> Transcript:
    transcript = Transcript()
    for each in events:
        transcript.read(each)
    return transcript


def test_a_transcript_is_the_text_that_was_read() -> None:
    transcript = read(chunk(role="assistant", content=""), chunk(content="one "), chunk(content="two"))
    assert (transcript.text, transcript.resumable) == ("one two", True)
    transcript = read(
        event("message_start", message={}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "one "}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "two"}),
    )
    assert (transcript.text, transcript.resumable) == ("one two", True)


@pytest.mark.parametrize(
    "last",
    [
        chunk(finish="stop"),
        chunk(tool_calls=[{"index": 0}]),
        chunk(reasoning_content="hm"),
        event("content_block_start", index=1, content_block={"type": "tool_use"}),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}),
        event("content_block_stop", index=0),
    ],
)
def test_what_no_prefilled_message_could_say_is_not_continued(last: bytes) -> None:
    assert not read(chunk(content="text"), last).resumable
    assert not read().resumable


def test_the_request_for_the_rest_ends_with_what_was_delivered_and_keeps_all_else() -> None:
    body = b'{"model":"m","n":1.50,"messages":[{"role":"user","content":"\\u00e9"}]}'
    asked = prefilled(body, "one two \n")
    assert b'"n":1.50' in asked
    assert b'{"role":"user","content":"\\u00e9"}' in asked
    assert msgspec.json.decode(asked)["messages"][1] == {"role": "assistant", "content": "one two"}
    with pytest.raises(InvalidRequest):
        prefilled(b'{"model":"m"}', "x")


@pytest.mark.parametrize(
    ("before", "rest", "text"),
    [
        ("one ", " two", "two"),
        ("one ", "two", "two"),
        ("one", " two", " two"),
        ("one\n\n", "\n\ntwo", "two"),
        ("a ", "  b", " b"),
    ],
)
def test_blanks_at_the_seam_are_said_once(before: str, rest: str, text: str) -> None:
    seam = Seam(read(chunk(content=before)))
    out = seam.feed(chunk(role="assistant", content="")) + seam.feed(chunk(content=rest) + chunk(content=" end"))
    assert [value["choices"][0]["delta"]["content"] for value in words(out)] == [text, " end"]


def test_a_chat_stream_has_one_beginning_and_one_end() -> None:
    seam = Seam(read(chunk(content="one")))
    out = seam.feed(
        chunk(role="assistant", content="") + chunk(content=" two") + chunk(finish="stop") + b"data: [DONE]\n\n"
    )
    assert out.endswith(b"data: [DONE]\n\n")
    first, last = words(out)
    assert first["choices"][0]["delta"] == {"content": " two"}
    assert last["choices"][0]["finish_reason"] == "stop"


def test_messages_go_on_within_the_same_block() -> None:
    opened = event("content_block_start", index=2, content_block={"type": "text", "text": ""})
    seam = Seam(read(opened, event("content_block_delta", index=2, delta={"type": "text_delta", "text": "one"})))
    out = seam.feed(
        event("message_start", message={})
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": " two"})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block={"type": "tool_use", "id": "t"})
        + event("message_stop")
    )
    assert [(value["type"], value.get("index")) for value in words(out)] == [
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("message_stop", None),
    ]


NAMES = [
    *("choices", "delta", "content", "role", "index", "finish_reason", "type", "content_block", "text"),
    *("error", "message", "code"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["text", "message_start", "content_block_delta"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)


@given(
    values=st.lists(JSON | st.just({"type": "content_block_start", "index": "x", "content_block": None}), max_size=4)
)
def test_no_provider_can_make_a_stream_stumble(values: list[Any]) -> None:
    sent = b"".join(b"data: " + msgspec.json.encode(value) + b"\n\n" for value in values)
    for dialect in Dialect:
        look(dialect, sent)
    transcript = read(chunk(content="a "), sent)
    assert isinstance(transcript.text, str)
    Seam(transcript).feed(sent)


@pytest.mark.parametrize(
    ("client", "upstream"),
    [
        (client, upstream)
        for client in sorted(CLIENTS)
        for upstream in sorted(PREFILLED)
        if (client, upstream) in CODECS
    ],
)
def test_a_prefilled_message_is_the_last_one_in_every_dialect_that_goes_on_from_it(
    client: Dialect, upstream: Dialect
) -> None:
    asked = prefilled(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"count"}]}', "one two")
    call = Call(client, "anthropic.claude-3-haiku", True, asked, "id", 0)
    last = json.loads(CODECS[(client, upstream)].request(call).body)["messages"][-1]
    assert last["role"] == "assistant"
    assert "one two" in json.dumps(last["content"])
