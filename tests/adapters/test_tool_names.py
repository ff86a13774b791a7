"""Names that an upstream refuses are made fit for it, in all of a request and in every turn alike, and the client is
told its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.reading import Dropped
from adapters.registry import codec
from adapters.tool_names import RULES, Rule
from adapters.types import Call, Dialect
from tests.adapters import spoken
from tests.matrix.cases import Answer, ToolCall
from tests.matrix.wire import DIALECTS

LONG = "mcp__a_server_that_has_a_long_name__" + "and_tools_whose_names_" * 3 + "tell_all"
DOTTED = "fs.read:file/ahoj-🐎"
PLAIN = "get_weather"
NAMES = (LONG, DOTTED, PLAIN)
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "default": LONG}}}
ARGUMENTS = {"name": LONG}


class Wording(NamedTuple):
    """How a client's dialect asks for a call of one tool, and tells of calls with their results."""

    asks: Callable[[str], dict[str, Any]]
    tells: Callable[[], dict[str, Any]]


def _chat(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "x", "parameters": SCHEMA}}


def _chat_tells() -> dict[str, Any]:
    said = [{"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(ARGUMENTS)}}
            for at, name in enumerate(NAMES)]  # fmt: skip
    results = [{"role": "tool", "tool_call_id": f"call_{at}", "name": name, "content": "y"}
               for at, name in enumerate(NAMES)]  # fmt: skip
    asked = {"role": "user", "content": "?"}
    return {
        "messages": [asked, {"role": "assistant", "tool_calls": said}, *results],
        "tools": [_chat(name) for name in NAMES],
    }


def _messages_tells() -> dict[str, Any]:
    said = [{"type": "tool_use", "id": f"call_{at}", "name": name, "input": ARGUMENTS} for at, name in enumerate(NAMES)]
    results = [{"type": "tool_result", "tool_use_id": f"call_{at}", "content": "y"} for at in range(len(NAMES))]
    turns = [("user", "?"), ("assistant", said), ("user", results)]
    return {
        "max_tokens": 99,
        "messages": [{"role": role, "content": content} for role, content in turns],
        "tools": [{"name": name, "description": "x", "input_schema": SCHEMA} for name in NAMES],
    }


def _gemini_tells() -> dict[str, Any]:
    said = [{"functionCall": {"name": name, "args": ARGUMENTS}} for name in NAMES]
    results = [{"functionResponse": {"name": name, "response": {"output": "y"}}} for name in NAMES]
    turns = [("user", [{"text": "?"}]), ("model", said), ("user", results)]
    declared = [{"name": name, "description": "x", "parametersJsonSchema": SCHEMA} for name in NAMES]
    return {
        "contents": [{"role": role, "parts": parts} for role, parts in turns],
        "tools": [{"functionDeclarations": declared}],
    }


def _responses_tells() -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
    for at, name in enumerate(NAMES):
        call = {"type": "function_call", "call_id": f"call_{at}", "name": name, "arguments": json.dumps(ARGUMENTS)}
        items += [call, {"type": "function_call_output", "call_id": f"call_{at}", "output": "y"}]
    return {
        "input": items,
        "tools": [{"type": "function", "name": name, "description": "x", "parameters": SCHEMA} for name in NAMES],
    }


CLIENTS: dict[Dialect, Wording] = {
    Dialect.OPENAI_CHAT: Wording(
        lambda name: {"tool_choice": {"type": "function", "function": {"name": name}}}, _chat_tells
    ),
    Dialect.ANTHROPIC_MESSAGES: Wording(lambda name: {"tool_choice": {"type": "tool", "name": name}}, _messages_tells),
    Dialect.GEMINI_GENERATE: Wording(
        lambda name: {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}},
        _gemini_tells,
    ),
    Dialect.OPENAI_RESPONSES: Wording(
        lambda name: {"tool_choice": {"type": "function", "name": name}}, _responses_tells
    ),
}
UPSTREAMS: dict[Dialect, tuple[str, str, spoken.Reader, str]] = {
    Dialect.OPENAI_CHAT: ("openai", "gpt-5.1", spoken.chat, r"[a-zA-Z0-9_-]{1,64}"),
    Dialect.OPENAI_RESPONSES: ("responses", "gpt-5.1", spoken.responses, r"[a-zA-Z0-9_-]{1,64}"),
    Dialect.ANTHROPIC_MESSAGES: ("anthropic", "claude-sonnet-4-5", spoken.anthropic, r"[a-zA-Z0-9_-]{1,128}"),
    Dialect.VERTEX_ANTHROPIC: ("anthropic", "claude-sonnet-4-5", spoken.anthropic, r"[a-zA-Z0-9_-]{1,64}"),
    Dialect.BEDROCK_CONVERSE: (
        "bedrock",
        "anthropic.claude-sonnet-4-5-v1:0",
        spoken.bedrock,
        r"[a-zA-Z0-9_-]{1,64}",
    ),
    Dialect.GEMINI_GENERATE: ("gemini", "gemini-2.5-pro", spoken.gemini, r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}"),
    Dialect.MISTRAL_CHAT: ("mistral", "mistral-medium", spoken.mistral, r"[a-zA-Z0-9_-]{1,64}"),
    Dialect.COHERE_CHAT: ("cohere", "command-a", spoken.cohere, r"[a-zA-Z_][a-zA-Z0-9_]{0,63}"),
}
TRANSLATED = [
    (client, upstream)
    for client in CLIENTS
    for upstream in UPSTREAMS
    if not codec(client, upstream).identity
    and (client, upstream) != (Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC)
]


def _call(client: Dialect, upstream: Dialect, body: dict[str, Any], *, stream: bool = False) -> Call:
    model = UPSTREAMS[upstream][1]
    raw = json.dumps({"model": model, **body}).encode()
    return Call(client, model, stream, raw, "0a1b", 1_700_000_000)


def _said(made: list[str], upstream: Dialect) -> tuple[bytes, bytes]:
    spoken_by = DIALECTS[UPSTREAMS[upstream][0]]
    answer = Answer("", tuple(ToolCall(f"call_{at}", name, {}) for at, name in enumerate(made)), stop="tool_calls")
    return json.dumps(spoken_by.whole(answer)).encode(), b"".join(spoken_by.stream(answer))


def _told(out: bytes, made: list[str]) -> list[str]:
    """The tools' names in an answer, each once: some clients are told the tools they gave, and some events repeat a
    call."""
    found = [json.loads(name) for name in re.findall(rb'"name":\s*("(?:[^"\\]|\\.)*")', out)]
    return list(dict.fromkeys(name for name in found if name in (*made, *NAMES)))


@pytest.mark.parametrize(("client", "upstream"), TRANSLATED, ids=lambda each: str(each))
def test_a_name_that_does_not_fit_goes_there_and_back(client: Dialect, upstream: Dialect) -> None:
    translation, wording = codec(client, upstream), CLIENTS[client]
    _, _, reader, shape = UPSTREAMS[upstream]

    outbound = translation.request(_call(client, upstream, wording.tells()))
    found = reader(json.loads(outbound.body))
    made = [tool[0] for tool in found.settings["tools"]]
    assert all(re.fullmatch(shape, name) for name in made), made
    assert len(set(made)) == len(NAMES)
    assert [own == name for own, name in zip(NAMES, made, strict=True)] == [
        bool(re.fullmatch(shape, own)) for own in NAMES
    ]
    called = [item[2:4] for role, items in found.turns if role == "model" for item in items if item[0] == "call"]
    assert called == [(name, ARGUMENTS) for name in made]
    assert not [name for name in outbound.dropped if "name" in name]
    assert LONG in outbound.body.decode(), "what is no name stays as it is"

    # The next turn chooses one: what it is called has not changed.
    chosen = reader(
        json.loads(translation.request(_call(client, upstream, {**wording.tells(), **wording.asks(DOTTED)})).body)
    )
    assert made[1] in [tool[0] for tool in chosen.settings["tools"]]
    # Cohere gets the one tool alone, and has to call one.
    assert chosen.settings.get("tool_choice") in (("only", made[1]), "required")

    whole, streamed = _said(made, upstream)
    asked = msgspec.structs.replace(_call(client, upstream, wording.tells()), middle=outbound.middle)
    assert _told(translation.response(asked, whole).body, made) == list(NAMES)
    for size in (7, len(streamed)):
        machine = translation.stream(asked)
        out = b"".join(machine.feed(streamed[at : at + size]) for at in range(0, len(streamed), size)) + machine.close()
        assert machine.error is None
        assert _told(out, made) == list(NAMES)


@pytest.mark.parametrize("upstream", RULES)
def test_where_every_name_fits_nothing_is_kept(upstream: Dialect) -> None:
    body = {"messages": [{"role": "user", "content": '{"name":"a.b"}'}], "tools": [_chat(PLAIN)], "max_tokens": 9}
    assert RULES[upstream].fit(json.dumps(body).encode()) is None


@pytest.mark.parametrize("rule", dict.fromkeys(RULES.values()))
def test_made_names_fit_and_are_like_no_other(rule: Rule) -> None:
    @settings(max_examples=40)
    @given(
        st.lists(st.text(max_size=150) | st.from_regex(r"[a-z.:/-]{60,140}", fullmatch=True), min_size=1, unique=True)
    )
    def holds(names: list[str]) -> None:
        names = [name for name in names if name]
        body = json.dumps({"messages": [], "tools": [_chat(name) for name in names]}).encode()
        fit = rule.fit(body)
        sent = names if fit is None else [tool["function"]["name"] for tool in json.loads(fit.body)["tools"]]
        assert all(map(rule.fits, sent))
        assert len(set(sent)) == len(names)
        own = {} if fit is None else {made.decode(): json.loads(name) for made, name in fit.names.items()}
        assert [own.get(name, name) for name in sent] == names

    holds()


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,63}", fullmatch=True) | st.text(max_size=70))
def test_a_plain_name_fits_everywhere(name: str) -> None:
    dropped = Dropped(found={})
    assert dropped.tool(name) == name
    assert not dropped.plain or all(rule.fits(name) for rule in RULES.values())


def test_a_name_that_is_taken_is_not_made() -> None:
    rule = RULES[Dialect.OPENAI_CHAT]
    made = rule.made("fs.read")
    assert made == "fs_read_4074bc0257"  # in every version: a provider may have a conversation with it in its cache
    fit = rule.fit(json.dumps({"tools": [_chat("fs.read"), _chat(made)]}).encode())
    assert fit is not None
    first, second = [tool["function"]["name"] for tool in json.loads(fit.body)["tools"]]
    assert second == made != first
    assert rule.fits(first)


@pytest.mark.parametrize(
    "body", [b'{"tools":[{"name":"a.b"', b'{"tools":{"name":"a.b"}}', b'{"tools":[1,{"function":"a"}],"name":"a.b"}']
)
def test_what_cannot_be_read_is_left_to_the_codec(body: bytes) -> None:
    assert RULES[Dialect.OPENAI_CHAT].fit(body) is None


CHOICES: list[Any] = [
    {"type": "function", "function": {"name": "a.b"}},
    {"type": "function", "name": "a.b"},
    {"type": "custom", "custom": {"name": "a.b"}},
    {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "name": "a.b"}]}},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_names_are_changed_wherever_a_chat_has_them(choice: Any) -> None:
    body = {
        "tools": [_chat("a.b"), {"type": "custom", "custom": {"name": "a.b"}}, {"name": "a.b", "input_schema": {}}],
        "functions": [{"name": "a.b"}],
        "function_call": {"name": "a.b"},
        "tool_choice": choice,
        "messages": [
            {"role": "user", "name": "x.y", "content": "a.b"},
            {"role": "assistant", "function_call": {"name": "a.b"}, "content": [{"type": "tool_use", "name": "a.b"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "custom": {"name": "a.b"}}]},
            {"role": "tool", "name": "a.b"},
            {"role": "function", "name": "a.b"},
        ],
    }
    fit = RULES[Dialect.OPENAI_CHAT].fit(json.dumps(body).encode())
    assert fit is not None
    left = fit.body.decode()
    assert re.findall(r'"name":"([^"]*[^"A-Za-z0-9_-][^"]*)"', left) == ["x.y"]
    assert left.count("a.b") == 1
