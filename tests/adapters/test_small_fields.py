"""Small fields deep in a request, each of which was once lost without a word: they arrive, or they are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect, Usage

ANTHROPIC, GEMINI, CONVERSE = Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.BEDROCK_CONVERSE
COHERE, MISTRAL, CHAT, RESPONSES = (
    Dialect.COHERE_CHAT,
    Dialect.MISTRAL_CHAT,
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
)
ASKED = {"role": "user", "content": "?"}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
CITED = {
    "type": "text",
    "text": "a",
    "citations": [{"type": "web_search_result_location", "url": "https://a.cz", "encrypted_index": "x"}],
}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
MARK = {"mode": "explicit"}


def said(client: Dialect, upstream: Dialect, **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    raw = json.dumps({"model": "m", "max_tokens": 9, **body}).encode()
    out = codec(client, upstream).request(Call(client, "amazon.nova-pro-v1:0", False, raw, "0a1b", 1))
    made: dict[str, Any] = json.loads(out.body)
    return made, out.dropped


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"system": [CITED], "messages": [ASKED]}, "system[].citations"),
    ({"messages": [ASKED, {"role": "assistant", "content": [CITED]}, ASKED]}, "messages[].content[].citations"),
    (
        {"messages": [ASKED, {"role": "assistant", "content": [{**USE, "caller": {"type": "code", "tool_id": "c"}}]}]},
        "messages[].content[].caller",
    ),
    (
        {"messages": [ASKED, {"role": "assistant", "content": [{**USE, "toolset_name": "b"}]}]},
        "messages[].content[].toolset_name",
    ),
    (
        {
            "messages": [
                ASKED,
                {"role": "assistant", "content": [USE]},
                {"role": "user", "content": [{**RESULT, "toolset_name": "b"}]},
            ]
        },
        "messages[].content[].toolset_name",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": PIXEL, "transformations": {"a": 1}}]}]},
        "messages[].content[].transformations",
    ),
]


@pytest.mark.parametrize("upstream", [GEMINI, CONVERSE, COHERE, MISTRAL, CHAT, RESPONSES])
@pytest.mark.parametrize(("body", "name"), MESSAGES)
def test_what_only_claude_knows_is_named(body: dict[str, Any], name: str, upstream: Dialect) -> None:
    assert any(each.startswith(name) for each in said(ANTHROPIC, upstream, **body)[1])


def test_a_call_that_the_model_made_itself_says_nothing_by_it() -> None:
    history = [ASKED, {"role": "assistant", "content": [{**USE, "caller": {"type": "direct"}}]}]
    assert said(ANTHROPIC, GEMINI, messages=history)[1] == ()


def test_tools_that_ran_at_anthropic_are_named_to_gemini_and_not_refused() -> None:
    ran = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "?"}}
    history = [ASKED, {"role": "assistant", "content": [ran, {"type": "text", "text": "Yes"}]}, ASKED]
    made, dropped = said(ANTHROPIC, GEMINI, messages=history)
    assert made["contents"][1] == {"role": "model", "parts": [{"text": "Yes"}]}
    assert dropped == ("messages[].content[].server_tool_use",)


@pytest.mark.parametrize("upstream", [ANTHROPIC, GEMINI, CONVERSE, COHERE, MISTRAL, CHAT])
def test_what_only_openais_servers_run_is_named(upstream: Dialect) -> None:
    called = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "namespace": "n"}
    items = [ASKED, {**called, "caller": {"type": "program", "caller_id": "p"}}]
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "output_schema": {"type": "string"}}]
    dropped = said(RESPONSES, upstream, input=items, tools=tools)[1]
    assert {"input[].namespace", "input[].caller", "tools[].output_schema"} <= set(dropped)


def marked(**more: Any) -> dict[str, Any]:
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {**MARK, **more}}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "b"}]}]}


def test_openais_mark_of_caching_becomes_anthropics_and_is_responses_own() -> None:
    made, dropped = said(CHAT, ANTHROPIC, **marked())
    assert made["messages"][0]["content"][0] == {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    assert dropped == ()
    assert said(CHAT, ANTHROPIC, **marked(ttl="12h"))[1] == ("messages[].content[].prompt_cache_breakpoint.ttl",)
    made, _ = said(CHAT, RESPONSES, **marked(ttl="12h"))
    assert made["input"][0]["content"][0]["prompt_cache_breakpoint"] == {**MARK, "ttl": "12h"}


@pytest.mark.parametrize("upstream", [GEMINI, COHERE, MISTRAL])
def test_where_there_is_no_mark_of_caching_openais_is_named(upstream: Dialect) -> None:
    made, dropped = said(CHAT, upstream, **marked())
    assert "prompt_cache_breakpoint" not in json.dumps(made)
    assert dropped == ("messages[].content[].prompt_cache_breakpoint",)


@pytest.mark.parametrize("upstream", [COHERE, MISTRAL])
def test_a_refusal_in_a_history_is_said(upstream: Dialect) -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I will not."}
    made, _ = said(CHAT, upstream, messages=[ASKED, refused, ASKED])
    assert made["messages"][1]["content"] == "I will not."


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def formatted(upstream: Dialect, model: str, schema: dict[str, Any], **more: Any) -> tuple[str, tuple[str, ...]]:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, **more}}
    body = json.dumps({"model": model, "messages": [ASKED], "response_format": wanted}).encode()
    out = codec(CHAT, upstream).request(Call(CHAT, model, False, body, "0a1b", 1))
    return out.body.decode(), out.dropped


STRICT = [
    (ANTHROPIC, "claude-sonnet-4-5", ()),
    (ANTHROPIC, "claude-sonnet-4-0", ("response_format.json_schema.strict",)),
    (GEMINI, "gemini-2.5-flash", ()),
    (CONVERSE, "anthropic.claude-sonnet-4-5-20250929-v1:0", ()),
    (CONVERSE, "amazon.nova-pro-v1:0", ("response_format.json_schema.strict",)),
    (CONVERSE, "cohere.command-r-v1:0", ("response_format",)),
    (COHERE, "command-a", ()),
    (RESPONSES, "o3-pro", ()),
]


@pytest.mark.parametrize(("upstream", "model", "dropped"), STRICT)
def test_a_schemas_strictness_is_named_where_nobody_holds_the_model_to_it(
    upstream: Dialect, model: str, dropped: tuple[str, ...]
) -> None:
    assert formatted(upstream, model, SCHEMA, strict=True)[1] == dropped


@pytest.mark.parametrize(("upstream", "model"), [each[:2] for each in STRICT])
def test_a_schemas_description_comes_along(upstream: Dialect, model: str) -> None:
    assert "Mark" in formatted(upstream, model, SCHEMA, description="Mark")[0]
    made, dropped = formatted(upstream, model, {**SCHEMA, "description": "own"}, description="Mark")
    assert "Mark" in made or "response_format.json_schema.description" in dropped
    assert "own" in made


@pytest.mark.parametrize(
    ("model", "points"),
    [
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", {"type": "default", "ttl": "1h"}),
        ("anthropic.claude-sonnet-4-20250514-v1:0", {"type": "default"}),
    ],
)
def test_an_hour_of_caching_is_told_to_those_who_know_it(model: str, points: dict[str, Any]) -> None:
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    inner = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x", **hour}]}
    body = {
        "model": model,
        "max_tokens": 9,
        "system": [{"type": "text", "text": "s", **hour}],
        "tools": [{"name": "f", "input_schema": SCHEMA, **hour}],
        "messages": [ASKED, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [inner]}],
    }
    out = codec(ANTHROPIC, CONVERSE).request(Call(ANTHROPIC, model, False, json.dumps(body).encode(), "0a1b", 1))
    made = json.loads(out.body)
    point = {"cachePoint": points}
    assert (made["system"][-1], made["toolConfig"]["tools"][-1]) == (point, point)
    # In a result there is no place for it: it stands right behind.
    result, mark = made["messages"][-1]["content"]
    assert (result["toolResult"]["content"], mark) == ([{"text": "x"}], point)
    assert out.dropped == (() if "ttl" in points else ("cache_control.ttl",))


def test_anthropics_own_choice_of_one_call_stays_one_call() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    made, _ = said(CHAT, ANTHROPIC, messages=[ASKED], tools=[tool], tool_choice=choice)
    assert made["tool_choice"] == choice


@pytest.mark.parametrize(
    ("upstream", "path", "wanted"),
    [
        (GEMINI, ("generationConfig", "thinkingConfig"), {"includeThoughts": True, "thinkingBudget": 24_576}),
        (COHERE, ("thinking",), {"type": "enabled", "token_budget": 16_384}),
    ],
)
def test_an_effort_beside_adaptive_thinking_says_how_much(upstream: Dialect, path: Any, wanted: Any) -> None:
    asked = {"messages": [ASKED], "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    raw = json.dumps({"model": "m", "max_tokens": 9, **asked}).encode()
    out = codec(ANTHROPIC, upstream).request(Call(ANTHROPIC, "gemini-2.5-pro", False, raw, "0a1b", 1))
    made = json.loads(out.body)
    for name in path:
        made = made[name]
    assert made == wanted
    assert out.dropped == ()


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
FUNCTION = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize("upstream", [GEMINI, CONVERSE, COHERE, MISTRAL, CHAT, RESPONSES])
@pytest.mark.parametrize("tools", [[SEARCH], [SEARCH, FUNCTION], [{"type": "bash_20250124", "name": "web_search"}]])
def test_a_tool_that_is_no_function_elsewhere_is_not_chosen_as_one(tools: list[Any], upstream: Dialect) -> None:
    """Claude Code searches the web with such a choice; providers refuse one of a function that is not there."""
    made, dropped = said(
        ANTHROPIC, upstream, messages=[ASKED], tools=tools, tool_choice={"type": "tool", "name": "web_search"}
    )
    if upstream is RESPONSES and SEARCH in tools:
        assert made["tool_choice"] == made["tools"][0] == {"type": "web_search"}
        return
    assert "tool_choice" in dropped
    assert "tool_choice" not in made
    assert "functionCallingConfig" not in made.get("toolConfig", {})
    assert "toolChoice" not in made.get("toolConfig", {})
    if upstream is GEMINI:
        assert ({"googleSearch": {}} in made.get("tools", [])) is (SEARCH in tools)
    elif upstream is not CONVERSE:
        assert [tool["function"]["name"] for tool in made.get("tools", [])] == ["f"] * (FUNCTION in tools)


@pytest.mark.parametrize(
    ("upstream", "tool"),
    [
        (ANTHROPIC, {"type": "web_search_20250305", "name": "web_search"}),
        (RESPONSES, {"type": "web_search"}),
        (CONVERSE, None),
        (COHERE, None),
        (MISTRAL, None),
        (CHAT, None),
    ],
)
def test_googles_search_is_the_providers_own_or_named(upstream: Dialect, tool: Any) -> None:
    made, dropped = said(GEMINI, upstream, contents=[{"parts": [{"text": "?"}]}], tools=[{"google_search": {}}])
    assert made.get("tools") == (None if tool is None else [tool])
    assert ("tools[].googleSearch" in dropped) is (tool is None)


@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_how_thoughts_are_shown_is_told_or_named(display: str) -> None:
    asked = {"messages": [ASKED], "thinking": {"type": "enabled", "budget_tokens": 1024, "display": display}}
    made, dropped = said(ANTHROPIC, GEMINI, **asked)
    assert made["generationConfig"]["thinkingConfig"]["includeThoughts"] is (display == "summarized")
    assert "thinking.display" not in dropped
    made, dropped = said(ANTHROPIC, RESPONSES, **asked)
    assert made["reasoning"].get("summary") == ("auto" if display == "summarized" else None)
    assert "thinking.display" not in dropped
    for upstream in (COHERE, CHAT):
        assert "thinking.display" in said(ANTHROPIC, upstream, **asked)[1]


@pytest.mark.parametrize("upstream", [COHERE, MISTRAL])
def test_a_thoughts_signature_is_named_where_there_are_none(upstream: Dialect) -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    history = [ASKED, {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}, ASKED]
    made, dropped = said(ANTHROPIC, upstream, messages=history)
    assert "Hm" in json.dumps(made["messages"][1])
    assert dropped == ("messages[].content[].signature",)
    thought["signature"] = ""
    assert said(ANTHROPIC, upstream, messages=history)[1] == ()


@pytest.mark.parametrize("upstream", [ANTHROPIC, CONVERSE, COHERE, MISTRAL, RESPONSES])
def test_the_signature_of_geminis_call_is_named_to_everybody_else(upstream: Dialect) -> None:
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}
    turns = [{"role": "user", "parts": [{"text": "?"}]}, {"role": "model", "parts": [call]}]
    body = json.dumps({"contents": turns}).encode()
    out = codec(Dialect.GEMINI_GENERATE, upstream).request(Call(Dialect.GEMINI_GENERATE, "m", False, body, "0a1b", 1))
    assert out.dropped == ("contents[].parts[].thoughtSignature",)


def test_options_of_anthropics_code_execution_are_named_to_google() -> None:
    tool = {"type": "code_execution_20260120", "name": "code_execution", "allowed_callers": ["direct"]}
    assert said(ANTHROPIC, GEMINI, messages=[ASKED], tools=[tool])[1] == ()
    tool["defer_loading"] = True
    made, dropped = said(ANTHROPIC, GEMINI, messages=[ASKED], tools=[tool])
    assert made["tools"] == [{"codeExecution": {}}]
    assert dropped == ("tools[].defer_loading",)


def test_what_bedrock_keeps_for_an_hour_is_counted_apart() -> None:
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 13, "cacheWriteInputTokens": 10}
    details = [{"ttl": "1h", "inputTokens": 6}, {"ttl": "5m", "inputTokens": 4}]
    body = {"output": {"message": {"content": [{"text": "a"}]}}, "usage": {**usage, "cacheDetails": details}}
    asked = Call(CHAT, "m", False, b'{"messages":[]}', "0a1b", 1)
    assert codec(CHAT, CONVERSE).response(asked, json.dumps(body).encode()).usage == Usage(11, 2, 0, 10, 0, 6)


FIRST_CALL = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
CHAT_CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
DATA = {"file_data": "data:application/pdf;base64,AAAA"}
BLOCKS = [{"type": "thinking", "thinking": "h", "signature": "s"}, {"type": "text", "text": "a"}]
OTHERWISE: list[tuple[list[Dialect], dict[str, Any], str]] = [
    (
        [ANTHROPIC, GEMINI, CONVERSE, RESPONSES],
        {"messages": [ASKED], "tools": CHAT_TOOLS, "function_call": "auto", "tool_choice": "none"},
        "function_call",
    ),
    (
        [ANTHROPIC, GEMINI, CONVERSE, RESPONSES],
        {"messages": [ASKED, {**FIRST_CALL, "tool_calls": [{**CHAT_CALL, "function": {"name": "g"}}]}, ASKED]},
        "messages[].function_call",
    ),
    (
        [ANTHROPIC, CONVERSE, RESPONSES],
        {"messages": [ASKED, FIRST_CALL, {"role": "function", "name": "g", "content": "x"}]},
        "messages[].name",
    ),
    (
        [GEMINI],
        {
            "messages": [
                ASKED,
                {"role": "assistant", "tool_calls": [CHAT_CALL]},
                {"role": "tool", "tool_call_id": "t", "name": "g", "content": "x"},
            ]
        },
        "messages[].name",
    ),
    (
        [ANTHROPIC, GEMINI, CONVERSE, RESPONSES],
        {"messages": [ASKED, {"role": "assistant", "content": "b", "content_blocks": BLOCKS}, ASKED]},
        "messages[].content",
    ),
    (
        [ANTHROPIC, GEMINI, RESPONSES],
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {**DATA, "file_id": "i"}}]}]},
        "messages[].content[].file.file_id",
    ),
    (
        [ANTHROPIC, RESPONSES],
        {
            "messages": [
                {"role": "user", "content": [{"type": "file", "file": {"file_id": "i", "mime_type": "text/csv"}}]}
            ]
        },
        "messages[].content[].file.mime_type",
    ),
    (
        [ANTHROPIC, GEMINI, CONVERSE],
        {
            "messages": [ASKED],
            "max_tokens": 5000,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "reasoning_effort": "none",
        },
        "reasoning_effort",
    ),
    (
        [GEMINI],
        {"messages": [ASKED], "thinking": {"type": "disabled"}, "reasoning_effort": "high"},
        "reasoning_effort",
    ),
    (
        [GEMINI],
        {"messages": [ASKED], "thinking_config": {"thinkingBudget": 1}, "thinking": {"type": "disabled"}},
        "thinking",
    ),
    (
        [ANTHROPIC],
        {
            "messages": [ASKED],
            "output_config": {"format": {"type": "json_schema", "schema": {}}},
            "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        },
        "response_format",
    ),
    (
        [RESPONSES],
        {"messages": [ASKED], "reasoning": {"effort": "low"}, "reasoning_effort": "high"},
        "reasoning.effort",
    ),
    (
        [ANTHROPIC, GEMINI],
        {"messages": [ASKED], "reasoning": {"effort": "low"}, "reasoning_effort": "high"},
        "reasoning.effort",
    ),
    (
        [ANTHROPIC, GEMINI],
        {"messages": [ASKED], "reasoning": {"max_tokens": 2000, "exclude": True}},
        "reasoning.exclude",
    ),
    (
        [GEMINI],
        {"messages": [ASKED], "tools": [{"googleSearch": {"a": 1}}, {"type": "google_search", "b": 2}]},
        "tools[].googleSearch",
    ),
    (
        [ANTHROPIC],
        {
            "messages": [ASKED],
            "tools": [{"type": "function", "function": {"name": "f", "defer_loading": True}, "defer_loading": False}],
        },
        "tools[].defer_loading",
    ),
]


@pytest.mark.parametrize(("upstreams", "body", "name"), OTHERWISE)
def test_where_two_fields_say_otherwise_the_one_that_does_not_count_is_named(
    upstreams: list[Dialect], body: dict[str, Any], name: str
) -> None:
    for upstream in upstreams:
        model = "claude-sonnet-4-5" if upstream is not GEMINI else "gemini-2.5-pro"
        text = json.dumps({"model": model, **body}).encode()
        out = codec(CHAT, upstream).request(Call(CHAT, f"anthropic.{model}", False, text, "0a1b", 1))
        assert [each for each in out.dropped if "thinking" not in each or each == name] == [name]


@pytest.mark.parametrize("upstream", [ANTHROPIC, GEMINI, CONVERSE, COHERE, MISTRAL, RESPONSES])
def test_a_text_that_stands_in_blocks_alone_is_said(upstream: Dialect) -> None:
    texts = [{"type": "text", "text": "Mark1"}, {"type": "text", "text": "Mark2"}]
    for content, lost in (
        (None, ()),
        ("Mark1Mark2", ()),
        ("Mark1\n\nMark2", ()),
        ([*texts], ()),
        ("Other", ("content",)),
    ):
        for calls in ({}, {"tool_calls": [CHAT_CALL]}):
            message = {"role": "assistant", "content": content, "content_blocks": texts, **calls}
            result = [{"role": "tool", "tool_call_id": "t", "content": "x"}] if calls else []
            made, dropped = said(CHAT, upstream, messages=[ASKED, message, *result, ASKED])
            text = json.dumps(made)
            assert [text.count(each) for each in ("Mark1", "Mark2")] == [1, 1] or lost
            assert bool(dropped) is bool(lost)
            assert all(each in ("messages[].content", "messages[].content_blocks[].text") for each in dropped)


def test_what_two_fields_say_alike_is_said_once() -> None:
    both = {"role": "assistant", "content": "a", "content_blocks": BLOCKS, "function_call": CHAT_CALL["function"]}
    history = [ASKED, {**both, "tool_calls": [CHAT_CALL]}, {"role": "tool", "tool_call_id": "t", "content": "x"}]
    for upstream in (ANTHROPIC, GEMINI, CONVERSE, RESPONSES):
        made, dropped = said(CHAT, upstream, messages=history)
        assert [each for each in dropped if "thinking" not in each] == []
        # Gemini's results are told by the function's name, and Bedrock wants to know of every tool in a history.
        assert json.dumps(made).count('"f"') == (2 if upstream in (GEMINI, CONVERSE) else 1)
    made, dropped = said(CHAT, ANTHROPIC, messages=[ASKED], stop=["a", "b"], stop_sequences=["b", "c"])
    assert (made["stop_sequences"], dropped) == (["a", "b", "c"], ())


@pytest.mark.parametrize("upstream", [ANTHROPIC, GEMINI, CONVERSE, RESPONSES])
def test_a_refusal_beside_a_text_is_said_after_it(upstream: Dialect) -> None:
    for more in ({}, {"content_blocks": [{"type": "text", "text": "Hm."}]}):
        refused = {"role": "assistant", "content": "Hm.", "refusal": "I will not.", **more}
        made, dropped = said(CHAT, upstream, messages=[ASKED, refused, ASKED])
        text = json.dumps(made)
        assert 0 < text.index("Hm.") < text.index("I will not.")
        assert (text.count("I will not."), dropped) == (1, ())
    parts = [{"type": "text", "text": "Hm."}, {"type": "refusal", "refusal": "I will not."}]
    made, _ = said(CHAT, upstream, messages=[ASKED, {**refused, "content": parts}, ASKED])
    assert json.dumps(made).count("I will not.") == 1


@pytest.mark.parametrize("upstream", [ANTHROPIC, CONVERSE, COHERE, RESPONSES])
def test_the_name_of_a_result_is_named_where_its_call_does_not_say_it(upstream: Dialect) -> None:
    for name, dropped in (("f", ()), ("g", ("messages[].name",))):
        result = {"role": "tool", "tool_call_id": "t", "name": name, "content": "x"}
        history = [ASKED, {"role": "assistant", "tool_calls": [CHAT_CALL]}, result]
        assert said(CHAT, upstream, messages=history)[1] == dropped


@pytest.mark.parametrize("upstream", [ANTHROPIC, CONVERSE])
def test_a_messages_mark_of_caching_is_its_last_blocks(upstream: Dialect) -> None:
    mark = {"type": "ephemeral"}
    text = {"type": "text", "text": "a"}
    calls = {"role": "assistant", "tool_calls": [CHAT_CALL]}
    for message in ({"role": "user", "content": [text, {**text, "text": "b"}]}, {**calls, "content_blocks": [text]}):
        raw = {"messages": [ASKED, {**message, "cache_control": mark}]}
        out = codec(CHAT, upstream).request(
            Call(CHAT, "anthropic.claude-sonnet-4-5", False, json.dumps({"model": "m", **raw}).encode(), "0a1b", 1)
        )
        *_, last = json.loads(out.body)["messages"][-1]["content"]
        assert (last.get("cache_control", last.get("cachePoint")), out.dropped) in (
            (mark, ()),
            ({"type": "default"}, ()),
        )
    thought = {"role": "assistant", "content_blocks": BLOCKS[:1], "cache_control": mark}
    assert "messages[].cache_control" in said(CHAT, ANTHROPIC, messages=[ASKED, thought])[1]


def test_a_call_in_its_first_form_keeps_geminis_signature() -> None:
    call = {"name": "f", "arguments": "{}", "thought_signature": "c2ln"}
    made, dropped = said(CHAT, GEMINI, messages=[ASKED, {"role": "assistant", "function_call": call}])
    assert (made["contents"][1]["parts"][0]["thoughtSignature"], dropped) == ("c2ln", ())


@pytest.mark.parametrize(
    ("reasoning", "plain"),
    [
        ({"effort": "low", "exclude": False}, {"reasoning_effort": "low"}),
        ({"max_tokens": 2000}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    ],
)
@pytest.mark.parametrize("upstream", [ANTHROPIC, GEMINI, CONVERSE])
def test_openrouters_words_for_thinking_ask_everybody(upstream: Dialect, reasoning: Any, plain: Any) -> None:
    model = "gemini-2.5-pro" if upstream is GEMINI else "anthropic.claude-sonnet-4-5"
    made = []
    for more in ({"reasoning": reasoning}, plain):
        text = json.dumps({"model": model, "messages": [ASKED], "max_tokens": 9000, **more}).encode()
        out = codec(CHAT, upstream).request(Call(CHAT, model, False, text, "0a1b", 1))
        made.append((json.loads(out.body), out.dropped))
    assert made[0] == made[1]
