"""Kept answers: whole ones told as streams, streams put together, and what is never kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.replay import FORMS
from adapters.types import Dialect

CHAT, TEXT, MESSAGES = (
    FORMS[dialect] for dialect in (Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_MESSAGES)
)
COUNTED = b'{"stream":true,"stream_options":{"include_usage":true}}'
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def _chat(*contents: str, **message: Any) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": content, "refusal": None, **message},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for index, content in enumerate(contents)
    ]
    top = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "f"}
    return {**top, "choices": choices, "usage": USAGE}


def _message(*blocks: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 1}
    top = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": None}
    return {**top, "content": list(blocks), "stop_reason": "end_turn", "usage": usage}


def _text(*texts: str) -> dict[str, Any]:
    choices = [{"index": i, "text": text, "logprobs": None, "finish_reason": "stop"} for i, text in enumerate(texts)]
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": USAGE}


def _response(*items: dict[str, Any], **top: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": None, "model": "m"}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return {**head, "output": list(items), "background": False, "usage": usage, **top}


THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
SAID = {"type": "output_text", "text": "Hello wörld", "annotations": [{"type": "url_citation", "url": "u"}]}
WORDS = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [SAID]}

BLOCKS = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": "Hello wörld"},
    {"type": "text", "text": "cited", "citations": [{"type": "char_location", "cited_text": "c"}]},
]
GROUNDED = _chat("Hello")
GROUNDED["choices"][0]["groundingMetadata"] = {"groundingChunks": [{"web": {"uri": "https://a.cz"}}]}
REFUSED = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio", "explanation": "No."}}
ROUND: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "chat with more in its choice": (Dialect.OPENAI_CHAT, GROUNDED),
    "a refusal": (Dialect.ANTHROPIC_MESSAGES, {**_message(), **REFUSED}),
    "chat": (Dialect.OPENAI_CHAT, _chat("Hello wörld\n\ndata: x")),
    "chat, several choices": (Dialect.OPENAI_CHAT, _chat("a", "b", "")),
    "chat with reasoning": (Dialect.OPENAI_CHAT, _chat("a", reasoning_content="why")),
    "chat with blocks": (Dialect.OPENAI_CHAT, _chat("Hello", content_blocks=BLOCKS)),
    "text": (Dialect.OPENAI_COMPLETIONS, _text("one", "two")),
    "messages": (Dialect.ANTHROPIC_MESSAGES, _message(*BLOCKS)),
    "responses": (Dialect.OPENAI_RESPONSES, _response(THOUGHT, WORDS)),
    "an empty message": (Dialect.ANTHROPIC_MESSAGES, _message()),
}


@pytest.mark.parametrize("name", ROUND)
def test_a_whole_answer_told_as_a_stream_and_put_together_again_is_the_same(name: str) -> None:
    dialect, answer = ROUND[name]
    form, body = FORMS[dialect], json.dumps(answer).encode()
    assert form.keeps(body)
    again = form.whole(form.events(body, COUNTED), b"{}", None)
    assert again is not None
    assert json.loads(again.body) == answer
    assert not again.estimated


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_any_text_survives_in_every_dialect(texts: list[str]) -> None:
    for form, answer in ((CHAT, _chat(*texts)), (TEXT, _text(*texts))):
        again = form.whole(form.events(json.dumps(answer).encode(), COUNTED), b"{}", None)
        assert again is not None
        assert json.loads(again.body) == answer
    message = _message(*({"type": "text", "text": text} for text in texts))
    again = MESSAGES.whole(MESSAGES.events(json.dumps(message).encode(), b"{}"), b"{}", None)
    assert again is not None
    assert json.loads(again.body) == message


@given(st.binary(max_size=300))
def test_junk_is_never_kept_and_never_raises(junk: bytes) -> None:
    for form in FORMS.values():
        assert form.whole(b"data: " + junk + b"\n\n", junk, None) is None
        assert form.keeps(junk) in (False, True)


def _events(*values: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in values) + b"data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None, **top: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **top}


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource"])
def test_what_failed_by_its_finish_reason_is_never_kept(finish: str) -> None:
    whole = _chat("Hel")
    whole["choices"][0]["finish_reason"] = finish
    assert not CHAT.keeps(json.dumps(whole).encode())
    assert CHAT.whole(_events(_chunk({"content": "Hel"}), _chunk({}, finish)), b"{}", None) is None


def test_fragments_of_a_stream_become_one_answer() -> None:
    stream = _events(
        _chunk({"role": "assistant", "content": ""}, created=1, model="m", object="chat.completion.chunk"),
        _chunk({"content": "Hel"}),
        _chunk({"content": "lo"}),
        _chunk({}, "length"),
        {"id": "c", "choices": [], "usage": USAGE},
    )
    whole = CHAT.whole(stream, b"{}", None)
    assert whole is not None
    answer = json.loads(whole.body)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == USAGE


def test_a_stream_without_counted_tokens_is_given_a_guess_and_says_so() -> None:
    stream = _events(_chunk({"role": "assistant", "content": "Hello, world"}), _chunk({}, "stop"))
    whole = CHAT.whole(stream, b'{"messages":[{"role":"user","content":"Hello there"}]}', None)
    assert whole is not None
    assert whole.estimated
    assert json.loads(whole.body)["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    "stream",
    [
        _events(_chunk({"content": "cut off"})),
        _events(_chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f"}}]}), _chunk({}, "tool_calls")),
        _events(_chunk({"function_call": {"name": "f"}}), _chunk({}, "stop")),
        _events(_chunk({"content": "a"}), {"error": {"message": "broke"}}),
        _events(),
    ],
)
def test_cut_failed_and_acting_streams_are_not_kept(stream: bytes) -> None:
    assert CHAT.whole(stream, b"{}", None) is None


def test_answers_that_call_tools_are_not_kept() -> None:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert not CHAT.keeps(json.dumps(_chat("", tool_calls=[call])).encode())
    assert CHAT.keeps(json.dumps(_chat("a", tool_calls=[])).encode())
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert not MESSAGES.keeps(json.dumps(_message(use)).encode())
    assert MESSAGES.whole(MESSAGES.events(json.dumps(_message(use)).encode(), b"{}"), b"{}", None) is None


def test_errors_under_a_good_status_are_not_kept() -> None:
    for form in FORMS.values():
        assert not form.keeps(b'{"error":{"message":"no"}}')


def test_a_long_stream_is_put_together_in_linear_time() -> None:
    # A hundred thousand fragments: adding them string by string would copy gigabytes.
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"xxxxxxxxxx"}}]}\n\n' * 50_000
    whole = CHAT.whole(piece + _events(_chunk({}, "stop")), b"{}", None)
    assert whole is not None
    assert len(whole.body) > 500_000


def test_a_response_told_again_has_the_events_of_a_first_telling() -> None:
    form = FORMS[Dialect.OPENAI_RESPONSES]
    told = form.events(json.dumps(_response(THOUGHT, WORDS)).encode(), b"{}")
    names = [line[7:].decode() for line in told.splitlines() if line.startswith(b"event: ")]
    assert [name.removeprefix("response.") for name in names] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    numbers = [json.loads(line[6:])["sequence_number"] for line in told.splitlines() if line.startswith(b"data: ")]
    assert numbers == list(range(len(names)))


@pytest.mark.parametrize(
    "answer",
    [
        _response({"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}),
        _response({"type": "web_search_call", "id": "w", "status": "completed"}),
        _response(WORDS, status="incomplete"),
        _response(WORDS, background=True),
        _response(WORDS, conversation={"id": "conv_1"}),
    ],
)
def test_responses_that_act_or_leave_something_behind_are_not_kept(answer: dict[str, Any]) -> None:
    form = FORMS[Dialect.OPENAI_RESPONSES]
    assert not form.keeps(json.dumps(answer).encode())
    assert form.whole(form.events(json.dumps(answer).encode(), b"{}"), b"{}", None) is None
