from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from adapters.anthropic_text import COMPLETIONS_TO_COMPLETE
from adapters.errors import BadAnswer, InvalidRequest, Kind, UpstreamError
from adapters.types import Call, Dialect, Outbound, Reply
from tests.adapters.anthropic.conversation import chunks, run, sse

PROMPT = "Say this is a test"


def call(body: Any = None, *, strict: bool = True, stream: bool = False, **fields: Any) -> Call:
    if body is None:
        body = {"model": "ignored", "prompt": PROMPT, **fields}
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(Dialect.OPENAI_COMPLETIONS, "claude-2", stream, raw, "abc123", 1_700_000_000, strict)


def outbound(**fields: Any) -> Outbound:
    return COMPLETIONS_TO_COMPLETE.request(call(**fields))


# Requests.


def test_a_completion_becomes_one_turn_of_a_conversation() -> None:
    assert outbound(max_tokens=250).body == (
        b'{"model":"claude-2","prompt":"\\n\\nHuman: Say this is a test\\n\\nAssistant:","max_tokens_to_sample":250}'
    )


def test_a_prompt_with_the_markers_is_left_as_it_is() -> None:
    prompt = "System.\n\nHuman: Hi\n\nAssistant: Well,"
    assert json.loads(outbound(prompt=prompt).body)["prompt"] == prompt


@pytest.mark.parametrize("prompt", ["a\n\nHuman: b", "a\n\nAssistant:", "Human: a Assistant:"])
def test_a_prompt_with_half_of_the_markers_is_wrapped(prompt: str) -> None:
    assert json.loads(outbound(prompt=prompt).body)["prompt"] == f"\n\nHuman: {prompt}\n\nAssistant:"


def test_a_list_of_one_prompt_is_that_prompt() -> None:
    assert outbound(prompt=[PROMPT]) == outbound()


def test_every_parameter_finds_its_place() -> None:
    sent = COMPLETIONS_TO_COMPLETE.request(
        call(stream=True, max_tokens=5, temperature=0.5, top_p=0.9, top_k=3, stop="END", user="u")
    )
    assert json.loads(sent.body) == {
        "model": "claude-2",
        "prompt": "\n\nHuman: Say this is a test\n\nAssistant:",
        "max_tokens_to_sample": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "stream": True,
    }


@pytest.mark.parametrize("value", [None, "portkey-default"])
@pytest.mark.parametrize("name", ["max_tokens", "stop", "temperature", "suffix", "user"])
def test_null_and_the_sdks_default_word_mean_absent(name: str, value: Any) -> None:
    assert outbound(**{name: value}) == outbound()


def test_without_a_limit_one_is_sent() -> None:
    assert json.loads(outbound().body)["max_tokens_to_sample"] == 4096


def test_several_stops_stay_several() -> None:
    assert json.loads(outbound(stop=["a", "b"]).body)["stop_sequences"] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"max_tokens": 1, "max_tokens_to_sample": 77}, ("max_tokens",)),
        ({"stop": "a", "stop_sequences": ["77"]}, ("stop",)),
        ({"user": "a", "metadata": {"user_id": "77"}}, ("user",)),
        ({"user": "77", "metadata": {"user_id": "77"}, "stream_options": {"include_usage": True}}, ()),
        ({"user": "77", "stream_options": {"x": 1}}, ("stream_options.x",)),
    ],
)
def test_beside_anthropics_own_field_openais_is_named(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    made = outbound(**fields)
    assert (made.dropped, b"77" in made.body) == (dropped, True)


def test_what_anthropic_does_not_know_is_dropped_by_name() -> None:
    sent = outbound(echo=True, suffix="x", logprobs=2, best_of=3, n=2, seed=1, logit_bias={"1": 1})
    assert sent.dropped == ("echo", "suffix", "logprobs", "best_of", "n", "seed", "logit_bias")
    assert sent.body == outbound().body
    assert outbound(echo=False, n=1, best_of=1, presence_penalty=0).dropped == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2, 3]]}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"max_tokens": "x"}, "max_tokens"),
        ({"temperature": "x"}, "temperature"),
        ({"stop": [1]}, "stop[0]"),
        ({"user": 5}, "user"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        outbound(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"prompt":"\xff"}', b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_hostile_json_is_refused_in_one_way(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        COMPLETIONS_TO_COMPLETE.request(call(body))


# Answers.

ANSWER = {
    "type": "completion",
    "id": "compl_01",
    "completion": " This is a test.",
    "stop_reason": "stop_sequence",
    "model": "claude-2.0",
    "stop": "\n\nHuman:",
    "log_id": "compl_01",
}


def test_an_answer_becomes_a_text_completion_without_usage() -> None:
    reply = COMPLETIONS_TO_COMPLETE.response(call(), json.dumps(ANSWER).encode())
    assert reply == Reply(
        b'{"id":"compl_01","object":"text_completion","created":1700000000,"model":"claude-2.0","choices":'
        b'[{"text":" This is a test.","index":0,"logprobs":null,"finish_reason":"stop"}]}'
    )
    assert Completion.model_validate_json(reply.body).model_extra == {}


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop_sequence", "stop"), ("max_tokens", "length"), ("new", "stop"), (None, "stop")]
)
def test_stop_reasons_are_told_in_openais_words_or_as_they_are(reason: str | None, finish: str) -> None:
    body = json.dumps(ANSWER | {"stop_reason": reason}).encode()
    strict = json.loads(COMPLETIONS_TO_COMPLETE.response(call(), body).body)
    loose = json.loads(COMPLETIONS_TO_COMPLETE.response(call(strict=False), body).body)
    assert strict["choices"][0]["finish_reason"] == finish
    assert loose["choices"][0]["finish_reason"] == (reason or "stop")
    assert loose["provider"] == "anthropic"


def test_what_the_answer_lacks_comes_from_the_call() -> None:
    body = json.loads(COMPLETIONS_TO_COMPLETE.response(call(), b'{"completion":"x"}').body)
    assert (body["id"], body["model"]) == ("cmpl-abc123", "claude-2")


@given(st.binary() | st.sampled_from([b'{"content":[]}', b'{"completion":5}', b'{"completion":"\xff"}']))
def test_a_foreign_answer_is_a_bad_one(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        COMPLETIONS_TO_COMPLETE.response(call(), body)


def test_errors_are_read_as_the_messages_apis_are() -> None:
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: claude-2"}}'
    expected = UpstreamError(Kind.NOT_FOUND, 404, "model: claude-2", "not_found_error")
    assert COMPLETIONS_TO_COMPLETE.error(404, {}, body) == expected
    assert COMPLETIONS_TO_COMPLETE.error(500, {}, b"").kind is Kind.BAD_UPSTREAM


# Streams.


def event(text: str, stop_reason: str | None = None) -> dict[str, Any]:
    return {
        "type": "completion",
        "id": "compl_01",
        "completion": text,
        "stop_reason": stop_reason,
        "model": "claude-2.0",
    }


TEXT = sse({"type": "ping"}, event(" This"), event(' ž "test"\n'), event("", "stop_sequence"))
ERROR = sse(event(" This"), {"type": "error", "error": {"type": "overloaded_error", "message": "No."}}, event("x"))
STREAMS = {
    "text": TEXT,
    "text in CRLF": TEXT.replace(b"\n", b"\r\n"),
    "text in CR": TEXT.replace(b"\n", b"\r"),
    "an error": ERROR,
    "cut short": TEXT[:-60],
    "junk": sse(event(" This")) + b"event: completion\ndata: {}\n\n" + TEXT,
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("strict", [True, False])
def test_any_cut_gives_the_same_output_and_state(name: str, strict: bool) -> None:
    data = STREAMS[name]
    whole = COMPLETIONS_TO_COMPLETE.stream(call(strict=strict))
    expected = run(whole, data)
    pieces = [[data[:cut], data[cut:]] for cut in range(len(data) + 1)]
    for each in [*pieces, [bytes([byte]) for byte in data]]:
        decoder = COMPLETIONS_TO_COMPLETE.stream(call(strict=strict))
        assert run(decoder, *each) == expected
        assert decoder.error == whole.error


def test_a_stream_becomes_chunks_and_ends_as_openais_do() -> None:
    decoder = COMPLETIONS_TO_COMPLETE.stream(call())
    head = b'data: {"id":"compl_01","object":"text_completion","created":1700000000,"model":"claude-2.0","choices":['
    assert run(decoder, TEXT) == b"".join(
        [
            head + b'{"text":" This","index":0,"logprobs":null,"finish_reason":null}]}\n\n',
            head + ' {"text":" ž \\"test\\"\\n","index":0,"logprobs":null,"finish_reason":null}]}\n\n'.encode()[1:],
            head + b'{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]}\n\n',
            b"data: [DONE]\n\n",
        ]
    )
    assert decoder.error is None
    assert decoder.usage is None


def test_the_first_version_of_the_api_did_not_name_its_events() -> None:
    data = b"".join(
        b"data: %b\r\n\r\n" % json.dumps({"completion": text, "stop_reason": reason}).encode()
        for text, reason in ((" Hi", None), ("", "max_tokens"))
    )
    found = chunks(run(COMPLETIONS_TO_COMPLETE.stream(call()), data))
    assert [chunk["choices"][0]["text"] for chunk in found[:-1]] == [" Hi", ""]
    assert found[1]["choices"][0]["finish_reason"] == "length"
    assert found[2] == "[DONE]"


def test_an_error_event_ends_the_stream() -> None:
    decoder = COMPLETIONS_TO_COMPLETE.stream(call())
    out = run(decoder, ERROR)
    assert [chunk["choices"][0]["text"] for chunk in chunks(out)] == [" This"]
    assert decoder.error == UpstreamError(Kind.OVERLOADED, 529, "No.", "overloaded_error")


def test_a_stream_cut_anywhere_never_looks_complete() -> None:
    for cut in range(len(TEXT) - 2):
        decoder = COMPLETIONS_TO_COMPLETE.stream(call())
        assert b"[DONE]" not in run(decoder, TEXT[:cut])
        assert decoder.error == UpstreamError(Kind.BAD_UPSTREAM, 502, "The upstream ended the stream early.")


@given(st.lists(st.binary(max_size=20) | st.sampled_from([TEXT, TEXT[:200], b"\n\n", ERROR]), max_size=6))
def test_any_bytes_give_chunks_and_at_most_an_error(pieces: list[bytes]) -> None:
    chunks(run(COMPLETIONS_TO_COMPLETE.stream(call()), *pieces))
