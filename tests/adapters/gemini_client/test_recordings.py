"""What real providers answered and real clients asked, read once through the codecs and once plainly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.chain import Chain
from adapters.gemini import CHAT_TO_GEMINI
from adapters.gemini.wire import UNSIGNED
from adapters.gemini_client import GENERATE_TO_CHAT
from adapters.types import Call, Dialect
from tests.adapters import recordings
from tests.adapters.recordings import said_in

STREAMS = recordings.chat_streams()
ANSWERS = {
    each.name: each.response
    for each in recordings.exchanges("/chat/completions")
    if each.status == 200 and isinstance(each.response, dict)
}
REQUESTS = {
    each.name: each.request
    for verb in (":generateContent", ":streamGenerateContent")
    for each in recordings.exchanges(verb)
    if each.request
}
NATIVE = {
    each.name: each.response
    for each in recordings.exchanges(":generateContent")
    if each.status == 200 and isinstance(each.response, dict)
}
CALL = Call(Dialect.GEMINI_GENERATE, "m", True, b"{}", "f" * 32, 1)

pytestmark = pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")


def words(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def compare(parts: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    """`said` are the messages or deltas of the first choice, in order."""
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    assert text == "".join(words(each.get("content")) + (each.get("refusal") or "") for each in said)
    calls: dict[Any, list[str]] = {}
    for each in said:
        for number, call in enumerate(each.get("tool_calls") or []):
            entry = calls.setdefault(call.get("index", number), ["", ""])
            entry[0] = call["function"].get("name") or entry[0]
            entry[1] += call["function"].get("arguments") or ""
    found = [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts if "functionCall" in part]
    assert found == [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]


def compare_usage(told: dict[str, Any], usage: dict[str, Any]) -> None:
    assert told["promptTokenCount"] == usage["prompt_tokens"]
    output = told.get("candidatesTokenCount", 0) + told.get("thoughtsTokenCount", 0)
    assert output == said_in(usage)


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_chat_streams_say_the_same_to_gemini_clients(name: str) -> None:
    chunks = STREAMS[name]
    machine = GENERATE_TO_CHAT.stream(CALL)
    data = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in chunks) + b"data: [DONE]\n\n"
    out = machine.feed(data) + machine.close()
    assert machine.error is None
    events = [json.loads(each[6:]) for each in out.decode().split("\r\n\r\n") if each]
    first = [event for event in events if event["candidates"][0].get("index", 0) == 0]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if not choice.get("index")]
    compare([part for event in first for part in event["candidates"][0]["content"]["parts"]], deltas)
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    if usage:
        compare_usage(events[-1]["usageMetadata"], usage[-1])


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_chat_answers_say_the_same_to_gemini_clients(name: str) -> None:
    answer = ANSWERS[name]
    made = json.loads(GENERATE_TO_CHAT.response(CALL, json.dumps(answer).encode()).body)
    compare(made["candidates"][0]["content"]["parts"], [answer["choices"][0]["message"]])
    if answer.get("usage"):
        compare_usage(made["usageMetadata"], answer["usage"])


def spelled(value: Any) -> Any:
    """Both spellings of a field name as one, wherever the name is Google's."""
    if isinstance(value, list):
        return [spelled(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join(word.capitalize() if at else word for at, word in enumerate(name.split("_"))): (
            each if name in ("args", "response") else spelled(each)
        )
        for name, each in value.items()
    }


def essence(contents: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Who said what: neighbours of one role together, their texts as one; thoughts left out, which need not go back."""
    made: list[tuple[str, list[Any]]] = []
    for content in spelled(contents):
        role = "model" if content.get("role") == "model" else "user"
        if not made or made[-1][0] != role:
            made.append((role, [[]]))
        said = made[-1][1]
        texts = said[0]
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if part.get("thought"):
                continue
            if part.get("text"):
                texts.append(part["text"])
            elif "functionCall" in part:
                known = None if signature == UNSIGNED else signature
                said.append((part["functionCall"]["name"], part["functionCall"]["args"], known))
            elif "functionResponse" in part:
                said.append(part["functionResponse"]["name"])
            elif "inlineData" in part:
                said.append(part["inlineData"]["data"].replace("-", "+").replace("_", "/"))
            elif "fileData" in part:
                said.append(part["fileData"]["fileUri"])
    return [(role, ["".join(texts), *said]) for role, (texts, *said) in made]


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_requests_survive_the_way_through_chat_and_back(name: str) -> None:
    given = REQUESTS[name]
    if any("toolCall" in part for content in given["contents"] for part in content["parts"]):
        pytest.skip("calls that ran at Google have no word in chat")
    call = Call(Dialect.GEMINI_GENERATE, "gemini-3-flash-preview", False, json.dumps(given).encode(), "f" * 32, 1)
    made = json.loads(Chain(GENERATE_TO_CHAT, CHAT_TO_GEMINI).request(call).body)
    # Results come before what else their turn says; the parts are the same.
    sorted_essence = [
        [(role, sorted(map(repr, said))) for role, said in essence(each)]
        for each in (made["contents"], given["contents"])
    ]
    assert sorted_essence[0] == sorted_essence[1]
    if "systemInstruction" in given:
        texts = ["\n".join(part["text"] for part in each["systemInstruction"]["parts"]) for each in (made, given)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("name", NATIVE)
def test_recorded_answers_survive_the_way_through_chat_and_back(name: str) -> None:
    given = NATIVE[name]
    body = json.dumps({"contents": [{"parts": [{"text": "a"}]}]}).encode()
    call = Call(Dialect.GEMINI_GENERATE, "gemini-3-flash-preview", False, body, "f" * 32, 1)
    made = json.loads(Chain(GENERATE_TO_CHAT, CHAT_TO_GEMINI).response(call, json.dumps(given).encode()).body)
    parts = [each["candidates"][0].get("content", {}).get("parts", []) for each in (made, given)]
    texts = ["".join(part.get("text", "") for part in each if not part.get("thought")) for each in parts]
    assert texts[0] == texts[1]
    calls = [
        [
            (part["functionCall"]["name"], part["functionCall"]["args"], part.get("thoughtSignature"))
            for part in each
            if "functionCall" in part
        ]
        for each in parts
    ]
    assert calls[0] == calls[1]
    assert made["usageMetadata"].get("thoughtsTokenCount") == given["usageMetadata"].get("thoughtsTokenCount")
