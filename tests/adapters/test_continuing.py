"""The seam between two streams: nothing is lost, nothing said twice, whatever the split."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.continuing import CLIENTS, PREFILLED, Seam, Transcript, prefilled, way
from adapters.errors import InvalidRequest
from adapters.opening import look
from adapters.providers import PROVIDERS
from adapters.quirks import Prefill, Quirks
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


def test_content_that_is_no_text_passes_as_it_came() -> None:
    parts = chunk(content=[{"type": "thinking", "thinking": "hm"}])
    assert words(Seam(read(chunk(content="one ")), echoes=True).feed(parts)) == words(parts)


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


def test_a_rest_without_text_closes_the_block_that_is_open() -> None:
    opened = event("content_block_start", index=2, content_block={"type": "text", "text": ""})
    before = (opened, event("content_block_delta", index=2, delta={"type": "text_delta", "text": "one"}))
    end = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    out = Seam(read(*before)).feed(event("message_start", message={}) + end)
    assert [(value["type"], value.get("index")) for value in words(out)] == [
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    tool = event("content_block_start", index=0, content_block={"type": "tool_use", "id": "t"})
    out = Seam(read(*before)).feed(tool + event("content_block_stop", index=0) + end)
    assert [(value["type"], value.get("index")) for value in words(out)][:3] == [
        ("content_block_stop", 2),
        ("content_block_start", 3),
        ("content_block_stop", 3),
    ]


def test_what_the_second_model_thinks_has_no_place_behind_text() -> None:
    seam = Seam(
        read(
            event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": "one"}),
        )
    )
    out = seam.feed(
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
        + event("content_block_stop", index=0)
        + event("content_block_start", index=1, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=1, delta={"type": "text_delta", "text": " two"})
        + event("content_block_stop", index=1)
    )
    assert [(value["type"], value["index"]) for value in words(out)] == [
        ("content_block_delta", 0),
        ("content_block_stop", 0),
    ]


def in_chat(pieces: list[str], ends: bool) -> list[bytes]:
    """A chat stream of these pieces; its end comes with the last of them or by itself."""
    made = [chunk(role="assistant", content=""), *(chunk(content=piece) for piece in pieces)]
    if ends and pieces:
        made[-1] = chunk(finish="stop", content=pieces[-1])
    else:
        made.append(chunk(finish="stop"))
    return [*made, b"data: [DONE]\n\n"]


def in_messages(pieces: list[str], ends: bool) -> list[bytes]:
    return [
        event("message_start", message={}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece}) for piece in pieces),
        event("ping"),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}),
        event("message_stop"),
    ]


SAYING = st.text(st.sampled_from("ab \n"), max_size=12)


def cut_up(text: str, at: list[int]) -> list[str]:
    places = [0, *sorted({each % (len(text) + 1) for each in at}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


@given(
    before=SAYING.filter(str.strip),
    after=SAYING,
    echo=st.booleans(),
    shorn=st.booleans(),
    at=st.lists(st.integers(0, 30), max_size=6),
    ends=st.booleans(),
    together=st.integers(1, 4),
    client=st.sampled_from([in_chat, in_messages]),
)
def test_at_every_seam_what_was_delivered_stands_once_and_the_rest_is_whole(
    before: str, after: str, echo: bool, shorn: bool, at: list[int], ends: bool, together: int, client: Any
) -> None:
    """`before` was delivered; the next model says `after`, and before it, if it echoes, what it was given, which some
    give back without blanks at its beginning."""
    given = before.rstrip()
    repeated = (given.lstrip() if shorn else given) if echo else ""
    if not echo and (after.startswith((given, given.lstrip()))):
        return  # by accident the same
    transcript = read(*client([before], False)[:3])
    assert transcript.text == before
    seam = Seam(transcript, echoes=True)
    sent = client(cut_up(repeated + after, at), ends)
    out = b"".join(seam.feed(b"".join(sent[start : start + together])) for start in range(0, len(sent), together))
    blanks = before[len(given) :]
    while blanks and after and blanks[0] == after[0]:
        blanks, after = blanks[1:], after[1:]
    joined = Transcript()
    joined.read(out)
    assert joined.text == after
    assert joined.ended
    kinds = [value.get("type") for value in words(out)]
    assert kinds.count("content_block_stop") == kinds.count("message_stop") == (client is in_messages)


def test_a_long_repetition_costs_no_more_than_its_length() -> None:
    text = "word " * 50_000
    seam = Seam(read(chunk(content=text)), echoes=True)
    out = seam.feed(b"".join(chunk(content=text[at : at + 5]) for at in range(0, len(text.rstrip()), 5)))
    assert b"word" not in out


@pytest.mark.parametrize(
    ("provider", "dialect", "how"),
    [
        ("mistral-ai", Dialect.MISTRAL_CHAT, Prefill(mark="prefix", echoes=True)),
        ("vertex-ai", Dialect.MISTRAL_CHAT, Prefill(mark="prefix", echoes=True)),
        ("moonshot", Dialect.OPENAI_CHAT, Prefill(mark="partial")),
        ("dashscope", Dialect.OPENAI_CHAT, Prefill(mark="partial")),
        ("deepseek", Dialect.OPENAI_CHAT, Prefill(mark="prefix", below="/beta")),
        ("groq", Dialect.OPENAI_CHAT, Prefill()),
        ("openrouter", Dialect.OPENAI_CHAT, Prefill(models=("anthropic/*",))),
        ("anthropic", Dialect.ANTHROPIC_MESSAGES, Prefill()),
        ("openai", Dialect.OPENAI_CHAT, None),
        ("cohere", Dialect.COHERE_CHAT, None),
        ("google", Dialect.GEMINI_GENERATE, None),
    ],
)
def test_who_goes_on_and_how_is_a_table(provider: str, dialect: Dialect, how: Prefill | None) -> None:
    assert way(dialect, PROVIDERS[provider].quirks.get(dialect)) == how


def test_a_mark_changes_the_last_message_and_nothing_else() -> None:
    quirks = Quirks(prefill=Prefill(mark="prefix"))
    body = b'{"n":1.50,"messages":[{"role":"user","content":"\\u00e9"},{"role":"assistant","content":"\\u00e9"}]}'
    assert quirks.marked(body) == body.replace(b'9"}]', b'9","prefix":true}]')
    for other in (b'{"messages":[{"role":"user","content":"x"}]}', body):
        assert Quirks(prefill=Prefill()).marked(other) == other
    assert (
        quirks.marked(b'{"messages":[{"role":"user","content":"x"}]}')
        == b'{"messages":[{"role":"user","content":"x"}]}'
    )
    for bad in (b"{}", b'{"messages":[]}', b'{"messages":[1]}', b'{"messages":"x"}'):
        with pytest.raises(InvalidRequest):
            quirks.marked(bad)


def test_blanks_alone_are_no_message() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    assert prefilled(body, " \n") == body


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
    Seam(transcript, echoes=True).feed(sent)


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
