"""Mistral: renamed and refused fields, mended answers, fill in the middle."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from adapters.errors import BadAnswer, InvalidRequest, Kind
from adapters.mistral import CHAT_TO_MISTRAL, COMPLETIONS_TO_FIM
from adapters.registry import codec
from adapters.types import Call, Dialect, Usage
from tests.adapters import recordings

HELLO = [{"role": "user", "content": "Hi"}]


def call(stream: bool = False, strict: bool = True, dialect: Dialect = Dialect.OPENAI_CHAT, **body: Any) -> Call:
    return Call(dialect, "mistral-x", stream, json.dumps({"model": "x", **body}).encode(), "id", 0, strict)


def sent(**body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    outbound = CHAT_TO_MISTRAL.request(call(**{"messages": HELLO, **body}))
    return json.loads(outbound.body), outbound.dropped


def test_fields_have_mistrals_names() -> None:
    made, dropped = sent(
        seed=7, max_completion_tokens=9, tool_choice="required", safe_mode=True, n=2, prompt_mode="reasoning"
    )
    assert made == {
        "model": "mistral-x",
        "messages": HELLO,
        "random_seed": 7,
        "max_tokens": 9,
        "tool_choice": "any",
        "safe_prompt": True,
        "n": 2,
        "prompt_mode": "reasoning",
    }
    assert dropped == ()


def test_what_mistral_refuses_is_left_out_and_named() -> None:
    made, dropped = sent(
        user="u", service_tier="flex", store=False, stream_options={"include_usage": True}, logit_bias={}
    )
    assert made == {"model": "mistral-x", "messages": HELLO}
    assert dropped == ("user", "service_tier")
    asked = {"logprobs": True, "top_logprobs": 2, "top_k": 5}
    assert sent(service_tier="default", **asked) == (
        {"model": "mistral-x", "messages": HELLO, "service_tier": "standard_only", **asked},
        (),
    )


def test_messages_of_other_origins_are_made_to_fit() -> None:
    made, dropped = sent(
        messages=[
            {"role": "developer", "content": "Brief."},
            {
                "role": "assistant",
                "content": "Yes",
                "refusal": None,
                "annotations": [],
                "content_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}],
                "tool_calls": [{"id": "call_abcdef", "type": "function", "function": {"name": "f", "arguments": ""}}],
            },
            {"role": "tool", "tool_call_id": "call_abcdef", "content": "No", "is_error": True},
            {
                "role": "user",
                "content": [
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                    {"type": "text", "text": "?", "cache_control": {"type": "ephemeral"}},
                ],
            },
        ]
    )
    system, assistant, tool, _, user = made["messages"]
    assert system == {"role": "system", "content": "Brief."}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "closed": True}
    assert assistant["content"] == [thought, {"type": "text", "text": "Yes"}]
    id = assistant["tool_calls"][0]["id"]
    assert len(id) == 9
    assert id.isalnum()
    assert assistant["tool_calls"][0]["function"]["arguments"] == "{}"
    assert tool == {"role": "tool", "content": "Error:\nNo", "tool_call_id": id}
    assert user["content"] == [
        {"type": "document_url", "document_url": "data:application/pdf;base64,AA", "document_name": "a.pdf"},
        {"type": "input_audio", "input_audio": "AA"},
        {"type": "text", "text": "?"},
    ]
    assert dropped == ("messages[].content_blocks[].thinking.signature", "cache_control")


def shown(**part: Any) -> dict[str, Any]:
    return {"role": "user", "content": [part]}


@pytest.mark.parametrize(
    ("message", "content", "named"),
    [
        ({"role": "user", "content": "a", "name": "Bo"}, "a", ("messages[].name",)),
        ({"role": "user", "content": "a", "tool_calls": [1], "is_error": True}, "a", ("tool_calls", "is_error")),
        ({"role": "assistant", "content": "a", "refusal": "b"}, "a", ("messages[].refusal",)),
        ({"role": "assistant", "content": None, "refusal": "b"}, "b", ()),
        ({"role": "assistant", "content": "a", "reasoning_content": "b"}, "a", ("messages[].reasoning_content",)),
        (shown(type="text", text="a", refusal="b"), None, ("content[].refusal",)),
        (shown(type="image_url", image_url={"url": "u", "x": 1}), None, ("image_url.x",)),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "b"}]}, [{"type": "text", "text": "b"}], ()),
        (shown(type="file", file={"file_id": "f"}), [{"type": "file", "file_id": "f"}], ()),
        (shown(type="file", file={"file_id": "f", "file_url": "https://a"}), None, ("file.file_id",)),
        ({"role": "assistant", "content": "a", "content_blocks": [7, {"type": []}]}, "a", ("content_blocks[]",)),
    ],
)  # fmt: skip
def test_what_mistral_has_no_place_for_in_a_message_is_named(
    message: dict[str, Any], content: Any, named: tuple[str, ...]
) -> None:
    made, dropped = sent(messages=[*HELLO, message])
    assert content is None or made["messages"][1]["content"] == content
    assert len(dropped) == len(named)
    assert all(full.endswith(name) for full, name in zip(dropped, named, strict=True))


def test_content_of_another_type_is_refused_with_its_path() -> None:
    for content in (True, 7, {}):
        with pytest.raises(InvalidRequest) as refused:
            sent(messages=[{"role": "assistant", "content": content, "content_blocks": THOUGHT[:1]}])
        assert refused.value.param == "messages[0].content"


def test_plain_messages_move_as_the_json_they_came_in() -> None:
    raw = b'[{"role" : "user", "content": [{"type":"text", "text":"\\u0041"}]}]'
    body = b'{"model":"x","messages":%b}' % raw
    assert raw in CHAT_TO_MISTRAL.request(Call(Dialect.OPENAI_CHAT, "m", False, body, "id", 0)).body


F, G = ({"type": "function", "function": {"name": name, "parameters": {}}} for name in "fg")


def test_a_choice_among_tools_that_stay_behind_is_named() -> None:
    made, dropped = sent(tools=[{"type": "web_search"}], tool_choice="required")
    assert (made, dropped) == ({"model": "mistral-x", "messages": HELLO}, ("tools[].web_search", "tool_choice"))


@pytest.mark.parametrize(("mode", "word"), [("auto", "auto"), ("required", "any")])
def test_of_some_tools_only_those_are_told_of(mode: str, word: str) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "g"}}]}
    made, dropped = sent(tools=[F, G], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (made["tools"], made["tool_choice"], dropped) == ([G], word, ())
    with pytest.raises(InvalidRequest) as refused:
        sent(tools=[F], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert refused.value.param == "tool_choice.allowed_tools.tools[0]"


def test_messages_come_in_an_order_that_mistral_takes() -> None:
    called = {"content": "", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    roles = ["system", "user", "assistant", "developer", "user", "call", "tool", "system", "user", "assistant"]
    said = [
        {"role": role, "content": ""} if role == "assistant" else {"role": role, "content": str(at)}
        for at, role in enumerate(roles)
    ]
    said[2]["content"] = "2"
    said[5] = {"role": "assistant", **called}
    said[6]["tool_call_id"] = "a"
    made, dropped = sent(messages=said)
    assert [(one["role"], one["content"]) for one in made["messages"]] == [
        *(("system", "0"), ("system", "3"), ("system", "7"), ("user", "1"), ("assistant", "2"), ("user", "4")),
        *(("assistant", ""), ("tool", "6"), ("assistant", "OK"), ("user", "8")),
    ]
    assert dropped == ()


@pytest.mark.parametrize(
    ("roles", "kept"),
    [
        ("user assistant- user", "user user"),
        ("user assistant system user", "system user assistant user"),
        ("system user system assistant user", "system user system assistant user"),
    ],
)
def test_plain_messages_come_in_that_order_too(roles: str, kept: str) -> None:
    said = [{"role": each.strip("-"), "content": "" if "-" in each else "x"} for each in roles.split()]
    made, _ = sent(messages=said)
    assert [one["role"] for one in made["messages"]] == kept.split()


def test_a_function_without_parameters_has_none() -> None:
    bare, other = {"name": "f"}, {"name": "g", "parameters": {"type": "object"}}
    made, _ = sent(tools=[{"type": "function", "function": each} for each in (bare, other)])
    assert [tool["function"]["parameters"] for tool in made["tools"]] == [
        {"type": "object", "properties": {}},
        {"type": "object"},
    ]


def test_mistrals_own_ids_stay() -> None:
    made, _ = sent(messages=[{"role": "tool", "tool_call_id": "ot1MIoEMA", "content": "a"}])
    assert made["messages"][0]["tool_call_id"] == "ot1MIoEMA"


THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Yes"}]


def answer(message: dict[str, Any], finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"id": "1", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}).encode()


def test_an_answer_without_quirks_passes_as_it_came() -> None:
    body = answer({"content": "Hi"})
    reply = CHAT_TO_MISTRAL.response(call(), body)
    assert reply.body is body
    assert reply.usage == Usage(5, 2)


def test_thinking_parts_become_text_and_blocks() -> None:
    body = answer({"content": THOUGHT}, "model_length")
    made = json.loads(CHAT_TO_MISTRAL.response(call(), body).body)["choices"][0]
    assert made["message"] == {"role": "assistant", "content": "Yes"}
    assert made["finish_reason"] == "length"
    loose = json.loads(CHAT_TO_MISTRAL.response(call(strict=False), body).body)["choices"][0]
    assert loose["message"]["content_blocks"] == [{"type": "thinking", "thinking": "Hm"}]
    assert loose["finish_reason"] == "model_length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_signed_thought_goes_back_as_it_came_and_to_nobody_else(stream: bool) -> None:
    signed = [{**THOUGHT[0], "signature": "s1"}, THOUGHT[1]]
    history = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "mistral:s1"}]},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": history}).encode()
    asked = Call(Dialect.ANTHROPIC_MESSAGES, "m", stream, body, "id", 0)
    loop = codec(Dialect.ANTHROPIC_MESSAGES, Dialect.MISTRAL_CHAT)
    if stream:
        deltas = [{"role": "assistant", "content": ""}, *({"content": [part]} for part in signed)]
        chunks = [{"id": "1", "model": "m", "choices": [{"index": 0, "delta": each}]} for each in deltas]
        chunks[-1]["choices"][0]["finish_reason"] = "stop"
        events = loop.stream(asked).feed(b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in chunks))
        assert b'"signature_delta","signature":"mistral:s1"' in events
    else:
        content = json.loads(loop.response(asked, answer({"content": signed})).body)["content"]
        assert content[0] == {"type": "thinking", "thinking": "Hm", "signature": "mistral:s1"}
    back = loop.request(asked)
    assert json.loads(back.body)["messages"][1]["content"] == [{**signed[0], "closed": True}]
    assert back.dropped == ()
    other = codec(Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE)
    named = other.request(msgspec.structs.replace(asked, model="anthropic.claude-sonnet-4-5"))
    assert named.dropped == ("messages[].content[].thinking",)


def test_calls_get_their_type() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{}"}, "index": 0}]
    made = json.loads(CHAT_TO_MISTRAL.response(call(), answer({"content": "", "tool_calls": calls})).body)
    assert made["choices"][0]["message"]["tool_calls"][0]["type"] == "function"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[7]}'])
def test_what_is_no_chat_answer_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CHAT_TO_MISTRAL.response(call(), body)


def test_errors_in_both_shapes() -> None:
    plain = CHAT_TO_MISTRAL.error(429, {}, b'{"message":"Slow.","type":"rate_limited","code":"1300"}')
    assert (plain.kind, plain.message, plain.type, plain.code) == (Kind.RATE_LIMITED, "Slow.", "rate_limited", "1300")
    listed = CHAT_TO_MISTRAL.error(422, {}, b'{"detail":[{"loc":["body","n"],"msg":"Too many","type":"v"}]}')
    assert (listed.kind, listed.message, listed.param) == (Kind.INVALID_REQUEST, "n: Too many", "n")


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    body = {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: %b\n\n" % json.dumps(body).encode()


STREAM = (
    chunk({"role": "assistant", "content": THOUGHT[:1]})
    + chunk({"content": THOUGHT[:1]})
    + chunk({"content": THOUGHT[1:]})
    + chunk({"content": " é"})
    + chunk({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}, "index": 0}]})
    + chunk({"content": ""}, "model_length", usage={"prompt_tokens": 5, "completion_tokens": 2})
    + b"data: [DONE]\n\n"
)


def test_a_stream_is_mended_however_it_is_cut() -> None:
    machine = CHAT_TO_MISTRAL.stream(call(True, strict=False))
    out = machine.feed(STREAM) + machine.close()
    assert (machine.error, machine.usage) == (None, Usage(5, 2))
    deltas = [json.loads(each[6:])["choices"][0]["delta"] for each in out.split(b"\n\n")[:-2]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Yes é"
    blocks = [each for delta in deltas for each in delta.get("content_blocks", [])]
    assert blocks == [
        {"index": 0, "delta": {"type": "thinking", "thinking": "Hm"}},
        {"index": 0, "delta": {"thinking": "Hm"}},
    ]
    for cut in range(len(STREAM)):
        again = CHAT_TO_MISTRAL.stream(call(True, strict=False))
        assert again.feed(STREAM[:cut]) + again.feed(STREAM[cut:]) + again.close() == out
        short = CHAT_TO_MISTRAL.stream(call(True, strict=False))
        said = short.feed(STREAM[:cut]) + short.close()
        assert out.startswith(said)
        assert (short.error is None) == said.endswith(b"[DONE]\n\n")


def test_fill_in_the_middle() -> None:
    asked = call(dialect=Dialect.OPENAI_COMPLETIONS, prompt="def f(", suffix="return", seed=1, n=1, user="u")
    outbound = COMPLETIONS_TO_FIM.request(asked)
    assert json.loads(outbound.body) == {"model": "mistral-x", "prompt": "def f(", "suffix": "return", "random_seed": 1}
    assert outbound.dropped == ("user",)
    made = json.loads(COMPLETIONS_TO_FIM.response(asked, answer({"content": "x):"})).body)
    assert made["choices"][0]["text"] == "x):"
    machine = COMPLETIONS_TO_FIM.stream(asked)
    out = machine.feed(chunk({"content": "x):"}) + chunk({"content": ""}, "stop") + b"data: [DONE]\n\n")
    assert b'"text":"x):"' in out
    named = COMPLETIONS_TO_FIM.request(
        call(prompt="a", seed=1, random_seed=2, metadata={"a": "b"}, prompt_cache_key="k")
    )
    told = {"model": "mistral-x", "prompt": "a", "random_seed": 1, "metadata": {"a": "b"}, "prompt_cache_key": "k"}
    assert json.loads(named.body) == told
    assert named.dropped == ("random_seed",)
    for bad in ({}, {"prompt": ["a", "b"]}):
        with pytest.raises(InvalidRequest):
            COMPLETIONS_TO_FIM.request(call(**bad))


@pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")
def test_recorded_answers_keep_every_word() -> None:
    seen = 0
    for each in recordings.exchanges("api.mistral.ai/v1/chat/completions"):
        if each.status != 200 or not isinstance(each.response, dict):
            continue
        seen += 1
        said = each.response["choices"][0]["message"]
        made = json.loads(CHAT_TO_MISTRAL.response(call(), json.dumps(each.response).encode()).body)
        message = made["choices"][0]["message"]
        content = said["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part["type"] == "text")
        assert message["content"] == content
        assert [c["function"] for c in message.get("tool_calls") or []] == [
            c["function"] for c in said.get("tool_calls") or []
        ]
        again = json.loads(CHAT_TO_MISTRAL.request(call(**each.request)).body)
        assert [m["role"] for m in again["messages"]] == [m["role"] for m in each.request["messages"]]
    assert seen >= 10


@pytest.mark.parametrize("details", [{}, {"prompt_tokens_details": {"cached_tokens": 32}}])
def test_cached_tokens_count_by_either_name(details: dict[str, Any]) -> None:
    told = {"prompt_tokens": 50, "completion_tokens": 3, "total_tokens": 53, "num_cached_tokens": 32, **details}
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    body = {"id": "1", "object": "chat.completion", "model": "m", "created": 1, "choices": [choice], "usage": told}
    assert CHAT_TO_MISTRAL.response(call(messages=HELLO), json.dumps(body).encode()).usage == Usage(50, 3, 32)
    machine = CHAT_TO_MISTRAL.stream(call(stream=True, messages=HELLO))
    chunk = {**body, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    machine.feed(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
    assert machine.usage == Usage(50, 3, 32)


@pytest.mark.parametrize(("messages", "path"), [({"is_error": 1}, "messages"), (["is_error"], "messages[0]")])
def test_what_cannot_be_read_is_told_with_its_path(messages: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(messages=messages)
    assert caught.value.param == path
