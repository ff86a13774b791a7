from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.errors import Kind
from adapters.types import Call, Dialect, StreamDecoder, Usage
from tests.adapters import recordings
from tests.adapters.anthropic_client.script import USAGE, chunk, sse, text

PLAIN = Call(Dialect.OPENAI_COMPLETIONS, "gpt-x", True, b'{"prompt":"a"}', "0a1b", 1700000000)
WITH_USAGE = Call(
    Dialect.OPENAI_COMPLETIONS,
    "gpt-x",
    True,
    b'{"prompt":"a","stream_options":{"include_usage":true}}',
    "0a1b",
    1700000000,
)
ROLE = chunk({"role": "assistant", "content": ""})


def choice(index: int, content: str, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": {"content": content}, "finish_reason": finish}


STREAMS: dict[str, bytes] = {
    "text": sse(ROLE, text("Hel"), text('lo 🐎 "x"\n'), chunk({}, "stop"), chunk(usage=USAGE)),
    "usage with the finish": sse(ROLE, text("a"), chunk({"content": "b"}, "length", usage=USAGE)),
    "two choices": sse(
        chunk() | {"choices": [choice(0, "a"), choice(1, "x")]},
        chunk() | {"choices": [choice(1, "y", "stop")]},
        chunk() | {"choices": [choice(0, "b", "length")]},
    ),
    "no [DONE]": sse(ROLE, text("a"), chunk({}, "stop"), done=False),
}


def run(data: bytes, call: Call = WITH_USAGE) -> tuple[bytes, StreamDecoder]:
    machine = COMPLETIONS_TO_CHAT.stream(call)
    return machine.feed(data) + machine.close(), machine


def chunks(out: bytes) -> list[dict[str, Any]]:
    *events, done, nothing = out.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


@pytest.mark.parametrize("name", STREAMS)
def test_any_cut_gives_the_same_bytes(name: str) -> None:
    data = STREAMS[name]
    whole, machine = run(data)
    assert machine.error is None
    for cut in range(len(data) + 1):
        machine = COMPLETIONS_TO_CHAT.stream(WITH_USAGE)
        assert machine.feed(data[:cut]) + machine.feed(data[cut:]) + machine.close() == whole


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_short_never_looks_complete(name: str) -> None:
    data = STREAMS[name]
    for cut in range(len(data)):
        machine = COMPLETIONS_TO_CHAT.stream(WITH_USAGE)
        out = machine.feed(data[:cut]) + machine.close()
        assert (machine.error is None) == out.endswith(b"data: [DONE]\n\n")
        if machine.error is None:
            assert b'"finish_reason": "' in data[:cut]


def test_one_of_two_choices_finished_is_no_end() -> None:
    data = STREAMS["two choices"]
    out, machine = run(data[: data.index(b'"index": 0', data.index(b'"stop"'))])
    assert machine.error is not None
    assert b"[DONE]" not in out


def test_chunks_become_text_completion_chunks() -> None:
    head = {
        "id": "chatcmpl-abc",
        "object": "text_completion",
        "created": 1700000001,
        "model": "gpt-x-2026",
    }
    said = [("Hel", None), ('lo 🐎 "x"\n', None), ("", "stop")]
    out, machine = run(STREAMS["text"])
    assert chunks(out) == [
        *(
            {**head, "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}]}
            for text, reason in said
        ),
        {**head, "choices": [], "usage": USAGE},
    ]
    assert machine.usage == Usage(input=12, output=7, cached=4)


def test_usage_comes_only_to_who_asked() -> None:
    for name in ("text", "usage with the finish"):
        out, machine = run(STREAMS[name], PLAIN)
        assert all("usage" not in each for each in chunks(out))
        assert machine.usage is not None
        assert chunks(run(STREAMS[name])[0])[-1]["usage"] == USAGE


def test_a_usage_object_over_several_lines_stays_one_line() -> None:
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 1,\ndata: "completion_tokens": 2}}\n\n'
    out, _ = run(sse(text("a"), chunk({}, "stop"), done=False) + last)
    assert chunks(out)[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2}


def test_several_choices_keep_their_index() -> None:
    found = [chunk["choices"][0] for chunk in chunks(run(STREAMS["two choices"])[0])]
    assert [(each["index"], each["text"], each["finish_reason"]) for each in found] == [
        (0, "a", None),
        (1, "x", None),
        (1, "y", "stop"),
        (0, "b", "length"),
    ]


def test_an_error_event_ends_the_stream_with_that_error() -> None:
    out, machine = run(sse(text("par"), {"error": {"message": "Busy.", "code": 503}}))
    assert b'"text":"par"' in out
    assert b"[DONE]" not in out
    assert machine.error is not None
    assert (machine.error.kind, machine.error.status) == (Kind.OVERLOADED, 503)


@pytest.mark.parametrize("junk", [b"data: <html>\n\n", b"data: 7\n\n", b"data: [DONE]\n\n", b""])
def test_junk_is_an_error(junk: bytes) -> None:
    out, machine = run(junk)
    assert out == b""
    assert machine.error is not None
    assert machine.error.kind is Kind.BAD_UPSTREAM


def test_thoughts_are_named_and_what_is_empty_is_not() -> None:
    nothing = {"content": "", "reasoning_content": None, "reasoning": ""}
    _, machine = run(sse(chunk(nothing), chunk({"content": "Hi"}), chunk({}, "stop")))
    assert machine.unsaid == ()
    _, machine = run(sse(chunk(nothing), *[chunk({"reasoning_content": "Hm."})] * 2, chunk({}, "stop")))
    assert machine.unsaid == ("choices[].delta.reasoning_content",)


@given(st.lists(st.text(max_size=5), max_size=6), st.lists(st.integers(0, 2000), max_size=5))
def test_no_cut_shows_and_no_text_is_lost(texts: list[str], cuts: list[int]) -> None:
    data = sse(*map(text, texts), chunk({}, "stop"))
    machine = COMPLETIONS_TO_CHAT.stream(PLAIN)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = b"".join(machine.feed(data[start:stop]) for start, stop in itertools.pairwise(edges)) + machine.close()
    assert "".join(each["choices"][0]["text"] for each in chunks(out)) == "".join(texts)


RECORDED = recordings.chat_streams()


@pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams_keep_their_text_and_usage(name: str) -> None:
    recorded = RECORDED[name]
    out, machine = run(sse(*recorded))
    assert machine.error is None
    contents = [
        choice["delta"].get("content") or choice["delta"].get("refusal") or ""
        for chunk in recorded
        for choice in chunk["choices"]
    ]
    made = chunks(out)
    if all(isinstance(content, str) for content in contents):
        assert "".join(each["text"] for chunk in made for each in chunk["choices"]) == "".join(contents)
    usage = [chunk["usage"] for chunk in recorded if chunk.get("usage")]
    if usage:
        assert made[-1]["usage"] == usage[-1]
