"""Kept answers of Gemini's clients: as events, as an array, whole, and wherever a stream is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.replay import FORMS
from adapters.replay.form import Form
from adapters.types import Dialect, Usage

EVENTS, ARRAY = FORMS[Dialect.GEMINI_GENERATE], FORMS[Dialect.GEMINI_STREAM_ARRAY]
BOTH = pytest.mark.parametrize("form", [EVENTS, ARRAY], ids=["events", "array"])
COUNTED = {"promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9}
TOP = {"modelVersion": "gemini-x", "responseId": "r1"}


def _stream(form: Form, *pieces: dict[str, Any]) -> bytes:
    """The pieces as a client gets them."""
    told = [json.dumps(piece).encode() for piece in pieces]
    if form is ARRAY:
        return b"[" + b",\r\n".join(told) + b"]"
    return b"".join(b"data: %b\r\n\r\n" % piece for piece in told)


def _piece(*parts: dict[str, Any], index: int = 0, finish: str | None = None, **top: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    return {"candidates": [{**candidate, **({"finishReason": finish} if finish else {})}], **TOP, **top}


def _whole(form: Form, *pieces: dict[str, Any], usage: Usage | None = None) -> Any:
    made = form.whole(_stream(form, *pieces), b'{"contents":[{"parts":[{"text":"Hello there"}]}]}', usage)
    return None if made is None else json.loads(made.body)


ANSWER = _piece(
    {"text": "Let me\r\n\r\ndata: see", "thought": True},
    {"text": "Hello wörld", "thoughtSignature": "c2ln"},
    {"text": " and more"},
    {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
    finish="STOP",
    usageMetadata=COUNTED,
)
PIECES = (
    _piece({"text": "Hel"}),
    _piece({"text": "A"}, index=1),
    _piece({"text": "lo"}),
    _piece({"text": ""}, finish="STOP", usageMetadata=COUNTED),
    _piece({"text": "B"}, index=1, finish="MAX_TOKENS", usageMetadata=COUNTED),
)


@BOTH
def test_a_whole_answer_told_as_a_stream_and_put_together_again_is_the_same(form: Form) -> None:
    # Google's own answers have line ends between their fields.
    body = json.dumps(ANSWER, indent=2).encode()
    assert form.keeps(body)
    again = form.whole(form.events(body, b"{}"), b"{}", None)
    assert again is not None
    assert json.loads(again.body) == ANSWER
    assert not again.estimated


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_any_text_survives(texts: list[str]) -> None:
    answer = _piece(*({"text": text} for text in texts), finish="STOP", usageMetadata=COUNTED)
    for form in (EVENTS, ARRAY):
        again = form.whole(form.events(json.dumps(answer).encode(), b"{}"), b"{}", None)
        assert again is not None
        assert json.loads(again.body) == answer


@BOTH
def test_pieces_become_one_answer(form: Form) -> None:
    answer = _whole(form, *PIECES)
    one, two = answer["candidates"]
    assert one == {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
    assert two["content"]["parts"] == [{"text": "AB"}]
    assert two["finishReason"] == "MAX_TOKENS"
    assert answer["usageMetadata"] == COUNTED
    assert {name: answer[name] for name in TOP} == TOP


@BOTH
def test_a_stream_cut_at_any_byte_is_whole_or_nothing(form: Form) -> None:
    stream = _stream(form, *PIECES)
    whole = form.whole(stream, b"{}", None)
    assert whole is not None
    kept = [made for at in range(len(stream)) if (made := form.whole(stream[:at], b"{}", None)) is not None]
    # All that may lack is the empty line behind the last event.
    assert len(kept) <= len(b"\r\n\r\n")
    assert all(made == whole for made in kept)


@BOTH
def test_thoughts_and_signed_parts_stay_apart_from_the_words(form: Form) -> None:
    answer = _whole(
        form,
        _piece({"text": "Hm", "thought": True}),
        _piece({"text": ".", "thought": True}),
        _piece({"text": "Hel"}),
        _piece({"text": "lo"}),
        _piece({"text": "", "thoughtSignature": "c2ln"}, finish="STOP"),
    )
    assert answer["candidates"][0]["content"]["parts"] == [
        {"text": "Hm.", "thought": True},
        {"text": "Hello"},
        {"text": "", "thoughtSignature": "c2ln"},
    ]


@BOTH
def test_what_comes_in_lists_is_joined_and_what_an_answer_rests_on_may_come_last(form: Form) -> None:
    first, second = _piece({"text": "a"}), _piece({"text": "b"}, finish="STOP")
    for number, piece in enumerate((first, second)):
        piece["candidates"][0]["logprobsResult"] = {"chosenCandidates": [{"token": str(number)}]}
    last = {"candidates": [{"index": 0, "groundingMetadata": {"webSearchQueries": ["q"]}}]}
    (candidate,) = _whole(form, first, second, last)["candidates"]
    assert candidate["logprobsResult"] == {"chosenCandidates": [{"token": "0"}, {"token": "1"}]}
    assert candidate["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert candidate["finishReason"] == "STOP"


@BOTH
def test_counts_that_the_stream_does_not_tell_are_the_providers_else_a_guess_that_says_so(form: Form) -> None:
    stream = _stream(form, _piece({"text": "Hello, world"}, finish="STOP"))
    counted = form.whole(stream, b"{}", Usage(input=7, output=5, reasoning=2))
    assert counted is not None
    assert not counted.estimated
    assert json.loads(counted.body)["usageMetadata"]["thoughtsTokenCount"] == 2
    guessed = form.whole(stream, b'{"contents":[{"parts":[{"text":"Hello there"}]}]}', None)
    assert guessed is not None
    assert guessed.estimated
    assert json.loads(guessed.body)["usageMetadata"]["candidatesTokenCount"] == 3


ACTING = [
    {"functionCall": {"name": "f", "args": {}}},
    {"executableCode": {"language": "PYTHON", "code": "1"}},
    {"something": "new"},
]


@BOTH
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [_piece({"text": "cut off"})],
        [_piece({"text": "a"}, finish="STOP"), _piece({"text": "b"}, index=1)],
        [_piece({"text": "a"}), {"error": {"code": 503, "message": "broke", "status": "UNAVAILABLE"}}],
        [_piece({"text": "a"}, finish="MALFORMED_FUNCTION_CALL")],
        [_piece({"text": "a"}, index=-1, finish="STOP")],
        [{"promptFeedback": {"blockReason": "SAFETY"}, **TOP}],
        *([_piece(part, finish="STOP")] for part in ACTING),
    ],
)
def test_cut_failed_blocked_and_acting_streams_are_not_kept(form: Form, pieces: list[dict[str, Any]]) -> None:
    assert _whole(form, *pieces) is None


@pytest.mark.parametrize("part", ACTING)
def test_answers_that_act_are_not_kept(part: dict[str, Any]) -> None:
    assert not EVENTS.keeps(json.dumps(_piece(part, finish="STOP")).encode())


@pytest.mark.parametrize(
    "strange", [b"[1]", b'{"candidates":1}', b'{"candidates":[1]}', b'{"candidates":[{"content":1}]}']
)
@BOTH
def test_strange_shapes_are_not_kept_and_never_raise(form: Form, strange: bytes) -> None:
    assert not form.keeps(strange)
    assert form.whole(b"[%b]" % strange if form is ARRAY else b"data: %b\r\n\r\n" % strange, b"{}", None) is None


@BOTH
def test_a_long_stream_is_put_together_in_linear_time(form: Form) -> None:
    pieces = [_piece({"text": "x" * 10})] * 30_000
    whole = form.whole(_stream(form, *pieces, _piece({"text": ""}, finish="STOP")), b"{}", None)
    assert whole is not None
    assert len(whole.body) > 300_000
