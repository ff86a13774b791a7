"""Responses requests as chat requests."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.chain import Chain
from adapters.errors import InvalidRequest
from adapters.packing import pack, pack_signature
from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.types import Call, Dialect
from tests.adapters.responses_client.script import call, chat

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "d", "parameters": CITY, "strict": True}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: X"}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_a_golden_request() -> None:
    made, dropped = chat(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "Formal."},
            user({"type": "input_text", "text": "Weather?"}, {"type": "input_image", "image_url": "https://x/y.png"}),
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Praha"}'},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "Sunny"},
            {"type": "function_call_output", "call_id": "c2", "output": "Rain"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Mixed."}]},
            {"role": "user", "content": "Thanks"},
        ],
        max_output_tokens=50,
        temperature=0.5,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": CITY, "strict": True}, "verbosity": "low"},
        service_tier="flex",
        prompt_cache_key="k",
        safety_identifier="s",
        store=False,
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
    )
    function = {key: value for key, value in WEATHER.items() if key != "type"}
    assert made == {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "system", "content": "Formal."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Weather?"},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Praha"}'}},
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": "Rain"},
            {"role": "assistant", "content": "Mixed."},
            {"role": "user", "content": "Thanks"},
        ],
        "max_completion_tokens": 50,
        "temperature": 0.5,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": CITY, "strict": True}},
        "verbosity": "low",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "logprobs": True,
    }
    assert dropped == ()


def test_a_stream_asks_for_usage() -> None:
    made = json.loads(RESPONSES_TO_CHAT.request(call(True)).body)
    assert (made["stream"], made["stream_options"]) == (True, {"include_usage": True})


def test_instructions_alone_are_a_request() -> None:
    made = json.loads(RESPONSES_TO_CHAT.request(call(input=None, instructions="Say hi")).body)
    assert made["messages"] == [{"role": "system", "content": "Say hi"}]


@pytest.mark.parametrize(
    ("part", "made"),
    [
        ({"type": "input_text", "text": "a"}, "a"),
        (
            {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}],
        ),
        (
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
            [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}}],
        ),
        ({"type": "input_file", "file_url": "https://x"}, [{"type": "file", "file": {"file_url": "https://x"}}]),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}],
        ),
    ],
)
def test_content_parts(part: Any, made: Any) -> None:
    assert chat(input=[user(part)])[0]["messages"][0]["content"] == made


def test_images_in_a_functions_output_follow_the_results() -> None:
    call_ = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    shown = [{"type": "input_text", "text": "See:"}, {"type": "input_image", "image_url": "https://x"}]
    made, _ = chat(input=[call_, {"type": "function_call_output", "call_id": "c1", "output": shown}])
    assert made["messages"][1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "See:"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Content of tool result c1:"},
                {"type": "image_url", "image_url": {"url": "https://x"}},
            ],
        },
    ]


def test_custom_tools_become_functions_of_one_text() -> None:
    made, dropped = chat(
        tools=[{"type": "custom", "name": "sql", "description": "Runs", "format": GRAMMAR}],
        input=[
            {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": 'SELECT "a"'},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"},
        ],
        tool_choice={"type": "custom", "name": "sql"},
    )
    function = made["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: X" in function["description"]
    assert made["tool_choice"] == {"type": "function", "function": {"name": "sql"}}
    arguments = made["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"input": 'SELECT "a"'}
    assert dropped == ("tools[].format",)


def test_allowed_tools_leave_the_others_out() -> None:
    made, _ = chat(
        tools=[WEATHER, {**WEATHER, "name": "time"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "time"}]},
    )
    assert [each["function"]["name"] for each in made["tools"]] == ["time"]
    assert made["tool_choice"] == "required"
    made, dropped = chat(
        tools=[WEATHER], tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "name": "m"}]}
    )
    assert "tools" not in made
    assert dropped == ("tool_choice.tools[].mcp",)


def test_what_a_chat_has_no_word_for_is_named() -> None:
    made, dropped = chat(
        input=[
            {"type": "web_search_call", "id": "ws"},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
            user({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        ],
        tools=[{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}],
        tool_choice={"type": "web_search"},
        truncation="auto",
        store=True,
        metadata={"a": "b"},
        include=["web_search_call.action.sources"],
        max_tool_calls=3,
    )
    assert made == {"model": "gpt-x", "messages": [{"role": "user", "content": "a"}]}
    assert dropped == (
        "input[].web_search_call",
        "input[].encrypted_content",
        "input[].content[].prompt_cache_breakpoint",
        "tools[].web_search",
        "tools[].code_interpreter",
        "tool_choice",
        "truncation",
        "store",
        "metadata",
        "include[].web_search_call.action.sources",
        "max_tool_calls",
    )


def test_what_asks_for_nothing_is_not_named() -> None:
    _, dropped = chat(
        store=False, truncation="disabled", metadata={}, parallel_tool_calls=True, top_logprobs=0, user=None
    )
    assert dropped == ()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"background": True}, "background"),
    ({"input": None}, "input"),
    ({"input": 1}, "input"),
    ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [user({"type": "input_text"})]}, "input[0].content[0].text"),
    ({"input": [user({"type": "sound"})]}, "input[0].content[0].type"),
    ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
    ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "output": "a"}]}, "input[0].call_id"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
    ({"tool_choice": "some"}, "tool_choice"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
    ({"max_output_tokens": "9"}, "max_output_tokens"),
]


@pytest.mark.parametrize(("fields", "path"), BAD, ids=[path for _, path in BAD])
def test_what_cannot_be_said_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat(**fields)
    assert refused.value.param == path


def test_a_reference_to_a_thought_is_named_and_leaves_the_conversation_whole() -> None:
    answered = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "18"}
    for thought in ({"type": "item_reference", "id": "rs_1"}, {"type": None, "id": "rs_1"}, {"id": "rs_1"}):
        with_it, named = chat(input=[user({"type": "input_text", "text": "?"}), thought, answered, result])
        assert with_it == chat(input=[user({"type": "input_text", "text": "?"}), answered, result])[0]
        assert named == ("input[].item_reference",)


THINKING = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
REDACTED = {"type": "redacted_thinking", "data": "opaque"}


def test_packed_blocks_reach_an_upstream_that_knows_them() -> None:
    asked = call(
        model="claude-sonnet-4-5",
        input=[
            {"role": "user", "content": "?"},
            {"type": "reasoning", "summary": [], "encrypted_content": pack([THINKING])},
            {"type": "reasoning", "summary": [], "encrypted_content": pack([REDACTED])},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}],
            },
        ],
    )
    outbound = Chain(RESPONSES_TO_CHAT, CHAT_TO_MESSAGES).request(asked)
    assert json.loads(outbound.body)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                THINKING,
                REDACTED,
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
                    ],
                }
            ],
        },
    ]
    assert outbound.dropped == ()


def test_the_signature_of_a_call_comes_back_to_it() -> None:
    items = [
        {"type": "reasoning", "summary": [], "encrypted_content": pack_signature("c1", "sig")},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]
    raw = json.dumps({"input": items}).encode()
    asked = Call(Dialect.OPENAI_RESPONSES, "g", False, raw, "id", 0, blocks=True)
    made = json.loads(RESPONSES_TO_CHAT.request(asked).body)
    assert made["messages"][0]["tool_calls"][0]["function"]["thought_signature"] == "sig"
    assert "content_blocks" not in made["messages"][0]


def test_web_search_is_asked_for_where_that_is_possible() -> None:
    tool = {
        "type": "web_search",
        "user_location": {"type": "approximate", "city": "Praha"},
        "search_context_size": "low",
    }
    raw = json.dumps({"input": "?", "tools": [tool]}).encode()
    asked = Call(Dialect.OPENAI_RESPONSES, "g", False, raw, "id", 0, blocks=True)
    assert json.loads(RESPONSES_TO_CHAT.request(asked).body)["web_search_options"] == {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Praha"}},
    }


KEYS = st.sampled_from(["input", "type", "role", "content", "tools", "text", "call_id", "format"])
VALUES = st.recursive(
    st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8
)


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_translated_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        RESPONSES_TO_CHAT.request(Call(Dialect.OPENAI_RESPONSES, "m", False, body, "id", 0))
