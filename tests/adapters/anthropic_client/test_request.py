from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.errors import InvalidRequest
from adapters.quirks import Prefill, Quirks
from adapters.types import Call, Dialect

HELLO = [{"role": "user", "content": "Hello"}]


def outbound(body: bytes | dict[str, Any], *, stream: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    made = MESSAGES_TO_CHAT.request(Call(Dialect.ANTHROPIC_MESSAGES, "gpt-x", stream, raw, "id", 0))
    return json.loads(made.body), made.dropped


def messages(*conversation: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = outbound({"max_tokens": 5, "messages": conversation})[0]["messages"]
    return made


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def result(id: str, content: Any = None, **other: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": id, **other}
    return block if content is None else {**block, "content": content}


def image(data: str = "iVBORw0=") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def document(source: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **other}


TEXT = {"type": "text", "text": "Look."}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


def test_the_plain_request_of_an_sdk() -> None:
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "system": "Be brief.",
        "messages": [*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Žluťoučký 🐎?"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
    }
    assert outbound(body) == (
        {
            "model": "gpt-x",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi."},
                {"role": "user", "content": "Žluťoučký 🐎?"},
            ],
            "max_completion_tokens": 1024,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["END"],
            "user": "u-1",
        },
        (),
    )


def test_a_stream_asks_for_usage() -> None:
    made, _ = outbound({"messages": HELLO, "stream": True}, stream=True)
    assert (made["stream"], made["stream_options"]) == (True, {"include_usage": True})


def test_whether_to_stream_is_told_by_the_call() -> None:
    assert "stream" not in outbound({"messages": HELLO, "stream": True})[0]


def test_system_blocks_are_joined_by_line_ends() -> None:
    made, dropped = outbound(
        {
            "system": [{"type": "text", "text": 'One "1"'}, {"type": "text", "text": "Two", "cache_control": {}}],
            "messages": HELLO,
        }
    )
    assert made["messages"][0] == {"role": "system", "content": 'One "1"\nTwo'}
    assert dropped == ("cache_control",)


@pytest.mark.parametrize("system", ["", [], None, [{"type": "text", "text": ""}]])
def test_an_empty_system_prompt_is_no_message(system: Any) -> None:
    assert outbound({"system": system, "messages": HELLO})[0]["messages"] == HELLO


def test_system_messages_within_the_conversation_stay_in_place() -> None:
    made = messages(*HELLO, {"role": "system", "content": [TEXT]}, *HELLO)
    assert [each["role"] for each in made] == ["user", "system", "user"]


def test_text_is_moved_as_it_was_written() -> None:
    raw = b'{"messages":[{"role":"user","content":"\\u017d\\/ \\u00e9"}],"temperature":1.0,"max_tokens":10}'
    call = Call(Dialect.ANTHROPIC_MESSAGES, "gpt-x", False, raw, "id", 0)
    made = MESSAGES_TO_CHAT.request(call).body
    assert b'"content":"\\u017d\\/ \\u00e9"' in made
    assert b'"temperature":1.0' in made


def test_one_text_block_is_a_string_and_several_are_parts() -> None:
    assert messages(user(TEXT)) == [{"role": "user", "content": "Look."}]
    assert messages(user(TEXT, TEXT))[0]["content"] == [TEXT, TEXT]


def test_images_by_data_and_by_url() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    assert messages(user(image(), TEXT, by_url))[0]["content"] == [
        IMAGE_PART,
        TEXT,
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            document({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, title="Report.pdf"),
            [{"type": "file", "file": {"filename": "Report.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}],
        ),
        (
            document({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, context="Old."),
            [
                {"type": "text", "text": "Old."},
                {
                    "type": "file",
                    "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                },
            ],
        ),
        (
            document({"type": "url", "url": "https://example.com/a.pdf"}),
            [{"type": "file", "file": {"file_url": "https://example.com/a.pdf"}}],
        ),
        (
            document({"type": "text", "media_type": "text/plain", "data": "Words."}, title="Notes", context="Mine"),
            [{"type": "text", "text": "Notes\nMine"}, {"type": "text", "text": "Words."}],
        ),
        (
            document({"type": "content", "content": [{"type": "text", "text": "In."}, image()]}),
            [{"type": "text", "text": "In."}, IMAGE_PART],
        ),
        (
            document({"type": "content", "content": "In."}),
            [{"type": "text", "text": "In."}],
        ),
        (
            {"type": "search_result", "source": "https://e.com", "title": "T", "content": [TEXT]},
            [{"type": "text", "text": "T\nhttps://e.com"}, TEXT],
        ),
    ],
)
def test_documents_of_every_source(block: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    assert messages(user(block, {"type": "text", "text": "?"}))[0]["content"] == [*parts, {"type": "text", "text": "?"}]


def test_tools_that_a_search_found_are_named_to_models_that_had_them_all_along() -> None:
    found = [{"type": "tool_reference", "tool_name": "WebFetch"}, {"type": "tool_reference", "tool_name": "Write"}]
    made = messages(user({"type": "tool_result", "tool_use_id": "toolu_1", "content": found}))
    assert made == [{"role": "tool", "tool_call_id": "toolu_1", "content": "WebFetch\nWrite"}]


def test_assistant_text_and_tool_calls() -> None:
    made = messages(
        *HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I will "},
                {"type": "text", "text": "look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Praha", "n": 1.0}},
                {"type": "tool_use", "id": "toolu_2", "name": "time", "input": {}},
                {"type": "text", "text": "And see."},
            ],
        },
    )
    assert made[1]["content"] == "I will look.\n\nAnd see."
    assert made[1]["tool_calls"] == [
        {
            "type": "function",
            "id": "toolu_1",
            "function": {"name": "weather", "arguments": '{"city": "Praha", "n": 1.0}'},
        },
        {"type": "function", "id": "toolu_2", "function": {"name": "time", "arguments": "{}"}},
    ]


def test_tool_calls_without_text_have_null_content() -> None:
    block = {"type": "tool_use", "id": "a", "name": "f"}
    assert messages(*HELLO, {"role": "assistant", "content": [block]})[1]["content"] is None


def test_a_tool_says_nothing_that_is_the_default() -> None:
    usual = {"defer_loading": False, "cache_control": None, "allowed_callers": ["direct"], "strict": False}
    tool = {"name": "f", "input_schema": {"type": "object"}, "input_examples": [], **usual}
    made, dropped = outbound({"messages": HELLO, "tools": [tool], "output_config": {"task_budget": None}})
    assert made["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert dropped == ()


def test_thinking_is_dropped_and_named_once() -> None:
    thinking = [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]
    turn = {"role": "assistant", "content": thinking}
    made, dropped = outbound({"messages": [*HELLO, turn, *HELLO, turn, *HELLO]})
    assert made["messages"][1] == {"role": "assistant", "content": ""}
    assert dropped == ("messages[].content[].thinking",)


def test_a_summary_of_the_earlier_conversation_is_kept() -> None:
    block = {"type": "compaction", "content": "They said hello."}
    made = messages(*HELLO, {"role": "assistant", "content": [block]})
    assert made[1] == {"role": "assistant", "content": "They said hello."}


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({**TEXT, "citations": None}, None),
        ({**TEXT, "citations": []}, None),
        ({**TEXT, "citations": [{"type": "page_location"}]}, "citations"),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct"}}, None),
        ({"type": "tool_use", "id": "a", "name": "f", "input": {}, "caller": {"type": "direct", "of": 1}}, "caller"),
    ],
)
def test_what_stands_beside_an_assistants_words_is_named_where_it_says_something(
    block: dict[str, Any], named: str | None
) -> None:
    dropped = outbound({"messages": [*HELLO, {"role": "assistant", "content": [block]}, *HELLO]})[1]
    assert dropped == ((f"messages[].content[].{named}",) if named else ())


@pytest.mark.parametrize(
    ("quirks", "model", "message", "dropped"),
    [
        (Quirks(), "gpt-5", {}, ("prefill",)),
        (Quirks(prefill=Prefill()), "llama", {}, ()),
        (Quirks(prefill=Prefill(mark="partial")), "kimi-k2", {"partial": True}, ()),
        (Quirks(prefill=Prefill(mark="prefix", below="/beta")), "deepseek-chat", {}, ("prefill",)),
        (Quirks(prefill=Prefill(models=("anthropic/*",))), "anthropic/claude-sonnet-4", {}, ()),
        (Quirks(prefill=Prefill(models=("anthropic/*",))), "openai/gpt-5", {}, ("prefill",)),
    ],
)
def test_a_model_goes_on_from_its_last_words_or_that_it_does_not_is_named(
    quirks: Quirks, model: str, message: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    said = {"role": "assistant", "content": "The answer is"}
    body = json.dumps({"model": model, "messages": [*HELLO, said]}).encode()
    call = Call(Dialect.ANTHROPIC_MESSAGES, model, False, body, "id", 0)
    out = MESSAGES_TO_CHAT.request(quirks.told(call))
    assert json.loads(out.body)["messages"][1] == {**said, **message}
    assert out.dropped == dropped


def test_tool_results_come_first_and_the_users_words_are_kept_in_order() -> None:
    made = messages(
        user(
            TEXT,
            result("a", "Sunny"),
            result("b", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]),
            {"type": "text", "text": "Well?"},
        )
    )
    assert made == [
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "b", "content": "one\ntwo"},
        {"role": "user", "content": [TEXT, {"type": "text", "text": "Well?"}]},
    ]


def test_a_tool_result_without_content_is_empty() -> None:
    assert messages(user(result("a"))) == [{"role": "tool", "tool_call_id": "a", "content": ""}]


def test_a_failed_tool_says_so() -> None:
    assert messages(user(result("a", "No such file", is_error=True)))[0]["content"] == "Error:\nNo such file"


def test_images_in_tool_results_follow_in_a_user_message_that_names_the_call() -> None:
    made = messages(user(result("a", [{"type": "text", "text": "Seen"}, image()]), result("b", [image()]), TEXT))
    assert made == [
        {"role": "tool", "tool_call_id": "a", "content": "Seen"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Content of tool result a:"},
                IMAGE_PART,
                {"type": "text", "text": "Content of tool result b:"},
                IMAGE_PART,
                TEXT,
            ],
        },
    ]


def test_tools_keep_their_whole_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}, "additionalProperties": False}
    made, dropped = outbound(
        {
            "messages": HELLO,
            "tools": [
                {"name": "f", "description": "Does.", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
                {"type": "custom", "name": "g", "input_schema": {"type": "object"}, "defer_loading": True},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            ],
        }
    )
    assert made["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "Does.", "parameters": schema}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}},
    ]
    assert dropped == ("cache_control", "tools[].defer_loading", "tools[].web_search_20250305")


def test_strict_is_kept_where_the_schema_allows_it() -> None:
    closed = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    no_schema = {**closed, "properties": 3}
    for schema, strict in (
        (closed, True),
        ({**closed, "required": []}, None),
        ({"type": "object"}, None),
        (no_schema, None),
    ):
        made, dropped = outbound({"messages": HELLO, "tools": [{"name": "f", "input_schema": schema, "strict": True}]})
        assert made["tools"][0]["function"].get("strict") is strict
        assert dropped == (() if strict else ("tools[].strict",))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"type": "auto", "disable_parallel_tool_use": True}, {"tool_choice": "auto", "parallel_tool_calls": False}),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
    ],
)
def test_tool_choices(choice: dict[str, Any], expected: dict[str, Any]) -> None:
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    made, _ = outbound({"messages": HELLO, "tools": tools, "tool_choice": choice})
    assert {key: made[key] for key in ("tool_choice", "parallel_tool_calls") if key in made} == expected


def test_a_choice_among_no_tools_is_dropped() -> None:
    made, dropped = outbound({"messages": HELLO, "tools": [], "tool_choice": {"type": "any"}})
    assert made.keys() == {"model", "messages"}
    assert dropped == ("tool_choice",)


BUDGET = ("thinking.budget_tokens",)
"""OpenAI has a word for it and no number."""


@pytest.mark.parametrize(
    ("fields", "effort", "lost"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", BUDGET),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "medium", BUDGET),
        ({"thinking": {"type": "enabled", "budget_tokens": 16384}}, "high", BUDGET),
        ({"thinking": {"type": "disabled"}}, None, ("thinking",)),
        ({"thinking": {"type": "adaptive"}}, None, ()),
        ({"thinking": {"type": "adaptive", "budget_tokens": 9}}, None, BUDGET),
        ({"thinking": {"type": "between_tools"}}, None, ("thinking.type",)),
        ({"output_config": {"effort": "xhigh"}}, "xhigh", ()),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "enabled", "budget_tokens": 9999}}, "low", BUDGET),
    ],
)
def test_thinking_and_effort(fields: dict[str, Any], effort: str | None, lost: tuple[str, ...]) -> None:
    made, dropped = outbound({"messages": HELLO, **fields})
    assert made.get("reasoning_effort") == effort
    assert dropped == lost


@pytest.mark.parametrize("where", ["output_config", "output_format"])
def test_json_schema_output(where: str) -> None:
    a = {"type": "string"}
    schema = {"type": "object", "properties": {"a": a}, "required": ["a"], "additionalProperties": False}
    wanted = {"type": "json_schema", "schema": schema}
    made, _ = outbound({"messages": HELLO, where: {"format": wanted} if where == "output_config" else wanted})
    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema, "strict": True},
    }


def test_a_long_user_id_becomes_a_digest_of_the_length_that_is_taken() -> None:
    def sent(user_id: str) -> str:
        user: str = outbound({"messages": HELLO, "metadata": {"user_id": user_id}})[0]["user"]
        return user

    long = "user_" + "a" * 150
    assert sent("b" * 64) == "b" * 64
    assert len(sent(long)) == 64
    assert sent(long) == sent(long) != sent(long + "c")


def test_what_openai_has_no_word_for_is_named() -> None:
    body = {
        "messages": [*HELLO, user(TEXT, {"type": "container_upload", "file_id": "f"})],
        "top_k": 5,
        "service_tier": "priority",
        "container": None,
        "output_config": {"effort": None, "task_budget": 3},
        "bad\r\nname: x": 1,
    }
    assert outbound(body)[1] == (
        "messages[].content[].container_upload",
        "top_k",
        "service_tier",
        "output_config.task_budget",
        "bad__name__x",
    )


BAD: list[tuple[Any, str | None]] = [
    (b"", None),
    (b"[]", None),
    (b'{"messages": [', None),
    (b'{"messages": [{"role": "user", "content": "\xff"}]}', None),
    (b'{"metadata": ' + b"[" * 100_000, None),
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0]"),
    ({"messages": [{"role": 1, "content": ""}]}, "messages[0].role"),
    ({"messages": [*HELLO, {"role": "tool", "content": ""}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [user({})]}, "messages[0].content[0]"),
    ({"messages": [user(TEXT, {"type": "text", "text": 5})]}, "messages[0].content[1].text"),
    ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
    ({"messages": [user({"type": "image"})]}, "messages[0].content[0].source"),
    ({"messages": [user({"type": "image", "source": {}})]}, "messages[0].content[0].source"),
    (
        {"messages": [user({"type": "image", "source": {"type": "base64", "data": 5}})]},
        "messages[0].content[0].source.data",
    ),
    (
        {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
        "messages[0].content[0].source.type",
    ),
    ({"messages": [user(document({"type": "file"}))]}, "messages[0].content[0].source.type"),
    ({"messages": [user(document({"type": "url"}))]}, "messages[0].content[0].source.url"),
    ({"messages": [user({"type": "tool_use", "id": "a", "name": "f"})]}, "messages[0].content[0].type"),
    ({"messages": [user({"type": "tool_result", "content": "x"})]}, "messages[0].content[0].tool_use_id"),
    ({"messages": [user(result("a", [TEXT, 5]))]}, "messages[0].content[0].content[1]"),
    ({"messages": [user(result("a", [{"type": "text"}]))]}, "messages[0].content[0].content[0].text"),
    ({"messages": [user(result("a", [result("b")]))]}, "messages[0].content[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": [image()]}]}, "messages[0].content[0].type"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a"}]}]},
        "messages[0].content[0].name",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": []}]}]},
        "messages[0].content[0].input",
    ),
    ({"messages": HELLO, "system": 5}, "system"),
    ({"messages": HELLO, "system": [image()]}, "system[0].type"),
    ({"messages": HELLO, "max_tokens": "many"}, "max_tokens"),
    ({"messages": HELLO, "temperature": "hot"}, "temperature"),
    ({"messages": HELLO, "stop_sequences": "END"}, "stop_sequences"),
    ({"messages": HELLO, "stop_sequences": ["END", 5]}, "stop_sequences[1]"),
    ({"messages": HELLO, "tools": {}}, "tools"),
    ({"messages": HELLO, "tools": [{}]}, "tools[0].name"),
    ({"messages": HELLO, "tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"messages": HELLO, "tools": [{"name": "f", "input_schema": {}, "description": 5}]}, "tools[0].description"),
    ({"messages": HELLO, "tool_choice": "auto"}, "tool_choice"),
    ({"messages": HELLO, "tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"messages": HELLO, "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"messages": HELLO, "output_config": {"format": {"type": "text"}}}, "output_config.format.type"),
    ({"messages": HELLO, "output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"messages": HELLO, "metadata": {"user_id": 5}}, "metadata.user_id"),
    ({"messages": HELLO, "thread": {"type": "create"}}, "thread"),
    ({"messages": HELLO, "thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
]


@pytest.mark.parametrize(("body", "path"), BAD)
def test_a_request_that_is_wrong_names_the_field(body: Any, path: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        outbound(body)
    assert caught.value.param == path


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "source", "data", "name", "input", "id", "tool_use_id"]
            ),
            inner | st.sampled_from(["user", "assistant", "text", "image", "document", "tool_use", "tool_result"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = ["messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences"]


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
def test_any_json_is_translated_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert outbound({"messages": HELLO, **body})[0]["messages"]
