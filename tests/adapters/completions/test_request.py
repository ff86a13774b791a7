from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.completions import COMPLETIONS_TO_CHAT
from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect


def raw(body: bytes) -> bytes:
    made = COMPLETIONS_TO_CHAT.request(Call(Dialect.OPENAI_COMPLETIONS, "gpt-x", False, body, "id", 0))
    assert made.dropped == made.headers == ()
    return made.body


def outbound(**body: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(raw(json.dumps(body).encode()))
    return made


@pytest.mark.parametrize("prompt", ['Say "hi" 🐎', ['Say "hi" 🐎']])
def test_the_prompt_becomes_one_user_message(prompt: Any) -> None:
    assert outbound(model="old", prompt=prompt) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": 'Say "hi" 🐎'}],
    }


def test_all_other_fields_move_as_they_came_unknown_ones_too() -> None:
    rest = (
        b'"max_tokens":256,"temperature":1.0,"stop":["a"],"n":2,"user":"u","seed":12345678901234567890,'
        b'"presence_penalty":0.50,"stream":true,"stream_options":{"include_usage": true},"x_new":{"b": 1,"a":[]}'
    )
    made = raw(b'{"model":"old","prompt":"\\u0041",%b}' % rest)
    messages = b'"messages":[{"role":"user","content":"\\u0041"}]'
    assert made == b'{"model":"gpt-x",%b,%b}' % (messages, rest)


@pytest.mark.parametrize(
    ("name", "value"),
    [("echo", True), ("logprobs", 0), ("logprobs", 5), ("suffix", "end"), ("best_of", 2), ("best_of", "x")],
)
def test_what_only_text_models_can_do_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"`{name}`") as caught:
        outbound(prompt="a", **{name: value})
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_such_parameters_that_ask_for_nothing_are_left_out() -> None:
    made = outbound(prompt="a", echo=False, logprobs=None, suffix="", best_of=1)
    assert made.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"a"}', "prompt"),
        (b'{"prompt":null}', "prompt"),
        (b'{"prompt":5}', "prompt"),
        (b'{"prompt":[]}', "prompt"),
        (b'{"prompt":["a","b"]}', "prompt"),
        (b'{"prompt":[1,2,3]}', "prompt"),
        (b'{"prompt":[[1,2,3]]}', "prompt"),
        (b"", None),
        (b"[]", None),
        (b'{"prompt":"a"', None),
    ],
)
def test_a_request_that_is_wrong_names_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        raw(body)
    assert caught.value.param == param
