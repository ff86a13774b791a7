"""Chat on Cohere: requests, answers, streams, errors, and what real exchanges say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cohere import CHAT_TO_COHERE
from adapters.errors import BadAnswer, InvalidRequest, Kind
from adapters.types import Call, Dialect, StreamDecoder, Usage
from tests.adapters import recordings

HELLO = [{"role": "user", "content": "Hi"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}


def call(stream: bool = False, strict: bool = True, **body: Any) -> Call:
    raw = json.dumps({"model": "ignored", "messages": HELLO, **body}).encode()
    return Call(Dialect.OPENAI_CHAT, "command-a", stream, raw, "0a1b", 1700000000, strict)


def sent(**body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    outbound = CHAT_TO_COHERE.request(call(**body))
    return json.loads(outbound.body), outbound.dropped


def test_a_golden_request() -> None:
    made, dropped = sent(
        messages=[
            {"role": "developer", "content": "Brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "https://x"}}],
            },
            {
                "role": "assistant",
                "content": "I will look.",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Praha"}'}},
                    {"id": "b", "type": "function", "function": {"name": "weather", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "b", "content": "Rain"},
        ],
        max_completion_tokens=50,
        top_p=0.5,
        stop="END",
        seed=7,
        tools=[{"type": "function", "function": {**WEATHER["function"], "strict": True}}],  # type: ignore[dict-item]
        tool_choice="required",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": CITY}},
        reasoning_effort="low",
        safety_mode="NONE",
    )
    assert made == {
        "model": "command-a",
        "messages": [
            {"role": "system", "content": "Brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "https://x"}}],
            },
            {
                "role": "assistant",
                "tool_plan": "I will look.",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Praha"}'}},
                    {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "b", "content": "Rain"},
        ],
        "max_tokens": 50,
        "p": 0.5,
        "stop_sequences": ["END"],
        "seed": 7,
        "tools": [WEATHER],
        "strict_tools": True,
        "tool_choice": "REQUIRED",
        "response_format": {"type": "json_object", "json_schema": CITY},
        "thinking": {"type": "enabled", "token_budget": 1024},
        "safety_mode": "NONE",
        "stream": False,
    }
    assert dropped == ()


@pytest.mark.parametrize(("choice", "word"), [("auto", None), ("none", "NONE"), ("required", "REQUIRED")])
def test_tool_choices(choice: str, word: str | None) -> None:
    assert sent(tools=[WEATHER], tool_choice=choice)[0].get("tool_choice") == word


def test_one_named_tool_is_the_only_one_told_of() -> None:
    other = {"type": "function", "function": {"name": "time"}}
    made, _ = sent(tools=[WEATHER, other], tool_choice={"type": "function", "function": {"name": "time"}})
    # Cohere insists on parameters.
    told = {"name": "time", "parameters": {"type": "object", "properties": {}}}
    assert (made["tools"], made["tool_choice"]) == ([{"type": "function", "function": told}], "REQUIRED")
    assert sent(tools=[{"type": "custom"}], tool_choice="required")[1] == ("tools[].custom", "tool_choice")


@pytest.mark.parametrize(("mode", "word"), [("auto", None), ("required", "REQUIRED")])
def test_of_some_tools_only_those_are_told_of(mode: str, word: str | None) -> None:
    other = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "time"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    made, dropped = sent(tools=[WEATHER, other], tool_choice=choice)
    assert (made["tools"], made.get("tool_choice"), dropped) == ([other], word, ())
    allowed["tools"] = [*allowed["tools"], {"type": "web_search"}]
    assert sent(tools=[WEATHER, other, {"type": "web_search"}], tool_choice=choice)[1][-1] == "tool_choice"


def test_what_is_told_twice_in_two_words_is_named_where_they_do_not_agree() -> None:
    made, dropped = sent(top_p=0.1, p=0.2, k=2, top_k=2, stop="a", stop_sequences=["b"])
    assert (made["p"], made["k"], made["stop_sequences"]) == (0.1, 2, ["a"])
    assert dropped == ("p", "stop_sequences")
    assert sent(stop="", verbosity="medium") == sent()
    thinking = {"type": "enabled", "token_budget": 900, "budget_tokens": 800}
    made, dropped = sent(thinking=thinking)
    assert (made["thinking"], dropped) == ({"type": "enabled", "token_budget": 900}, ("thinking.budget_tokens",))
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}  # type: ignore[dict-item]
    made, dropped = sent(tools=[strict], strict_tools=False)
    assert (made["strict_tools"], dropped) == (False, ("tools[].function.strict",))
    # Cohere refuses it where some tool can be called with nothing.
    made, dropped = sent(tools=[strict, {"type": "function", "function": {"name": "time"}}])
    assert ("strict_tools" in made, dropped) == (False, ("tools[].function.strict",))


def test_what_an_assistant_cannot_have_shown_is_named() -> None:
    said = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x"}}]
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    for more in ({}, {"tool_calls": calls}):
        made, dropped = sent(messages=[{"role": "assistant", "content": said, "refusal": "b", **more}])
        assert made["messages"][0].get("tool_plan", made["messages"][0].get("content")) in ("a", said[:1])
        assert dropped == ("messages[].content[].image_url", "messages[].refusal")


def test_thinking_goes_back_and_images_follow_their_results() -> None:
    made, _ = sent(
        messages=[
            {"role": "assistant", "content": "Yes", "content_blocks": [{"type": "thinking", "thinking": "Hm"}]},
            {
                "role": "tool",
                "tool_call_id": "a",
                "is_error": True,
                "content": [{"type": "image_url", "image_url": {"url": "https://x"}}],
            },
        ]
    )
    assert made["messages"] == [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Yes"}]},
        {"role": "tool", "tool_call_id": "a", "content": "Error:\n"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Content of tool result a:"},
                {"type": "image_url", "image_url": {"url": "https://x"}},
            ],
        },
    ]


def test_what_cohere_has_no_word_for_is_named() -> None:
    _, dropped = sent(n=2, logit_bias={"1": 1}, user="u", service_tier="flex", tools=[{"type": "custom"}], store=False)
    assert dropped == ("n", "logit_bias", "user", "service_tier", "tools[].custom")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tool_choice": "some"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"max_tokens": "9"}, "max_tokens"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(**fields)
    assert refused.value.param == path


USAGE = {"billed_units": {"input_tokens": 1}, "tokens": {"input_tokens": 9, "output_tokens": 3}, "cached_tokens": 4}
TOLD = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
}
SOURCE = {"start": 0, "end": 2, "text": "Hi", "sources": [{"type": "document", "document": {"url": "https://a"}}]}
CITED = {"type": "url_citation", "url_citation": {"url": "https://a", "title": "", "start_index": 0, "end_index": 2}}


def answered(message: dict[str, Any], reason: str = "COMPLETE", **asked: Any) -> dict[str, Any]:
    body = {"id": "c1", "message": {"role": "assistant", **message}, "finish_reason": reason, "usage": USAGE}
    reply = CHAT_TO_COHERE.response(call(**asked), json.dumps(body).encode())
    assert reply.usage == Usage(9, 3, 4)
    made: dict[str, Any] = json.loads(reply.body)
    return made


def test_a_golden_answer() -> None:
    assert answered({"content": [{"type": "text", "text": "Hi"}], "citations": [SOURCE]}) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "command-a",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [CITED]},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": TOLD,
    }


def test_calls_have_their_plan_beside_them() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "now", "arguments": "null"}}]
    made = answered({"tool_plan": "I will look.", "tool_calls": calls}, "TOOL_CALL")["choices"][0]
    assert made["finish_reason"] == "tool_calls"
    assert made["message"]["content"] == "I will look."
    assert made["message"]["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}


def test_thinking_is_shown_where_it_is_asked_for() -> None:
    content = [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"}]
    assert "content_blocks" not in answered({"content": content})["choices"][0]["message"]
    shown = answered({"content": content}, strict=False)
    assert shown["choices"][0]["message"]["content_blocks"] == content
    assert (shown["provider"], shown["choices"][0]["finish_reason"]) == ("cohere", "COMPLETE")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":7}', b'{"generations":[]}'])
def test_what_is_none_of_coheres_answers_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CHAT_TO_COHERE.response(call(), body)


def test_errors_keep_status_and_message() -> None:
    error = CHAT_TO_COHERE.error(429, {}, b'{"id":"1","message":"Slow down."}')
    assert (error.kind, error.status, error.message) == (Kind.RATE_LIMITED, 429, "Slow down.")


def event(type: str, message: Any = None, **more: Any) -> bytes:
    body = {"type": type, **more}
    if message is not None:
        body["delta"] = {"message": message}
    return f"event: {type}\ndata: {json.dumps(body)}\n\n".encode()


def ended(reason: str = "COMPLETE") -> bytes:
    return event("message-end", delta={"finish_reason": reason, "usage": USAGE}) + b"data: [DONE]\n\n"


START = event("message-start", {"role": "assistant"}, id="c1")
STREAM = (
    START
    + event("content-start", {"content": {"type": "thinking", "thinking": ""}}, index=0)
    + event("content-delta", {"content": {"thinking": "Hm é"}}, index=0)
    + event("content-end", index=0)
    + event("content-start", {"content": {"type": "text", "text": ""}}, index=1)
    + event("content-delta", {"content": {"text": "Hi"}}, index=1)
    + event("citation-start", {"citations": SOURCE}, index=0)
    + event("citation-end", index=0)
    + event("tool-plan-delta", {"tool_plan": " Plan."})
    + event("tool-call-start", {"tool_calls": {"id": "a", "function": {"name": "f", "arguments": ""}}}, index=0)
    + event("tool-call-delta", {"tool_calls": {"function": {"arguments": '{"a":'}}}, index=0)
    + event("tool-call-delta", {"tool_calls": {"function": {"arguments": "1}"}}}, index=0)
    + event("tool-call-end", index=0)
    + event("tool-call-start", {"tool_calls": {"id": "b", "function": {"name": "g", "arguments": ""}}}, index=1)
    + event("tool-call-end", index=1)
    + event("something-new", {"anything": 7})
    + ended("TOOL_CALL")
)


def run(data: bytes, asked: Call) -> tuple[list[dict[str, Any]], StreamDecoder]:
    machine = CHAT_TO_COHERE.stream(asked)
    out = machine.feed(data) + machine.close()
    blocks = [block.removeprefix(b"data: ") for block in out.split(b"\n\n") if block]
    if machine.error is None:
        assert blocks.pop() == b"[DONE]"
    return [json.loads(block) for block in blocks], machine


def test_a_golden_stream() -> None:
    found, machine = run(STREAM, call(True, stream_options={"include_usage": True}))
    assert machine.error is None
    assert machine.usage == Usage(9, 3, 4)
    deltas = [chunk["choices"][0]["delta"] for chunk in found if chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
        {"annotations": [CITED]},
        {"content": " Plan."},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert (found[-1]["choices"], found[-1]["usage"]) == ([], TOLD)
    assert {chunk["id"] for chunk in found} == {"c1"}


def test_thinking_streams_as_blocks() -> None:
    found, _ = run(STREAM, call(True, strict=False))
    blocks = [each for chunk in found for each in chunk["choices"][0]["delta"].get("content_blocks", [])]
    assert blocks == [
        {"index": 0, "delta": {"type": "thinking", "thinking": ""}},
        {"index": 0, "delta": {"thinking": "Hm é"}},
    ]


def test_however_a_stream_is_cut_it_says_the_same() -> None:
    whole = CHAT_TO_COHERE.stream(call(True))
    out = whole.feed(STREAM) + whole.close()
    for cut in range(len(STREAM)):
        machine = CHAT_TO_COHERE.stream(call(True))
        assert machine.feed(STREAM[:cut]) + machine.feed(STREAM[cut:]) + machine.close() == out
        short = CHAT_TO_COHERE.stream(call(True))
        said = short.feed(STREAM[:cut]) + short.close()
        assert out.startswith(said)
        assert (short.error is None) == said.endswith(b"[DONE]\n\n")


def test_errors_in_a_stream_end_it() -> None:
    failed = event("message-end", delta={"finish_reason": "ERROR", "error": "Out of cheese."})
    for data, message in ((START + failed, "Out of cheese."), (b'data: {"message":"Too long."}\n\n', "Too long.")):
        _, machine = run(data, call(True))
        assert machine.error is not None
        assert machine.error.message == message


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes_give_chunks_and_at_most_an_error(pieces: list[bytes]) -> None:
    machine = CHAT_TO_COHERE.stream(call(True))
    for piece in pieces:
        machine.feed(piece)
    machine.close()
    assert machine.error is not None


@pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")
def test_recorded_exchanges_are_what_the_codec_sends_and_reads() -> None:
    seen = 0
    for each in recordings.exchanges("/v2/chat"):
        seen += 1
        body, said = each.response, each.response["message"]
        made = json.loads(CHAT_TO_COHERE.response(call(), json.dumps(body).encode()).body)["choices"][0]["message"]
        text = "".join(part.get("text", "") for part in said.get("content") or []) or said.get("tool_plan")
        assert made["content"] == text
        calls = [call_["function"] for call_ in said.get("tool_calls") or []]
        assert [call_["function"] for call_ in made.get("tool_calls", [])] == calls
        raw = {name: value for name, value in each.request.items() if name != "tool_choice"}
        again = json.loads(CHAT_TO_COHERE.request(call(**raw)).body)
        assert again["messages"] == raw["messages"]
        assert again.get("tools") == raw.get("tools")
    assert seen >= 5


FIXTURES = sorted((recordings.ROOT / "fixtures" / "cohere").glob("*.chunks.txt")) if recordings.ROOT.exists() else []


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_recorded_streams_keep_every_word(path: Any) -> None:
    lines = [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
    found, machine = run(
        b"".join(event(line.pop("type"), **line) for line in map(dict, lines)), call(True, strict=False)
    )
    assert machine.error is None
    messages = [
        line["delta"]["message"] for line in lines if isinstance((line.get("delta") or {}).get("message"), dict)
    ]
    text, thinking, arguments = "", "", ""
    for said in messages:
        content = said.get("content")
        if isinstance(content, dict):
            text += content.get("text", "")
            thinking += content.get("thinking", "")
        text += said.get("tool_plan", "")
        if isinstance(said.get("tool_calls"), dict):
            arguments += said["tool_calls"]["function"].get("arguments", "")
    deltas = [chunk["choices"][0]["delta"] for chunk in found if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == text
    blocks = [each["delta"] for delta in deltas for each in delta.get("content_blocks", [])]
    assert "".join(each["thinking"] for each in blocks) == thinking
    calls = [each["function"] for delta in deltas for each in delta.get("tool_calls", [])]
    assert "".join(each["arguments"] for each in calls) == arguments


CHANCES = {"text": "Yes", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
LIKELY = {
    "content": [{"token": "Yes", "logprob": -0.75, "bytes": [89, 101, 115], "top_logprobs": []}],
    "refusal": None,
}


def test_chances_of_words_are_told_whole_and_streamed() -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}
    body = {"id": "c1", "finish_reason": "COMPLETE", "message": message, "logprobs": [CHANCES]}
    reply = CHAT_TO_COHERE.response(call(logprobs=True), json.dumps(body).encode())
    assert json.loads(reply.body)["choices"][0]["logprobs"] == LIKELY
    said = event("content-delta", {"content": {"text": "Yes"}}, index=0, logprobs=CHANCES)
    found, _ = run(event("message-start", id="c1") + said + ended(), call(True, logprobs=True))
    choices = [each["choices"][0] for each in found]
    assert [each.get("logprobs") for each in choices if each["delta"].get("content")] == [LIKELY]
