from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.adapters.anthropic.conversation import assistant, outbound, refusal, tool, tool_call, translated, turns, user

# Content.


def part_of(content: dict[str, Any]) -> Any:
    return turns(user([content]))[0]["content"][0]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}, "cache_control": {"type": "ephemeral"}},
            {
                "type": "image",
                "source": {"type": "url", "url": "https://x.test/a.png"},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,JVBE"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
        ),
        (
            {"type": "file", "file": {"file_url": "https://x.test/a.pdf"}},
            {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
        ),
        (
            {"type": "file", "file": {"file_data": "JVBE"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "plain words", "mime_type": "text/plain"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain words"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/markdown;base64,IyBo", "filename": "a.md"}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "# h"},
                "title": "a.md",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "e30=", "mime_type": "application/json"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,cGxhaW4gxY8="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain ŏ"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        ),
        (
            {"type": "file", "file": {"file_id": "file_011"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_011"}},
        ),
        (
            {"type": "search_result", "source": "x", "title": "t", "content": [], "n": 1.50},
            {"type": "search_result", "source": "x", "title": "t", "content": [], "n": 1.50},
        ),
    ],
)
def test_content_parts_become_blocks(part: dict[str, Any], block: dict[str, Any]) -> None:
    assert part_of(part) == block


def test_empty_text_parts_are_left_out() -> None:
    assert turns(user([{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}])) == [
        user([{"type": "text", "text": "Hi"}])
    ]


def test_the_detail_of_an_image_is_reported_as_lost() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}}
    assert outbound(messages=[user([part])]).dropped == ("messages[].content[].image_url.detail",)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "type"),
        ({"type": "text"}, "text"),
        ({"type": "text", "text": 5}, "text"),
        ({"text": "x"}, ""),
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": {"url": "ftp://x.test/a.png"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,AAAA"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:text/html;base64,AAAA"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": 5}}, "image_url.url"),
        ({"type": "file"}, "file"),
        ({"type": "file", "file": {}}, "file"),
        ({"type": "file", "file": {"file_url": "file:///etc/passwd"}}, "file.file_url"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "file.file_data"),
    ],
)
def test_a_part_that_cannot_be_translated_is_refused_by_its_path(part: dict[str, Any], param: str) -> None:
    path = refusal(messages=[user(), user([{"type": "text", "text": "x"}, part])]).param
    assert path == ("messages[1].content[1]." + param).rstrip(".")


def test_base64_is_passed_on_without_being_decoded() -> None:
    data = base64.b64encode(bytes(range(256)) * 64).decode()
    block = part_of({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    assert block["source"]["data"] == data


# Turns.


def test_tool_calls_and_results_make_one_turn_each() -> None:
    control = {"type": "ephemeral"}
    assert turns(
        user("Weather?"),
        assistant(tool_call("a", '{"x": 1.50}'), tool_call("b", "", cache_control=control), content="Looking."),
        tool("a", "sunny"),
        tool("b", [{"type": "text", "text": "broken"}], is_error=True, cache_control=control),
        user("And?"),
    ) == [
        user("Weather?"),
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.5}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}, "cache_control": control},
            ],
        },
        user(
            [
                {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "broken"}],
                    "is_error": True,
                    "cache_control": control,
                },
                {"type": "text", "text": "And?"},
            ]
        ),
    ]


def test_arguments_keep_their_text() -> None:
    body = outbound(messages=[user(), assistant(tool_call("a", '{"x":1.50,"b":12345678901234567890123}')), tool("a")])
    assert b'"input":{"x":1.50,"b":12345678901234567890123}' in body.body


def test_a_tool_result_may_hold_an_image() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    result = turns(user(), assistant(tool_call("a")), tool("a", [image]))[2]["content"][0]
    assert result["content"] == [{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}]


@pytest.mark.parametrize("content", [None, "", " \n", [], [{"type": "text", "text": "\t"}]])
def test_a_tool_result_may_be_empty(content: Any) -> None:
    result = turns(user(), assistant(tool_call("a")), tool("a", content))[2]["content"][0]
    if isinstance(content, list):
        assert result.pop("content") == []
    assert result == {"type": "tool_result", "tool_use_id": "a"}


def test_neighbours_of_one_role_become_one_turn() -> None:
    said = {"role": "assistant", "content": "A"}
    assert turns(user("1"), user(""), user([{"type": "text", "text": "2"}]), said, said, user("3")) == [
        user([{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]),
        {"role": "assistant", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "A"}]},
        user("3"),
    ]


@pytest.mark.parametrize("blank", ["", "\n\n", " \t\u00a0", [{"type": "text", "text": "\n"}]])
def test_a_blank_text_in_the_history_is_left_out(blank: Any) -> None:
    assert turns(user("1"), {"role": "assistant", "content": blank}, user("2")) == [
        user([{"type": "text", "text": "1"}, {"type": "text", "text": "2"}])
    ]
    called = turns(user("1"), assistant(tool_call("a"), content=blank), tool("a"))[1]["content"]
    assert [block["type"] for block in called] == ["tool_use"]
    assert "system" not in translated(messages=[{"role": "system", "content": blank}, user()])


def test_an_answers_refusal_counts_as_its_text() -> None:
    told = {"role": "assistant", "content": None, "refusal": "No."}
    assert turns(user(), told)[1]["content"] == [{"type": "text", "text": "No."}]
    part = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert turns(user(), part)[1]["content"] == [{"type": "text", "text": "No."}]


def test_ids_of_other_providers_are_made_acceptable_on_both_sides() -> None:
    _, called, answered = turns(user(), assistant(tool_call("functions.f:0")), tool("functions.f:0"))
    assert called["content"][0]["id"] == answered["content"][0]["tool_use_id"] == "functions_f_0"


def test_content_blocks_of_an_answer_come_back_as_they_were() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Looking."},
    ]
    said = assistant(tool_call("a"), content="Looking.", content_blocks=blocks)
    assert turns(user(), said, tool("a"))[1]["content"] == [
        *blocks,
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
    ]


def test_content_blocks_without_the_text_get_it_from_the_content() -> None:
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "sig=="}]
    said = {"role": "assistant", "content": "Yes.", "content_blocks": blocks}
    assert turns(user(), said)[1]["content"] == [*blocks, {"type": "text", "text": "Yes."}]


def test_what_an_sdk_adds_to_an_answer_it_sends_back_is_not_reported() -> None:
    said = {
        "role": "assistant",
        "content": "A",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    assert outbound(messages=[user(), said, user()]).dropped == ()


def test_fields_of_a_message_that_cannot_survive_are_reported_once() -> None:
    said = {"role": "assistant", "content": "A", "reasoning_content": "Hm", "audio": {"id": "x"}}
    sent = outbound(messages=[{**user(), "name": "bob"}, said, {**user(), "name": "eve"}])
    assert set(sent.dropped) == {"messages[].name", "messages[].reasoning_content", "messages[].audio"}
    assert len(sent.dropped) == 3


def test_very_many_messages_of_one_role_are_merged_in_linear_time() -> None:
    body = json.loads(outbound(messages=[user(), assistant(tool_call("a")), *[tool("a")] * 20_000]).body)
    assert len(body["messages"][2]["content"]) == 20_000


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"content": 5}, "content"),
        ({"content": [5]}, "content[0]"),
        ({"content_blocks": 5}, "content_blocks"),
        ({"content_blocks": [{"a": 1}]}, "content_blocks[0]"),
        ({"function_call": {}}, "function_call"),
        ({"function_call": {"name": "f", "arguments": "x"}}, "function_call.arguments"),
    ],
)
def test_a_wrong_answer_in_the_history_is_named_by_its_path(message: dict[str, Any], param: str) -> None:
    calls = {} if "function_call" in message else {"tool_calls": [tool_call("a")]}
    assert refusal(messages=[user(), {"role": "assistant", **calls, **message}]).param == f"messages[1].{param}"
