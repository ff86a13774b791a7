"""Small fields deep in a request, each of which was once lost without a word: they arrive, or they are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect

ANTHROPIC, GEMINI, CONVERSE = Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.BEDROCK_CONVERSE
COHERE, MISTRAL, CHAT, RESPONSES = (
    Dialect.COHERE_CHAT,
    Dialect.MISTRAL_CHAT,
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
)
ASKED = {"role": "user", "content": "?"}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
CITED = {"type": "text", "text": "a", "citations": [{"type": "web_search_result_location", "url": "https://a.cz"}]}
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
    assert name in said(ANTHROPIC, upstream, **body)[1]


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
