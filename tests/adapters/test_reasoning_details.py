"""What a model behind OpenRouter thought comes back to it as it was, through every client that carries signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import PROVIDERS
from adapters.reasoning import Details, details_of, opened
from adapters.registry import codec
from adapters.types import Call, Dialect

CLAUDES = [
    {
        "type": "reasoning.text",
        "text": "Two cities; Paris “first”.",
        "signature": "EqQBCkg=",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
]
OPENAIS = [
    {"type": "reasoning.summary", "summary": "**Looking** it up", "format": "openai-responses-v1", "index": 0},
    {
        "type": "reasoning.encrypted",
        "data": "gAAAAABo",
        "id": "rs_1",
        "format": "openai-responses-v1",
        "index": 0,
    },
]
REDACTED = [{"type": "reasoning.encrypted", "data": "EmwK", "id": None, "format": "anthropic-claude-v1", "index": 0}]
SEVERAL = [
    {"type": "reasoning.text", "text": "One.", "signature": "a", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1},
    {"type": "reasoning.text", "text": "Two.", "signature": "b", "format": "anthropic-claude-v1", "index": 2},
]
OPEN_WEIGHTS = [{"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0, "new": {"a": [1]}}]
DETAILS = {
    "Claude": CLAUDES,
    "OpenAI": OPENAIS,
    "redacted": REDACTED,
    "several": SEVERAL,
    "open weights": OPEN_WEIGHTS,
}


def text_of(details: list[dict[str, Any]]) -> str:
    return "".join(each.get("text") or each.get("summary") or "" for each in details)


def call_of(city: str) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"index": 0, "id": f"call_{city}", "type": "function", "function": function}


def whole(details: list[dict[str, Any]], city: str) -> bytes:
    message = {"role": "assistant", "content": None, "tool_calls": [call_of(city)], "reasoning_details": details}
    message["reasoning"] = text_of(details) or None
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return json.dumps({"id": "gen-1", "model": "m", "created": 1, "choices": [choice]}).encode()


def streamed(details: list[dict[str, Any]], city: str) -> bytes:
    """The same in chunks: texts by the word, a signature on its own, as OpenRouter sends them."""
    deltas: list[dict[str, Any]] = []
    for detail in details:
        field = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(detail["type"], "")
        if not field:
            deltas.append({"content": "", "reasoning": None, "reasoning_details": [detail]})
            continue
        kept = {name: value for name, value in detail.items() if name not in (field, "signature")}
        for letter in detail[field]:
            deltas.append({"content": "", "reasoning": letter, "reasoning_details": [{**kept, field: letter}]})
        if "signature" in detail:
            signed = {**kept, field: None, "signature": detail["signature"]}
            deltas.append({"content": "", "reasoning": None, "reasoning_details": [signed]})
    deltas.append({"content": None, "tool_calls": [call_of(city)]})
    chunks = [{"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": None} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    head = {"id": "gen-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [b"data: %b\n\n" % json.dumps({**head, "choices": [each]}).encode() for each in chunks]
    return b": OPENROUTER PROCESSING\n\n" + b"".join(events) + b"data: [DONE]\n\n"


def sse(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]


# Clients: how each asks, what it keeps of an answer, and what it says next


def messages_said(data: bytes, stream: bool) -> list[Any]:
    if not stream:
        content: list[Any] = json.loads(data)["content"]
        return content
    blocks: list[Any] = []
    inputs: dict[int, str] = {}
    for event in sse(data):
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            if delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]  # as the SDK has it: the last one stands
            elif delta["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
    for index, text in inputs.items():
        blocks[index]["input"] = json.loads(text)
    return blocks


def messages_turn(history: list[Any], data: bytes, stream: bool) -> list[Any]:
    blocks = messages_said(data, stream)
    [used] = [block for block in blocks if block["type"] == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": used["id"], "content": "mild"}
    return [*history, {"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]


def responses_turn(history: list[Any], data: bytes, stream: bool) -> list[Any]:
    output = sse(data)[-1]["response"]["output"] if stream else json.loads(data)["output"]
    [called] = [item for item in output if item["type"] == "function_call"]
    return [*history, *output, {"type": "function_call_output", "call_id": called["call_id"], "output": "mild"}]


def gemini_turn(history: list[Any], data: bytes, stream: bool) -> list[Any]:
    answers = sse(data) if stream else [json.loads(data)]
    parts = [part for each in answers for part in each["candidates"][0]["content"]["parts"]]
    [called] = [part["functionCall"] for part in parts if "functionCall" in part]
    said = {"functionResponse": {"id": called["id"], "name": called["name"], "response": {"result": "mild"}}}
    return [*history, {"role": "model", "parts": parts}, {"role": "user", "parts": [said]}]


Turn = Callable[[list[Any], bytes, bool], list[Any]]
CLIENTS: dict[Dialect, tuple[str, list[Any], Turn]] = {
    Dialect.ANTHROPIC_MESSAGES: ("messages", [{"role": "user", "content": "?"}], messages_turn),
    Dialect.OPENAI_RESPONSES: ("input", [{"role": "user", "content": "?"}], responses_turn),
    Dialect.GEMINI_GENERATE: ("contents", [{"role": "user", "parts": [{"text": "?"}]}], gemini_turn),
}


def asked(client: Dialect, history: list[Any], stream: bool, provider: str = "openrouter") -> Call:
    body = {"max_tokens": 99, CLIENTS[client][0]: history}
    call = Call(client, "m", stream, json.dumps(body).encode(), "0a1b", 1)
    return PROVIDERS[provider].quirks[Dialect.OPENAI_CHAT].told(call) if provider == "openrouter" else call


def answered(client: Dialect, call: Call, data: bytes, size: int = 1 << 20) -> bytes:
    pair = codec(client, Dialect.OPENAI_CHAT)
    if not call.stream:
        return pair.response(call, data).body
    machine = pair.stream(call)
    told = b"".join(machine.feed(data[at : at + size]) for at in range(0, len(data), size)) + machine.close()
    assert machine.error is None
    return told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", DETAILS)
def test_three_turns_of_tools_give_a_model_its_details_back(name: str, client: Dialect, stream: bool) -> None:
    details = DETAILS[name]
    _, history, turn = CLIENTS[client]
    make = streamed if stream else whole
    for city in ("Paris", "Oslo"):
        history = turn(history, answered(client, asked(client, history, stream), make(details, city)), stream)
    sent = json.loads(codec(client, Dialect.OPENAI_CHAT).request(asked(client, history, stream)).body)
    said = [message for message in sent["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_details"] for message in said] == [details, details]
    assert [json.loads(each["tool_calls"][0]["function"]["arguments"])["city"] for each in said] == ["Paris", "Oslo"]
    # The details say it; nothing is said twice.
    assert all("reasoning" not in message for message in said)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_text_of_the_details_is_shown_as_thinking(client: Dialect) -> None:
    for stream, make in ((False, whole), (True, streamed)):
        data = answered(client, asked(client, CLIENTS[client][1], stream), make(CLAUDES, "Paris"))
        if client is Dialect.ANTHROPIC_MESSAGES:
            [thinking, used] = messages_said(data, stream)
            assert (thinking["thinking"], used["type"]) == (CLAUDES[0]["text"], "tool_use")
        elif client is Dialect.OPENAI_RESPONSES:
            output = sse(data)[-1]["response"]["output"] if stream else json.loads(data)["output"]
            assert output[0]["summary"] == [{"type": "summary_text", "text": CLAUDES[0]["text"]}]
        else:
            answers = sse(data) if stream else [json.loads(data)]
            parts = [part for each in answers for part in each["candidates"][0]["content"]["parts"]]
            assert "".join(part["text"] for part in parts if part.get("thought")) == CLAUDES[0]["text"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", DETAILS)
def test_any_split_of_a_stream_tells_the_same(name: str, client: Dialect) -> None:
    call, data = asked(client, CLIENTS[client][1], True), streamed(DETAILS[name], "Paris")
    expected = answered(client, call, data)
    for size in (1, 2, 3, 7, 64, 333):
        assert answered(client, call, data, size) == expected


@pytest.mark.parametrize("client", CLIENTS)
def test_a_stream_cut_anywhere_never_looks_complete(client: Dialect) -> None:
    data = streamed(SEVERAL, "Paris")
    for at in range(0, len(data) - len(b"data: [DONE]\n\n") - 150, 5):
        machine = codec(client, Dialect.OPENAI_CHAT).stream(asked(client, CLIENTS[client][1], True))
        machine.feed(data[:at])
        machine.close()
        assert machine.error is not None


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("upstream", [Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.BEDROCK_CONVERSE])
def test_other_providers_do_not_get_them(client: Dialect, upstream: Dialect) -> None:
    if client is upstream:
        pytest.skip("bytes pass as they are")
    _, history, turn = CLIENTS[client]
    history = turn(history, answered(client, asked(client, history, False), whole(CLAUDES, "Paris")), False)
    outbound = codec(client, upstream).request(asked(client, history, False, "anthropic"))
    assert b"loopway.1." not in outbound.body
    assert b"EqQBCkg=" not in outbound.body
    assert any("thinking" in name or "thought" in name or "encrypted" in name for name in outbound.dropped)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("details", [[], None, "x", [{}], [{"type": "reasoning.new", "x": 1}], [{"type": None}]])
def test_details_of_no_known_form_do_no_harm(client: Dialect, details: Any) -> None:
    message = {"content": "Hi.", "reasoning": "Hm.", "reasoning_details": details}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    data = json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
    told = answered(client, asked(client, CLIENTS[client][1], False), data)
    assert b"Hm." in told
    assert b"Hi." in told
    choice = {"index": 0, "delta": message, "finish_reason": "stop"}
    chunk = json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
    told = answered(client, asked(client, CLIENTS[client][1], True), b"data: %b\n\ndata: [DONE]\n\n" % chunk)
    assert b"Hm." in told
    assert b"Hi." in told


JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5), lambda x: st.lists(x))
ANY = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted", "reasoning.other"])},
        optional={
            "text": st.text(max_size=9) | st.none(),
            "summary": st.text(max_size=9),
            "data": st.text(max_size=9),
            "index": st.integers(0, 3),
            "more": JSON,
        },
    ),
    max_size=4,
)


@given(ANY)
def test_any_details_come_back_as_they_were(details: list[dict[str, Any]]) -> None:
    kept = Details()
    shown = json.loads(bytes(kept.add(json.dumps(details).encode(), whole=True)))  # type: ignore[arg-type]
    assert opened(json.loads(bytes(kept.sealed())), shown) == details


@pytest.mark.parametrize("text", ["", "x", "loopway.1.", "loopway.1.e30=", "loopway.1.W10=", "loopway.1.W3t9XQ==", "ü"])
def test_signatures_of_others_hold_none(text: str) -> None:
    assert opened(text, "Hm.") == []
    assert details_of([json.dumps({"type": "thinking", "thinking": "x", "signature": text}).encode()]) == []  # type: ignore[list-item]
