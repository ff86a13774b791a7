"""Real answers of Google's, where they are at hand: what a client reads must be what a plain reading finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.gemini import CHAT_TO_GEMINI
from adapters.types import Usage
from tests.adapters.gemini.script import call, chunks, run
from tests.adapters.recordings import ROOT, exchanges

FOUND = [*exchanges(":generateContent"), *exchanges(":streamGenerateContent")]
WHOLE = [each for each in FOUND if each.status == 200 and isinstance(each.response, dict)]
STREAMS = [(each.name, each.response.encode()) for each in FOUND if isinstance(each.response, str)]
for file in sorted(ROOT.glob("fixtures/google/google-*.chunks.txt")):
    lines = [line for line in file.read_text().splitlines() if line.strip()]
    if all('"candidates"' in line and '"partialArgs"' not in line for line in lines):
        STREAMS.append((file.stem, b"".join(f"data: {line}\r\n\r\n".encode() for line in lines)))
for file in sorted(ROOT.glob("fixtures/google/google-*.json")):
    body = json.loads(file.read_text())
    if "candidates" in body:
        WHOLE.append(FOUND[0]._replace(name=file.stem, response=body))
REFUSED = [each for each in FOUND if each.status >= 400]

pytestmark = pytest.mark.skipif(not FOUND, reason="no recordings here")


class Read:
    """A recording read plainly: its text, its tool calls and its usage."""

    def __init__(self, answers: list[dict[str, Any]]) -> None:
        self.text = ""
        self.calls: list[tuple[str, Any]] = []
        self.signatures: list[str] = []
        self.reason = None
        for answer in answers:
            tokens = answer.get("usageMetadata", {})
            for candidate in answer.get("candidates", []):
                self.reason = candidate.get("finishReason", self.reason)
                for part in candidate.get("content", {}).get("parts", []):
                    self.text += "" if part.get("thought") else part.get("text", "")
                    if "functionCall" in part:
                        self.calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
                    if "thoughtSignature" in part:
                        self.signatures.append(part["thoughtSignature"])
        thoughts = tokens.get("thoughtsTokenCount", 0)
        self.usage = Usage(
            tokens["promptTokenCount"] + tokens.get("toolUsePromptTokenCount", 0),
            tokens.get("candidatesTokenCount", 0) + thoughts,
            tokens.get("cachedContentTokenCount", 0),
            0,
            thoughts,
        )

    @property
    def finish(self) -> str:
        other = {"MAX_TOKENS": "length", "SAFETY": "content_filter"}
        return "tool_calls" if self.calls else other.get(self.reason or "", "stop")


def plain(usage: Usage | None) -> Usage:
    assert usage is not None
    return Usage(usage.input, usage.output, usage.cached, 0, usage.reasoning)


def called(calls: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    assert len({each["id"] for each in calls}) == len(calls)
    return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]


@pytest.mark.parametrize("recorded", WHOLE, ids=[each.name for each in WHOLE])
def test_whole_answers_say_what_the_recording_says(recorded: Any) -> None:
    read = Read([recorded.response])
    for strict in (True, False):
        reply = CHAT_TO_GEMINI.response(call(strict=strict), json.dumps(recorded.response).encode())
        choice = json.loads(reply.body)["choices"][0]
        message = choice["message"]
        assert (message["content"] or "") == read.text
        assert called(message.get("tool_calls", [])) == read.calls
        assert plain(reply.usage) == read.usage
        if strict:
            assert choice["finish_reason"] == read.finish
        else:
            # Every signature is there to be sent back.
            told = json.dumps(message["content_blocks"]) + json.dumps(message.get("tool_calls"))
            assert all(signature in told for signature in read.signatures)


@pytest.mark.parametrize(("name", "data"), STREAMS, ids=[name for name, _ in STREAMS])
def test_streams_say_what_the_recording_says(name: str, data: bytes) -> None:
    read = Read([json.loads(event[6:]) for event in data.decode().split("\r\n\r\n") if event])
    for strict in (True, False):
        decoder = CHAT_TO_GEMINI.stream(call(strict=strict, stream_options={"include_usage": True}))
        pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
        found = chunks(run(decoder, *pieces))
        assert decoder.error is None
        assert found[-1] == "[DONE]"
        deltas = [chunk["choices"][0]["delta"] for chunk in found[:-1] if chunk["choices"]]
        assert "".join(each.get("content") or "" for each in deltas) == read.text
        assert called([each for delta in deltas for each in delta.get("tool_calls", [])]) == read.calls
        assert plain(decoder.usage) == read.usage


@pytest.mark.parametrize("recorded", REFUSED, ids=[each.name for each in REFUSED])
def test_errors_say_what_the_recording_says(recorded: Any) -> None:
    error = CHAT_TO_GEMINI.error(recorded.status, {}, json.dumps(recorded.response).encode())
    said = recorded.response["error"]
    assert (error.status, error.type, error.message) == (recorded.status, said["status"], said["message"])
