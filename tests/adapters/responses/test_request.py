"""Chat requests as Responses have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.errors import InvalidRequest
from adapters.registry import codec
from adapters.responses import CHAT_TO_RESPONSES
from adapters.types import Call, Dialect

HELLO = [{"role": "user", "content": "Hi"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": CITY}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}


def call(stream: bool = False, model: str = "gpt-5-pro", blocks: bool = False, **body: Any) -> Call:
    raw = json.dumps({"model": "ignored", "messages": HELLO, **body}).encode()
    return Call(Dialect.OPENAI_CHAT, model, stream, raw, "0a1b", 1700000000, blocks=blocks)


def sent(**body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    outbound = CHAT_TO_RESPONSES.request(call(**body))
    return json.loads(outbound.body), outbound.dropped


def told(*messages: dict[str, Any]) -> Any:
    """The input items of these messages, of which nothing is lost."""
    made, dropped = sent(messages=list(messages))
    assert dropped == ()
    return made["input"]


def test_a_golden_request() -> None:
    made, dropped = sent(
        stream=True,
        messages=[
            {"role": "system", "content": "Brief."},
            {"role": "developer", "content": "In Czech."},
            {"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]},
            {
                "role": "assistant",
                "content": "I will look.",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Praha"}'}},
                    {"id": "b", "type": "function", "function": {"name": "weather", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "Rain"}, IMAGE]},
        ],
        max_completion_tokens=50,
        temperature=0.5,
        top_p=0.9,
        logprobs=True,
        top_logprobs=2,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": CITY, "strict": True}},
        reasoning_effort="low",
        verbosity="high",
        service_tier="flex",
        metadata={"a": "b"},
        user="u",
        safety_identifier="s",
        prompt_cache_key="k",
        web_search_options={"user_location": {"type": "approximate", "approximate": {"country": "CZ"}}},
    )
    assert made == {
        "model": "gpt-5-pro",
        "instructions": "Brief.",
        "input": [
            {"type": "message", "role": "developer", "content": "In Czech."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "?"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                ],
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I will look."}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"city":"Praha"}'},
            {"type": "function_call", "call_id": "b", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "Sunny"},
            {
                "type": "function_call_output",
                "call_id": "b",
                "output": [
                    {"type": "input_text", "text": "Rain"},
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                ],
            },
        ],
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_logprobs": 2,
        "tools": [
            {"type": "function", "name": "weather", "description": "Tells it", "parameters": CITY, "strict": False},
            {"type": "web_search", "user_location": {"type": "approximate", "country": "CZ"}},
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": CITY, "strict": True},
            "verbosity": "high",
        },
        "reasoning": {"effort": "low"},
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "store": False,
        "stream": True,
    }
    assert dropped == ()


def test_what_responses_have_no_word_for_is_named() -> None:
    _, dropped = sent(
        stop="END", seed=7, presence_penalty=1, frequency_penalty=1, n=2, logit_bias={"1": 1}, prediction={"a": 1},
        store=True, top_k=5,
    )  # fmt: skip
    assert dropped == (
        "stop", "seed", "presence_penalty", "frequency_penalty", "n", "logit_bias", "prediction", "store", "top_k",
    )  # fmt: skip


def test_values_that_ask_for_nothing_are_not_named() -> None:
    _, dropped = sent(n=1, store=False, logit_bias={}, presence_penalty=0, modalities=["text"], logprobs=False)
    assert dropped == ()


def test_models_that_do_not_reason_are_not_asked_for_their_reasoning() -> None:
    assert "include" not in sent(model="gpt-4o")[0]
    assert "include" not in sent(model="gpt-5-chat-latest")[0]
    assert sent(model="my-deployment")[0]["include"] == ["reasoning.encrypted_content"]


def test_who_can_show_thoughts_asks_for_their_summary() -> None:
    asked = call(blocks=True, reasoning_effort="high")
    assert json.loads(CHAT_TO_RESPONSES.request(asked).body)["reasoning"] == {"effort": "high", "summary": "auto"}
    quiet = call(blocks=True, reasoning_effort="none")
    assert json.loads(CHAT_TO_RESPONSES.request(quiet).body)["reasoning"] == {"effort": "none"}


def test_a_budget_of_thinking_becomes_an_effort_and_is_named() -> None:
    made, dropped = sent(thinking={"type": "enabled", "budget_tokens": 2000})
    assert (made["reasoning"], dropped) == ({"effort": "medium"}, ("thinking.budget_tokens",))


def test_a_system_message_further_on_keeps_its_place_and_role() -> None:
    made, _ = sent(messages=[*HELLO, {"role": "system", "content": "Now brief."}])
    assert "instructions" not in made
    assert [item["role"] for item in made["input"]] == ["user", "system"]


def test_thoughts_return_to_the_very_place_where_they_were() -> None:
    items = told(
        {
            "role": "assistant",
            "content": "Then.",
            "content_blocks": [
                {"type": "thinking", "thinking": "First.", "signature": "openai:0:rs_1:gAAA:x"},
                {"type": "text", "text": "Then.", "phase": "commentary"},
                {"type": "thinking", "thinking": "", "signature": "openai:1:rs_2:gBBB"},
                {"type": "openai_item", "after": 2, "item": {"type": "web_search_call", "id": "ws_1"}},
            ],
            "tool_calls": [
                {"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in "abc"
            ],
        },
        {"role": "user", "content": "Go on."},
    )
    assert items[:-1] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "First."}],
            "encrypted_content": "gAAA:x",
            "id": "rs_1",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Then."}],
            "phase": "commentary",
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gBBB", "id": "rs_2"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "web_search_call", "id": "ws_1"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]


@pytest.mark.parametrize("signature", ["", "EqQBCgIYAg==", "google:c2ln", "openai:", "openai:x:rs:g", "openai:1:rs:"])
def test_thoughts_of_others_are_left_out_and_named(signature: str) -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": signature}
    made, dropped = sent(messages=[{"role": "assistant", "content": "Yes", "content_blocks": [block]}])
    assert made["input"] == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes"}]}
    ]
    assert dropped == ("messages[].content_blocks[].thinking",)


@pytest.mark.parametrize(
    ("client", "dialect"),
    [(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES), (Dialect.OPENAI_CHAT, Dialect.BEDROCK_CONVERSE)],
)
def test_openais_thoughts_do_not_reach_other_makers(client: Dialect, dialect: Dialect) -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "openai:0:rs_1:gAAA"},
        {"type": "openai_item", "after": 0, "item": {"type": "web_search_call"}},
        {"type": "text", "text": "Yes", "phase": "commentary"},
    ]
    asked = call(
        model="anthropic.claude-sonnet-4-5",
        messages=[*HELLO, {"role": "assistant", "content": "Yes", "content_blocks": blocks}, *HELLO],
    )
    out = codec(client, dialect).request(asked)
    assert b"gAAA" not in out.body
    assert b"web_search_call" not in out.body
    assert b"phase" not in out.body
    assert set(out.dropped) == {
        "messages[].content_blocks[].thinking",
        "messages[].content_blocks[].openai_item",
        "messages[].content_blocks[].phase",
    }


def test_files_have_names_and_addresses_have_none() -> None:
    parts = [
        {"type": "file", "file": {"file_data": "JVBERi0="}},
        {"type": "file", "file": {"filename": "a.csv", "file_data": "data:text/csv;base64,YQ=="}},
        {"type": "file", "file": {"file_url": "https://example.com/a.pdf", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": "data:application/pdf;base64,JVBERi0="},
    ]
    made, dropped = sent(messages=[{"role": "user", "content": parts}])
    assert dropped == ("messages[].content[].file.filename",)
    assert made["input"][0]["content"] == [
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "filename": "a.csv", "file_data": "data:text/csv;base64,YQ=="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]


def test_failures_are_said_in_words() -> None:
    failed = {"role": "tool", "tool_call_id": "a", "is_error": True}
    assert [item["output"] for item in told({**failed, "content": "No net"}, {**failed, "content": ""})] == [
        "Error:\nNo net",
        "Error:",
    ]


def test_custom_tools_keep_their_free_text() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}}
    made, dropped = sent(
        tools=[{"type": "custom", "custom": {"name": "sql", "description": "d", "format": grammar}}],
        tool_choice={"type": "custom", "custom": {"name": "sql"}},
        messages=[
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "X"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
    )
    assert made["tools"] == [
        {
            "type": "custom",
            "name": "sql",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
        }
    ]
    assert made["tool_choice"] == {"type": "custom", "name": "sql"}
    assert made["input"] == [
        {"type": "custom_tool_call", "call_id": "a", "name": "sql", "input": "X"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "1"},
    ]
    assert dropped == ()


def test_openais_own_tools_pass_in_either_form_and_anthropics_search_becomes_theirs() -> None:
    made, dropped = sent(
        tools=[
            {"type": "file_search", "vector_store_ids": ["v"]},
            {"type": "code_interpreter", "code_interpreter": {"container": {"type": "auto"}}},
            {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.cz"], "max_uses": 3},
            {"type": "text_editor_20250728", "name": "editor"},
        ]
    )
    assert made["tools"] == [
        {"type": "file_search", "vector_store_ids": ["v"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "web_search", "filters": {"allowed_domains": ["a.cz"]}},
    ]
    assert dropped == ("tools[].max_uses", "tools[].text_editor_20250728")


def test_a_choice_among_some_tools() -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    made, _ = sent(
        tools=[WEATHER],
        tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}},
    )
    assert made["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "weather"}],
    }


def test_functions_of_old_are_tools_that_are_called_one_at_a_time() -> None:
    made, _ = sent(
        functions=[{"name": "weather", "parameters": CITY}],
        function_call={"name": "weather"},
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "Sunny"},
        ],
    )
    assert made["tools"][0]["name"] == "weather"
    assert (made["tool_choice"], made["parallel_tool_calls"]) == ({"type": "function", "name": "weather"}, False)
    assert [item["call_id"] for item in made["input"]] == ["call_0", "call_0"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0].file"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "function", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0].function"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"thinking": True}, "thinking"),
        ({"max_tokens": "9"}, "max_tokens"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(**fields)
    assert refused.value.param == path
