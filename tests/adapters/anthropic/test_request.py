from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect, Outbound
from tests.adapters.anthropic.conversation import (
    MODEL,
    OLD_MODEL,
    assistant,
    call,
    outbound,
    refusal,
    tool,
    tool_call,
    translated,
    turns,
    user,
)

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


# The whole of a request.


def test_a_plain_chat_becomes_a_plain_message() -> None:
    assert outbound(max_tokens=20) == Outbound(
        b'{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"Hi"}],"max_tokens":20}'
    )


def test_the_model_is_the_calls_and_not_the_bodys() -> None:
    assert translated(model="claude-opus-4-1")["model"] == "claude-opus-4-1"


def test_streaming_is_asked_for_when_the_call_streams() -> None:
    assert translated(stream=True)["stream"] is True
    assert "stream" not in translated()


def test_every_common_parameter_finds_its_place() -> None:
    body = translated(
        model=OLD_MODEL,
        max_completion_tokens=50,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=["A", "B"],
        user="u-1",
        thinking={"type": "enabled", "budget_tokens": 1024},
        service_tier="default",
    )
    del body["messages"]
    assert body == {
        "model": OLD_MODEL,
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "stop_sequences": ["A", "B"],
        "metadata": {"user_id": "u-1"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "service_tier": "standard_only",
    }


def test_numbers_keep_their_text() -> None:
    body = b'{"messages":[{"role":"user","content":"Hi"}],"temperature":0.70000000000000001}'
    assert b'"temperature":0.70000000000000001' in CHAT_TO_MESSAGES.request(call(body)).body


def test_a_prompt_is_passed_on_as_the_json_text_it_came_in() -> None:
    body = rb'{"messages":[{"role":"user","content":"caf\u00e9 \/ \"x\""}]}'
    assert rb'"content":"caf\u00e9 \/ \"x\""' in CHAT_TO_MESSAGES.request(call(body)).body


@pytest.mark.parametrize("value", [None, "portkey-default"])
@pytest.mark.parametrize("name", ["temperature", "max_tokens", "stop", "tools", "tool_choice", "n", "seed", "user"])
def test_null_and_the_sdks_default_word_mean_absent(name: str, value: Any) -> None:
    assert outbound(**{name: value}) == outbound()


def test_a_single_stop_becomes_a_list() -> None:
    assert translated(stop="END")["stop_sequences"] == ["END"]


# Token limits.


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-latest", 8192),
        ("claude-opus-4-20250514", 32_000),
        ("claude-sonnet-4-5", 64_000),
        ("claude-opus-4-8", 64_000),
        ("some-other-model", 4096),
    ],
)
def test_without_a_limit_the_models_own_is_sent(model: str, limit: int) -> None:
    assert translated(model=model)["max_tokens"] == limit


def test_the_newer_limit_wins_over_the_older() -> None:
    assert translated(max_tokens=5, max_completion_tokens=6)["max_tokens"] == 6


# System prompts.


def test_system_and_developer_messages_become_system_blocks_in_order() -> None:
    body = translated(
        messages=[
            {"role": "system", "content": "One"},
            user(),
            {"role": "developer", "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}]},
            {"role": "system", "content": ""},
        ]
    )
    assert body["system"] == [{"type": "text", "text": each} for each in ("One", "Two", "Three")]
    assert body["messages"] == [user()]


def test_cache_control_is_kept_word_for_word() -> None:
    part = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = translated(messages=[{"role": "system", "content": [part]}, user([part])])
    assert body["system"] == [part]
    assert body["messages"] == [user([part])]


def test_cache_control_beside_a_string_makes_it_a_block() -> None:
    control = {"type": "ephemeral"}
    body = translated(messages=[{"role": "system", "content": "S", "cache_control": control}, user()])
    assert body["system"] == [{"type": "text", "text": "S", "cache_control": control}]


def test_anthropics_own_system_field_comes_first() -> None:
    body = translated(system="Own", messages=[{"role": "system", "content": "S"}, user()])
    assert body["system"] == [{"type": "text", "text": "Own"}, {"type": "text", "text": "S"}]


# Functions from before there were tools.


def test_legacy_functions_become_tools_and_one_call_at_a_time() -> None:
    body = translated(functions=[{"name": "f", "description": "D", "parameters": SCHEMA}], function_call="auto")
    assert body["tools"] == [{"name": "f", "description": "D", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_a_legacy_function_can_be_chosen() -> None:
    body = translated(functions=[{"name": "f"}], function_call={"name": "f"})
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}


def test_a_legacy_call_and_its_result_are_paired() -> None:
    said = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}}
    _, called, answered = turns(user(), said, {"role": "function", "name": "f", "content": "2"})
    assert called["content"] == [{"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}]
    assert answered["content"] == [{"type": "tool_result", "tool_use_id": "call_1", "content": "2"}]


# Tools.


def test_a_tools_schema_crosses_whole_and_byte_for_byte() -> None:
    schema = b'{"type": "object","anyOf":[{"required":["a"]}], "x-n":1.50,"$defs":{},"additionalProperties":false}'
    body = b'{"messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f",'
    sent = CHAT_TO_MESSAGES.request(call(body + b'"parameters":' + schema + b"}}]}")).body
    assert b'"tools":[{"name":"f","input_schema":' + schema + b"}]" in sent


@pytest.mark.parametrize("parameters", [{}, {"parameters": None}, {"parameters": {}}])
def test_a_function_without_parameters_takes_an_empty_object(parameters: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f", **parameters}}]
    assert translated(tools=tools)["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]


EXTRAS = {
    "cache_control": {"type": "ephemeral", "ttl": "1h"},
    "defer_loading": True,
    "allowed_callers": ["direct"],
    "input_examples": [{"a": 1}],
}


def test_anthropics_own_fields_of_a_tool_are_kept_beside_the_function_or_in_it() -> None:
    function = {"name": "f", "parameters": SCHEMA}
    expected = [{"name": "f", "input_schema": SCHEMA, **EXTRAS}]
    assert translated(tools=[{"type": "function", "function": function, **EXTRAS}])["tools"] == expected
    assert translated(tools=[{"type": "function", "function": {**function, **EXTRAS}}])["tools"] == expected


def test_strict_tools_go_to_models_that_have_them_and_are_reported_for_others() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}]
    assert translated(tools=tools)["tools"][0]["strict"] is True
    sent = outbound(OLD_MODEL, tools=tools)
    assert "strict" not in json.loads(sent.body)["tools"][0]
    assert sent.dropped == ("tools[].function.strict",)


@pytest.mark.parametrize(
    ("tool", "native"),
    [
        (
            {"type": "web_search", "web_search": {"name": "web_search_20250305", "max_uses": 2}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
        ),
        (
            {
                "type": "computer",
                "computer": {"name": "computer_20250124", "display_width_px": 10},
                "cache_control": {"type": "ephemeral"},
            },
            {
                "type": "computer_20250124",
                "name": "computer",
                "display_width_px": 10,
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "mcp_toolset", "mcp_toolset": {"mcp_server_name": "x"}},
            {"type": "mcp_toolset", "mcp_server_name": "x"},
        ),
        ({"type": "bash_20250124", "name": "bash"}, {"type": "bash_20250124", "name": "bash"}),
        ({"name": "f", "input_schema": SCHEMA}, {"name": "f", "input_schema": SCHEMA}),
    ],
)
def test_native_tools_are_passed_on(tool: dict[str, Any], native: dict[str, Any]) -> None:
    assert translated(tools=[tool])["tools"] == [native]


def allowed(**fields: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": fields}


@pytest.mark.parametrize(("mode", "expected"), [("auto", {"type": "auto"}), ("required", {"type": "any"})])
def test_a_choice_among_some_tools_leaves_the_others_out(mode: str, expected: dict[str, str]) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in "fgh"]
    search = {"type": "web_search_20250305", "name": "web_search"}
    some = [{"type": "function", "function": {"name": "g"}}, {"type": "web_search"}]
    body = translated(tools=[*tools, search], tool_choice=allowed(mode=mode, tools=some))
    assert [tool["name"] for tool in body["tools"]] == ["g", "web_search"]
    assert body["tool_choice"] == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
        ({"type": "tool", "name": "f", "x": 1}, {"type": "tool", "name": "f", "x": 1}),
    ],
)
def test_tool_choices_are_translated(choice: Any, expected: dict[str, Any]) -> None:
    assert translated(tools=[TOOL], tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", {"type": "any", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
    ],
)
def test_parallel_calls_can_be_turned_off(choice: Any, expected: dict[str, Any]) -> None:
    assert translated(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)["tool_choice"] == expected


def test_parallel_calls_are_the_default() -> None:
    assert "tool_choice" not in translated(tools=[TOOL], parallel_tool_calls=True)
    assert "tool_choice" not in translated(parallel_tool_calls=False)


# JSON answers.


def test_a_json_schema_becomes_an_output_format() -> None:
    body = translated(response_format=JSON_SCHEMA, output_config={"effort": "low"})
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}
    assert "tools" not in body


def test_a_tool_that_must_be_called_leaves_no_thinking() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    sent = outbound(OLD_MODEL, response_format=JSON_SCHEMA, thinking=thinking)
    assert "thinking" not in json.loads(sent.body)
    assert "thinking" in sent.dropped


def test_for_an_older_model_the_schema_becomes_a_tool_that_must_be_called() -> None:
    body = translated(OLD_MODEL, response_format=JSON_SCHEMA)
    assert [(tool["name"], tool["input_schema"]) for tool in body["tools"]] == [("respond_with_json", SCHEMA)]
    assert body["tool_choice"] == {"type": "tool", "name": "respond_with_json"}
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"type": "any"}),
        ("none", {"type": "tool", "name": "respond_with_json"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_beside_other_tools_an_older_model_answers_or_calls_one(choice: Any, expected: dict[str, Any]) -> None:
    body = translated(OLD_MODEL, response_format=JSON_SCHEMA, tools=[TOOL], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == ["f", "respond_with_json"]
    assert body["tool_choice"] == expected


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    body = translated(response_format={"type": "json_object"}, messages=[{"role": "system", "content": "S"}, user()])
    assert [block["text"][:8] for block in body["system"]] == ["S", "Answer w"]


def test_a_text_format_asks_for_nothing() -> None:
    assert outbound(response_format={"type": "text"}) == outbound()


# Reasoning.


@pytest.mark.parametrize(
    ("model", "effort", "told", "dropped"),
    [
        ("claude-opus-4-6", "minimal", "low", ("reasoning_effort",)),
        ("claude-opus-4-6", "medium", "medium", ()),
        ("claude-opus-4-6", "xhigh", "high", ("reasoning_effort",)),
        ("claude-opus-4-6", "max", "max", ()),
        ("claude-sonnet-5", "xhigh", "xhigh", ()),
        ("claude-opus-5-5", "low", "low", ()),
    ],
)
def test_newer_models_think_as_they_see_fit_and_are_told_the_effort(
    model: str, effort: str, told: str, dropped: tuple[str, ...]
) -> None:
    sent = outbound(model, reasoning_effort=effort)
    body = json.loads(sent.body)
    assert (body["output_config"], body["thinking"]["type"], sent.dropped) == ({"effort": told}, "adaptive", dropped)


def test_thoughts_are_asked_for_where_they_can_be_shown() -> None:
    shown = {"type": "adaptive", "display": "summarized"}
    assert (
        json.loads(CHAT_TO_MESSAGES.request(call(model="claude-opus-4-8", strict=False, reasoning_effort="low")).body)[
            "thinking"
        ]
        == shown
    )
    assert translated("claude-opus-4-8", reasoning_effort="low")["thinking"] == {"type": "adaptive"}


def test_one_model_takes_both_a_word_and_a_budget() -> None:
    body = translated("claude-opus-4-5", reasoning_effort="high")
    assert body["output_config"] == {"effort": "high"}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 16_384}
    forced = outbound("claude-opus-4-5", reasoning_effort="high", tools=[TOOL], tool_choice="required")
    assert "thinking" not in json.loads(forced.body)
    assert forced.dropped == ()


@pytest.mark.parametrize(("effort", "budget"), [("low", 1024), ("medium", 4096), ("high", 16_384)])
def test_for_older_models_effort_is_a_thinking_budget(effort: str, budget: int) -> None:
    body = translated("claude-sonnet-4-5", reasoning_effort=effort)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] > budget


@pytest.mark.parametrize("limit", [1025, 3000, 4096, 20_000])
def test_a_budget_leaves_room_within_the_clients_own_limit(limit: int) -> None:
    sent = outbound(reasoning_effort="high", max_completion_tokens=limit)
    body = json.loads(sent.body)
    assert body["max_tokens"] == limit
    assert 1024 <= body["thinking"]["budget_tokens"] < limit
    assert sent.dropped == (() if limit > 16_384 else ("reasoning_effort",))


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("claude-3-5-sonnet-latest", {}),
        (MODEL, {"max_tokens": 1000}),
        (MODEL, {"tools": [TOOL], "tool_choice": "required"}),
        (MODEL, {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-4-0", {"response_format": JSON_SCHEMA}),
        (MODEL, {"messages": [user(), assistant(tool_call("a")), tool("a")]}),
    ],
)
def test_effort_that_cannot_be_told_is_reported(model: str, fields: dict[str, Any]) -> None:
    with_effort = outbound(model, reasoning_effort="high", **fields)
    without = outbound(model, **fields)
    assert with_effort.dropped == (*without.dropped, "reasoning_effort")
    assert with_effort.body == without.body


def test_a_tool_loop_that_begins_with_its_thinking_goes_on_thinking() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "s"}]
    messages = [user(), assistant(tool_call("a"), content_blocks=blocks), tool("a")]
    assert translated(reasoning_effort="low", messages=messages)["thinking"]["budget_tokens"] == 1024


@pytest.mark.parametrize(
    ("model", "thinking", "dropped"),
    [
        ("claude-sonnet-4-5", None, ()),
        ("claude-opus-5", {"type": "disabled"}, ()),
        ("claude-opus-5-5", None, ("reasoning_effort",)),
    ],
)
def test_no_reasoning_turns_thinking_off_where_it_is_on(model: str, thinking: Any, dropped: tuple[str, ...]) -> None:
    sent = outbound(model, reasoning_effort="none")
    assert json.loads(sent.body).get("thinking") == thinking
    assert sent.dropped == dropped


# What is lost is said.


def test_a_stop_without_a_word_in_it_is_named() -> None:
    sent = outbound(stop=["\n", "END", ""])
    assert (json.loads(sent.body)["stop_sequences"], sent.dropped) == (["END"], ("stop",))
    assert outbound(stop="").dropped == ()


@pytest.mark.parametrize(
    ("model", "kept", "dropped"),
    [
        (OLD_MODEL, {"temperature": 0.5, "top_p": 0.9, "top_k": 3}, ()),
        ("claude-sonnet-4-5", {"temperature": 0.5, "top_k": 3}, ("top_p",)),
        ("claude-opus-4-7", {}, ("temperature", "top_p", "top_k")),
    ],
)
def test_sampling_follows_what_the_model_takes(model: str, kept: dict[str, Any], dropped: tuple[str, ...]) -> None:
    sent = outbound(model, temperature=0.5, top_p=0.9, top_k=3)
    body = json.loads(sent.body)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
    assert sent.dropped == dropped


@pytest.mark.parametrize("model", [MODEL, "claude-opus-4-6"])
def test_thinking_leaves_no_sampling(model: str) -> None:
    assert outbound(model, reasoning_effort="low", temperature=0.5).dropped == ("temperature",)
    assert outbound(model, reasoning_effort="low", temperature=1).dropped == ()


def test_of_two_kinds_of_sampling_the_one_stays_that_asks_for_something() -> None:
    sent = outbound(temperature=1, top_p=0.9)
    assert (json.loads(sent.body)["top_p"], sent.dropped) == (0.9, ())
    assert "temperature" not in json.loads(sent.body)


UNSUPPORTED = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "seed": 1,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 2},
    "prediction": {},
    "service_tier": "flex",
    "store": True,
    "whatever": {"deep": [1]},
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_anthropic_does_not_know_is_dropped_by_name(name: str) -> None:
    assert outbound(**{name: UNSUPPORTED[name]}) == Outbound(outbound().body, (), (name,))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 1), ("logprobs", False), ("presence_penalty", 0), ("frequency_penalty", 0.0), ("logit_bias", {})],
)
def test_values_that_ask_for_nothing_are_not_reported(name: str, value: Any) -> None:
    assert outbound(**{name: value}) == outbound()


def test_names_for_the_end_user_share_one_place() -> None:
    sent = outbound(user="u", safety_identifier="s", metadata={"user_id": "m", "team": "x"})
    assert json.loads(sent.body)["metadata"] == {"user_id": "m"}
    assert set(sent.dropped) == {"metadata.team", "user", "safety_identifier"}
    assert json.loads(outbound(safety_identifier="s").body)["metadata"] == {"user_id": "s"}


@pytest.mark.parametrize(
    "name", ["thinking", "container", "mcp_servers", "context_management", "output_config", "cache_control", "speed"]
)
def test_anthropics_own_parameters_are_forwarded(name: str) -> None:
    assert translated(**{name: {"a": [1.5]}})[name] == {"a": [1.5]}


# What is wrong is said by its path.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0]"),
        ({"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "system", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [user(), {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
        ({"messages": [user(), {"role": "function", "name": "f", "content": "x"}]}, "messages[1].role"),
        ({"messages": [user(), assistant({"id": "a"})]}, "messages[1].tool_calls[0]"),
        (
            {"messages": [user(), user(), assistant(tool_call("a", "{bad"))]},
            "messages[2].tool_calls[0].function.arguments",
        ),
        (
            {"messages": [user(), assistant(tool_call("a"), tool_call("b", "[1]"))]},
            "messages[1].tool_calls[1].function.arguments",
        ),
        ({"messages": [user(), assistant(tool_call("a", {"a": 1}))]}, "messages[1].tool_calls[0].function.arguments"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"user": 5}, "user"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"functions": [{"name": 5}]}, "functions[0].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"tool_choice": {"type": "mcp", "server_label": "m"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tool_choice": allowed()}, "tool_choice.allowed_tools.tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "any"}}},
            "tool_choice.allowed_tools.mode",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "function", "name": "g"}]}}},
            "tool_choice.allowed_tools.tools",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "response_format.json_schema.schema",
        ),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"service_tier": 5}, "service_tier"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_a_tool_of_the_answers_name_cannot_stand_beside_a_schema() -> None:
    tools = [{"type": "function", "function": {"name": "respond_with_json"}}]
    assert refusal(model=OLD_MODEL, tools=tools, response_format=JSON_SCHEMA).param == "tools"


def test_messages_are_needed() -> None:
    assert refusal({"model": "x"}).param == "messages"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"Hi"}],"\xff":1}',
        b'{"messages":[{"role":"user","content":' + b"[" * 100_000,
        b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"temperature":NaN,"messages":[{"role":"user","content":"Hi"}]}',
        b'{"max_tokens":1' + b"0" * 5000 + b',"messages":[{"role":"user","content":"Hi"}]}',
    ],
)
def test_hostile_json_is_refused_in_one_way(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        CHAT_TO_MESSAGES.request(call(body))


def test_deep_arguments_are_refused_by_their_path() -> None:
    deep = '{"a":' + "[" * 5000 + "]" * 5000 + "}"
    path = refusal(messages=[user(), assistant(tool_call("a", deep))]).param
    assert path == "messages[1].tool_calls[0].function.arguments"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "messages",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "stop",
        "response_format",
        "reasoning_effort",
        "metadata",
        "user",
        "max_tokens",
        "temperature",
        "thinking",
        "output_config",
        "stream_options",
        "system",
        "service_tier",
        "parallel_tool_calls",
    ]
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function"])
NAMES = st.sampled_from(
    ["content", "tool_calls", "tool_call_id", "function_call", "content_blocks", "cache_control", "name", "refusal"]
)
MESSAGE = st.builds(lambda role, rest: {"role": role, **rest}, ROLES, st.dictionaries(NAMES, JSON, max_size=4))


@given(st.lists(MESSAGE, max_size=4), st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_is_translated_or_refused(messages: list[Any], fields: dict[str, Any]) -> None:
    for model in (MODEL, OLD_MODEL):
        try:
            sent = CHAT_TO_MESSAGES.request(call({"messages": messages, **fields}, model=model))
        except InvalidRequest:
            continue
        json.loads(sent.body)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_no_word_of_a_conversation_is_lost(texts: list[str]) -> None:
    roles = ["user", "assistant"]
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    assert [each["content"] for each in turns(*messages)] == texts


def test_names_of_what_is_dropped_have_an_end_and_fit_a_header() -> None:
    strange = {f"f{number}\r\n{'x' * 200}": 1 for number in range(1000)}
    body = json.dumps({"messages": [{"role": "user", "content": "a"}], **strange}).encode()
    dropped = CHAT_TO_MESSAGES.request(Call(Dialect.OPENAI_CHAT, "claude-3-5-sonnet", False, body, "id", 0)).dropped
    assert len(dropped) == 32
    assert dropped[0] == f"f0__{'x' * 76}"
