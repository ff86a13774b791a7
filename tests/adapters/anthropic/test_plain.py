"""The short way of a plain request comes to the same as the long one, or is not taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic import plain, request
from adapters.errors import InvalidRequest
from adapters.peek import text_fields
from adapters.types import Call, Dialect, Outbound

MODELS = st.sampled_from(["claude-3-5-sonnet", "claude-sonnet-4-5", "claude-opus-4-7", "other"])
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "x"])
CONTENT = st.sampled_from(["a", "", "é", "\n", None, 1, [], [{"type": "text", "text": "a"}], {}])
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": ROLES, "content": CONTENT})
    | st.fixed_dictionaries({"role": ROLES | st.none()}, optional={"content": CONTENT, "name": st.just("n")}),
    max_size=5,
)
VALUES = st.sampled_from([None, 0, 1, 0.5, 1.0, 512, 512.0, 1e300, "portkey-default", "x", True, [], {}])
TEXTS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "user", "assistant"]), "content": st.sampled_from(["a", "é", "\n"])}
    ),
    max_size=4,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "messages": TEXTS | TEXTS | MESSAGES | VALUES,
        "model": VALUES,
        "temperature": st.floats(0, 2) | VALUES,
        "max_tokens": st.integers(1, 9) | VALUES,
        "max_completion_tokens": VALUES,
        "stream": VALUES,
        "stream_options": VALUES,
        "top_p": VALUES,
        "user": st.just("u"),
    },
)


def call_of(body: bytes, model: str = "claude-3-5-sonnet", stream: bool = False) -> Call:
    return Call(Dialect.OPENAI_CHAT, model, stream, body, "id", 0)


@given(body=BODIES, model=MODELS, stream=st.booleans(), ascii=st.booleans())
def test_both_ways_give_the_same_bytes(body: dict[str, Any], model: str, stream: bool, ascii: bool) -> None:
    call = call_of(json.dumps(body, ensure_ascii=ascii).encode(), model, stream)
    fields = text_fields(call.body)
    short = plain.translate(call, fields)
    if short is not None:
        assert Outbound(short) == request.thorough(call, fields)


PLAIN = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    "temperature": 0.70,
    "max_tokens": 9,
    "stream_options": {"include_usage": True},
}


def test_a_plain_request_takes_the_short_way_and_keeps_its_text() -> None:
    body = json.dumps(PLAIN).encode().replace(b"0.7", b"0.70").replace(b'"c"', b'"\\u00e9"')
    made = plain.translate(call_of(body, stream=True), text_fields(body))
    assert made == (
        b'{"model":"claude-3-5-sonnet","temperature":0.70,"stream":true,"system":[{"type":"text","text":"s"}],'
        b'"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},'
        b'{"role":"user","content":"\\u00e9"}],"max_tokens":9}'
    )


@pytest.mark.parametrize(
    "more",
    [
        {"tools": []},
        {"top_p": 0.5},
        {"max_completion_tokens": 8},
        {"temperature": "hot"},
        {"max_tokens": None},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"messages": [{"role": "user", "content": "a", "cache_control": {"type": "ephemeral"}}]},
        {"messages": [{"role": "tool", "content": "a"}]},
        {"messages": None},
    ],
)
def test_everything_else_takes_the_long_way(more: dict[str, Any]) -> None:
    body = json.dumps({**PLAIN, **more}).encode()
    assert plain.translate(call_of(body), text_fields(body)) is None


def test_what_is_wrong_is_said_by_the_long_way() -> None:
    with pytest.raises(InvalidRequest) as raised:
        request.translate(call_of(json.dumps({**PLAIN, "temperature": "hot"}).encode()))
    assert raised.value.param == "temperature"
