from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import BadAnswer
from adapters.gemini_client import ARRAY_TO_CHAT, GENERATE_TO_CHAT
from adapters.gemini_client.signatures import read
from adapters.registry import CODECS
from adapters.types import Call, Dialect, StreamDecoder, Usage

CALL = Call(Dialect.GEMINI_GENERATE, "m", True, b"{}", "f" * 32, 1)
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 34,
    "total_tokens": 44,
    "prompt_tokens_details": {"cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 30},
}


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> bytes:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}]
    return json.dumps({"id": "c1", "model": "gpt", "choices": choices, "usage": USAGE}).encode()


def answer(message: dict[str, Any], finish: str = "stop", **choice: Any) -> Any:
    return json.loads(GENERATE_TO_CHAT.response(CALL, completion(message, finish, **choice)).body)


def parts(message: dict[str, Any]) -> Any:
    return answer(message)["candidates"][0]["content"]["parts"]


def test_a_plain_answer() -> None:
    found = answer({"content": "Hello"})
    assert found == {
        "candidates": [
            {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 4,
            "totalTokenCount": 44,
            "thoughtsTokenCount": 30,
            "cachedContentTokenCount": 6,
        },
        "modelVersion": "gpt",
        "responseId": "c1",
    }
    types.GenerateContentResponse.model_validate(found)


def test_calls_are_parts_with_their_ids() -> None:
    function = {"name": "f", "arguments": '{"x": 1.50}', "thought_signature": "sig=="}
    found = parts({"content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]})
    assert found == [{"functionCall": {"id": "a", "name": "f", "args": {"x": 1.5}}, "thoughtSignature": "sig=="}]


THOUGHTS = [
    {"type": "thinking", "thinking": "Hm", "signature": "theirs"},
    {"type": "redacted_thinking", "data": "xyz"},
    {"type": "text", "text": "So."},
]


def test_other_makers_thoughts_travel_in_the_signature_of_the_call_after_them() -> None:
    tool_call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    thought, text, call = parts({"content": "So.", "content_blocks": THOUGHTS, "tool_calls": [tool_call]})
    assert thought == {"text": "Hm", "thought": True}
    assert text == {"text": "So."}
    blocks, signature = read(call["thoughtSignature"])
    assert signature == ""
    assert [json.loads(bytes(each)) for each in blocks] == [*THOUGHTS[:2], {"type": "said", "length": 3}]


def test_without_a_call_they_come_at_the_end() -> None:
    last = parts({"content": "So.", "content_blocks": THOUGHTS})[-1]
    assert last["text"] == ""
    assert len(read(last["thoughtSignature"])[0]) == 3


def test_googles_own_signatures_are_told_as_they_are() -> None:
    blocks = [
        {"type": "thinking", "thinking": "", "signature": "google:s"},
        {"type": "text", "text": "So."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert parts({"content": "So.", "content_blocks": blocks}) == [
        {"text": "So.", "thoughtSignature": "s"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop", "STOP"), ("length", "MAX_TOKENS"), ("tool_calls", "STOP"), ("content_filter", "SAFETY"), ("odd", "STOP")],
)
def test_finish_reasons_are_googles(reason: str, word: str) -> None:
    assert answer({"content": "a"}, reason)["candidates"][0]["finishReason"] == word


def test_citations_and_log_probabilities_are_googles() -> None:
    place = {"start_index": 4, "end_index": 8, "url": "https://a.test", "title": "A"}
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    found = answer(
        {"content": "Tak žluť.", "annotations": [{"type": "url_citation", "url_citation": place}]},
        logprobs={"content": [token], "refusal": None},
    )["candidates"][0]
    assert found["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
        "groundingSupports": [  # in bytes of UTF-8
            {"segment": {"startIndex": 4, "endIndex": 10, "text": "žluť"}, "groundingChunkIndices": [0]}
        ],
    }
    assert found["logprobsResult"]["chosenCandidates"] == [{"token": "a", "logProbability": -0.5}]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"choices":[]}', b'{"choices":[{"message":{"tool_calls":[{}]}}]}'])
def test_a_body_that_is_no_completion_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        GENERATE_TO_CHAT.response(CALL, body)


# -- streams


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choices = [{"index": index, "delta": delta, "finish_reason": finish}]
    return {"id": "c1", "model": "gpt", "object": "chat.completion.chunk", "choices": choices, **more}


def sse(*chunks: dict[str, Any], done: bool = True) -> bytes:
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)
    return data + b"data: [DONE]\n\n" if done else data


def fragment(number: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments}
    if "name" in more:
        function["name"] = more.pop("name")
    return {"tool_calls": [{"index": number, "function": function, **more}]}


LAST: dict[str, Any] = {"id": "c1", "choices": [], "usage": USAGE}
TEXT = sse(
    chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop"), LAST
)
TOOLS = sse(
    chunk({"content": "Let me."}),
    chunk(fragment(0, "", id="a", name="f")),
    chunk(fragment(1, "", id="b", name="g")),
    chunk(fragment(0, '{"x":')),
    chunk(fragment(1, "{}")),
    chunk(fragment(0, " 1.5}")),
    chunk({}, "tool_calls"),
    LAST,
)
THOUGHT = sse(
    chunk({"content_blocks": [{"index": 0, "delta": {"type": "thinking", "thinking": "", "signature": ""}}]}),
    chunk({"content_blocks": [{"index": 0, "delta": {"thinking": "H"}}]}),
    chunk({"content_blocks": [{"index": 0, "delta": {"thinking": "m"}}]}),
    chunk({"content_blocks": [{"index": 0, "delta": {"signature": "theirs"}}]}),
    chunk(fragment(0, "{}", id="a", name="f")),
    chunk({}, "tool_calls"),
)
TWO = sse(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"), chunk({}, "length", index=1))
STREAMS = {"text": TEXT, "tools": TOOLS, "thought": THOUGHT, "two": TWO}


def run(decoder: StreamDecoder, *pieces: bytes) -> bytes:
    return b"".join([decoder.feed(piece) for piece in pieces]) + decoder.close()


def events(out: bytes) -> list[Any]:
    found = out.decode().split("\r\n\r\n")
    assert found.pop() == ""
    made = [json.loads(each.removeprefix("data: ")) for each in found]
    for each in made:
        types.GenerateContentResponse.model_validate(each)
    return made


def all_parts(found: list[Any]) -> list[Any]:
    return [part for event in found for part in event["candidates"][0]["content"]["parts"]]


def test_text_goes_out_as_it_comes() -> None:
    decoder = GENERATE_TO_CHAT.stream(CALL)
    found = events(run(decoder, TEXT))
    assert all_parts(found) == [{"text": "Hel"}, {"text": "lo"}, {"text": ""}]
    assert [each["candidates"][0].get("finishReason") for each in found] == [None, None, "STOP"]
    assert found[-1]["usageMetadata"]["thoughtsTokenCount"] == 30
    assert decoder.usage == Usage(10, 34, 6, 0, 30)


def test_interleaved_calls_are_told_whole() -> None:
    found = all_parts(events(run(GENERATE_TO_CHAT.stream(CALL), TOOLS)))
    assert found == [
        {"text": "Let me."},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1.5}}},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ]


def test_streamed_thoughts_travel_with_the_call() -> None:
    *thoughts, call = all_parts(events(run(GENERATE_TO_CHAT.stream(CALL), THOUGHT)))
    assert [each["text"] for each in thoughts] == ["H", "m"]
    blocks, _ = read(call["thoughtSignature"])
    assert json.loads(bytes(blocks[0])) == {"type": "thinking", "thinking": "Hm", "signature": "theirs"}


def test_sources_that_a_stream_tells_one_by_one_are_all_told() -> None:
    def source(url: str, start: int, end: int) -> dict[str, Any]:
        place = {"start_index": start, "end_index": end, "url": url, "title": url}
        return {"annotations": [{"type": "url_citation", "url_citation": place}]}

    said = sse(
        chunk({"content": "Tak "}),
        chunk({"content": "žluť."}),
        chunk(source("https://a", 4, 8)),
        chunk(source("https://b", 4, 8)),
        chunk({"content": "", **source("https://a", 0, 9)}),
        chunk({}, "stop"),
    )
    body = json.dumps({"contents": [{"parts": [{"text": "?"}]}], "tools": [{"googleSearch": {}}]}).encode()
    call = msgspec.structs.replace(CALL, body=body, stream=True)
    last = events(run(GENERATE_TO_CHAT.stream(call), said))[-1]["candidates"][0]["groundingMetadata"]
    assert [each["web"]["uri"] for each in last["groundingChunks"]] == ["https://a", "https://b"]
    supports = [(each["segment"]["text"], each["groundingChunkIndices"]) for each in last["groundingSupports"]]
    assert supports == [("žluť", [0, 1]), ("Tak žluť.", [0])]


def test_every_choice_is_a_candidate() -> None:
    found = events(run(GENERATE_TO_CHAT.stream(CALL), TWO))
    ends = [each["candidates"][0] for each in found if "finishReason" in each["candidates"][0]]
    assert [(each["index"], each["finishReason"]) for each in ends] == [(0, "STOP"), (1, "MAX_TOKENS")]


@pytest.mark.parametrize("name", STREAMS)
def test_an_array_holds_the_same_events(name: str) -> None:
    array = json.loads(run(ARRAY_TO_CHAT.stream(CALL), STREAMS[name]))
    assert array == events(run(GENERATE_TO_CHAT.stream(CALL), STREAMS[name]))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_may_be_cut_at_every_byte(name: str) -> None:
    data = STREAMS[name]
    for codec in (GENERATE_TO_CHAT, ARRAY_TO_CHAT):
        expected = run(codec.stream(CALL), data)
        for at in range(len(data)):
            assert run(codec.stream(CALL), data[:at], data[at:]) == expected


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_ends_early_is_never_made_to_look_complete(name: str) -> None:
    data = STREAMS[name]
    for at in range(data.rindex(b'"finish_reason": "')):
        decoder = GENERATE_TO_CHAT.stream(CALL)
        out = run(decoder, data[:at])
        assert decoder.error is not None
        assert b"finishReason" not in out


@given(st.binary(max_size=300))
def test_junk_never_raises(data: bytes) -> None:
    for each in (data, b"data: " + data + b"\n\n", TOOLS[: len(data)] + data):
        decoder = GENERATE_TO_CHAT.stream(CALL)
        run(decoder, each)
        assert decoder.feed(TEXT) == b""


SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "a"}]}
SEARCHED: list[dict[str, Any]] = [
    {"type": "text", "text": "Let me see."},
    SEARCH,
    FOUND,
    {"type": "text", "text": "It is."},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
]


def searched_events() -> bytes:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(SEARCHED):
        at, input = {"index": index}, block.get("input")
        start = {**block, **({"text": ""} if "text" in block else {}), **({} if input is None else {"input": {}})}
        events.append({"type": "content_block_start", **at, "content_block": start})
        if "text" in block:
            events.append({"type": "content_block_delta", **at, "delta": {"type": "text_delta", "text": block["text"]}})
        for piece in (json.dumps(input)[:4], json.dumps(input)[4:]) if input else ():
            delta = {"type": "input_json_delta", "partial_json": piece}
            events.append({"type": "content_block_delta", **at, "delta": delta})
        events.append({"type": "content_block_stop", **at})
    events += [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_that_ran_at_anthropic_come_back_in_their_place(stream: bool) -> None:
    made = CODECS[Dialect.GEMINI_GENERATE, Dialect.ANTHROPIC_MESSAGES]
    asked = {"role": "user", "parts": [{"text": "?"}]}
    call = Call(
        Dialect.GEMINI_GENERATE, "claude-sonnet-4-5", stream, json.dumps({"contents": [asked]}).encode(), "i", 1
    )
    if stream:
        machine = made.stream(call)
        events = (machine.feed(searched_events()) + machine.close()).decode().split("\r\n\r\n")
        told = [json.loads(each[6:]) for each in events if each]
        assert machine.unsaid == ()
    else:
        whole = {"id": "m", "type": "message", "role": "assistant", "content": SEARCHED, "stop_reason": "tool_use"}
        told = [json.loads(made.response(call, json.dumps(whole).encode()).body)]
    said = [part for each in told for part in each["candidates"][0]["content"]["parts"]]
    result = {"role": "user", "parts": [{"functionResponse": {"id": "t1", "name": "f", "response": {"a": 1}}}]}
    history = {"contents": [asked, {"role": "model", "parts": said}, result]}
    sent = made.request(msgspec.structs.replace(call, body=json.dumps(history).encode()))
    assert sent.dropped == ()
    assert json.loads(sent.body)["messages"][1]["content"] == SEARCHED
