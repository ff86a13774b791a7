"""Real answers of Anthropic's, where they are at hand: what a client reads must be what a plain reading finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.types import Rare, Usage
from tests.adapters.anthropic.conversation import call, chunks, run, sse

ROOT = Path(__file__).parents[4] / "shared" / "recordings"
FIXTURES = sorted((ROOT / "fixtures" / "anthropic").glob("*"))
EXCHANGES = sorted((ROOT / "exchanges" / "api.anthropic.com").glob("*.json"))


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in text.split("\n") if line.startswith("data:")]


def first_message(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some files hold the streams of several answers, one after the other."""
    ends = [number for number, event in enumerate(events) if event["type"] == "message_stop"]
    return events[: ends[0] + 1] if ends else events


def exchanges() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in EXCHANGES:
        for number, exchange in enumerate(json.loads(file.read_text())):
            if "api.anthropic.com/v1/messages" in exchange["request"]["url"]:
                yield f"{file.stem}-{number}", exchange["response"]


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in FIXTURES:
        if file.suffix == ".json":
            body = json.loads(file.read_text())
            if isinstance(body, dict) and body.get("type") == "message":
                yield file.stem, body
    for name, response in exchanges():
        if response.get("json", {}).get("type") == "message":
            yield name, response["json"]


def streams() -> Iterator[tuple[str, bytes, list[dict[str, Any]]]]:
    for file in FIXTURES:
        if file.suffix == ".txt":
            found = first_message([json.loads(line) for line in file.read_text().splitlines() if line.strip()])
            yield file.stem, sse(*found), found
    for name, response in exchanges():
        if "text" in response:
            yield name, response["text"].encode(), events_of(response["text"])


BODIES, STREAMS = list(bodies()), list(streams())
pytestmark = pytest.mark.skipif(not BODIES, reason="no recordings here")


class Read:
    """A recording read plainly: its text, its tool calls and its usage."""

    def __init__(self) -> None:
        self.text = ""
        self.tools: list[tuple[str, str, Any]] = []
        self.tokens: dict[str, int] = {}

    def usage(self) -> Usage:
        count = {name: self.tokens.get(name) or 0 for name in TOKENS}
        read, written = count["cache_read_input_tokens"], count["cache_creation_input_tokens"]
        details: Any = self.tokens.get("output_tokens_details") or {}
        thought = details.get("thinking_tokens", 0)
        lasting: Any = self.tokens.get("cache_creation") or {}
        hour = lasting.get("ephemeral_1h_input_tokens", 0)
        tier: Any = self.tokens.get("service_tier")
        said = count["output_tokens"]
        used: Any = self.tokens.get("server_tool_use")
        searches = (used or {}).get("web_search_requests") or 0
        steps: Any = self.tokens.get("iterations") or []
        for step in steps:
            if step["type"] == "compaction":  # in no sum, and paid for
                count["input_tokens"] += step["input_tokens"]
                said += step["output_tokens"]
        others = any(step["type"] not in ("message", "compaction") for step in steps)
        rare = Rare(searches=searches, uncounted=others) if searches or others else None
        return Usage(count["input_tokens"] + read + written, said, read, written, thought, hour, tier=tier, rare=rare)

    def count(self, tokens: dict[str, int]) -> None:
        self.tokens.update({name: value for name, value in tokens.items() if value is not None})


TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def read_body(body: dict[str, Any]) -> Read:
    read = Read()
    for block in body["content"]:
        if block["type"] == "text":
            read.text += block["text"]
        elif block["type"] == "tool_use":
            read.tools.append((block["id"], block["name"], block["input"]))
    read.count(body["usage"])
    return read


def read_stream(events: list[dict[str, Any]]) -> Read:
    read = Read()
    inputs: dict[int, str] = {}
    opened: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "message_start":
            read.count(event["message"]["usage"])
        elif event["type"] == "message_delta":
            read.count(event["usage"])
        elif event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            opened[event["index"]] = event["content_block"]
        elif event["type"] == "content_block_delta":
            read.text += event["delta"].get("text", "")
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"].get("partial_json", "")
    for index, block in opened.items():
        # Calls made by Anthropic's own code execution come with their input whole.
        text = inputs.get(index)
        read.tools.append((block["id"], block["name"], json.loads(text) if text else block["input"]))
    return read


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_whole_answers_say_what_the_recording_says(name: str, body: dict[str, Any]) -> None:
    read = read_body(body)
    for strict in (True, False):
        reply = CHAT_TO_MESSAGES.response(call(strict=strict), json.dumps(body).encode())
        message = json.loads(reply.body)["choices"][0]["message"]
        assert (message["content"] or "") == read.text
        assert reply.usage == read.usage()
        found = [
            (each["id"], each["function"]["name"], json.loads(each["function"]["arguments"]))
            for each in message.get("tool_calls", [])
        ]
        assert found == read.tools
        assert ("content_blocks" in message) is not strict


@pytest.mark.parametrize(("name", "data", "events"), STREAMS, ids=[name for name, _, _ in STREAMS])
def test_streams_say_what_the_recording_says(name: str, data: bytes, events: list[dict[str, Any]]) -> None:
    read = read_stream(events)
    for strict in (True, False):
        decoder = CHAT_TO_MESSAGES.stream(call(strict=strict, stream_options={"include_usage": True}))
        found = chunks(run(decoder, data))
        whole = events[-1]["type"] == "message_stop"
        assert (decoder.error is None) is whole
        assert (found[-1] == "[DONE]") is whole
        deltas = [chunk["choices"][0]["delta"] for chunk in found if chunk != "[DONE]" and chunk["choices"]]
        assert "".join(each.get("content") or "" for each in deltas) == read.text
        assert decoder.usage == read.usage()
        assert calls_of(deltas) == read.tools


def calls_of(deltas: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    calls: list[list[str]] = []
    for each in deltas:
        for part in each.get("tool_calls", []):
            if part["index"] == len(calls):
                calls.append([part["id"], part["function"]["name"], ""])
            calls[part["index"]][2] += part["function"]["arguments"]
    return [(id, name, json.loads(arguments)) for id, name, arguments in calls]


@pytest.mark.parametrize(("name", "data", "events"), STREAMS, ids=[name for name, _, _ in STREAMS])
def test_streams_may_be_cut_anywhere(name: str, data: bytes, events: list[dict[str, Any]]) -> None:
    whole, decoder = CHAT_TO_MESSAGES.stream(call(strict=False)), CHAT_TO_MESSAGES.stream(call(strict=False))
    assert run(decoder, *[data[at : at + 7] for at in range(0, len(data), 7)]) == run(whole, data)
    assert (decoder.usage, decoder.error) == (whole.usage, whole.error)


REFUSED = [(name, response) for name, response in exchanges() if response["status"] >= 400]


@pytest.mark.parametrize(("name", "response"), REFUSED, ids=[name for name, _ in REFUSED])
def test_errors_say_what_the_recording_says(name: str, response: dict[str, Any]) -> None:
    error = CHAT_TO_MESSAGES.error(response["status"], {}, json.dumps(response["json"]).encode())
    assert error.status == response["status"]
    assert (error.type, error.message) == (response["json"]["error"]["type"], response["json"]["error"]["message"])
