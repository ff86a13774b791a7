"""What real clients asked and real providers answered: requests keep every word, answers say the same either way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters import observe
from adapters.errors import InvalidRequest
from adapters.responses_client import RESPONSES_TO_CHAT
from adapters.types import Call, Dialect
from tests.adapters import recordings
from tests.adapters.anthropic_client.script import sse
from tests.adapters.anthropic_client.test_recordings import thoughts, words
from tests.adapters.recordings import said_in
from tests.adapters.responses_client.script import call, response, run

STREAMS = recordings.chat_streams()
ANSWERS = {
    each.name: each.response
    for each in recordings.exchanges("/chat/completions")
    if each.status == 200 and isinstance(each.response, dict)
}
REQUESTS = {each.name: each.request for each in recordings.exchanges("/responses") if each.request}

pytestmark = pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")


def compare(made: dict[str, Any], said: list[dict[str, Any]], finish: str | None, usage: dict[str, Any] | None) -> None:
    """`said` are the messages or deltas of the first choice, in order."""
    parts = [part for item in made["output"] if item["type"] == "message" for part in item["content"]]
    told = "".join(part.get("text", part.get("refusal")) for part in parts)
    assert told == "".join(words(each.get("content")) + (each.get("refusal") or "") for each in said)
    summaries = [part for item in made["output"] if item["type"] == "reasoning" for part in item["summary"]]
    assert "".join(part["text"] for part in summaries) == "".join(map(thoughts, said))

    calls: dict[Any, list[str]] = {}
    for each in said:
        for number, entry in enumerate(each.get("tool_calls") or []):
            function = entry["function"]
            found = calls.setdefault(entry.get("index", number), ["", ""])
            found[0] = function.get("name") or found[0]
            found[1] += function.get("arguments") or ""
    made_calls = [(item["name"], item["arguments"]) for item in made["output"] if item["type"] == "function_call"]
    assert made_calls == [(name, arguments or "{}") for name, arguments in calls.values()]

    assert made["status"] == ("incomplete" if finish in ("length", "content_filter") else "completed")
    if usage is not None:
        assert made["usage"]["input_tokens"] == usage["prompt_tokens"]
        assert made["usage"]["output_tokens"] == said_in(usage)
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        assert made["usage"]["input_tokens_details"]["cached_tokens"] == cached


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_say_the_same(name: str) -> None:
    chunks = STREAMS[name]
    out, machine = run(sse(*chunks))
    assert machine.error is None
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    finish = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    deltas = [choice["delta"] for choice in choices]
    compare(response(out), deltas, finish[-1] if finish else None, usage[-1] if usage else None)


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_say_the_same(name: str) -> None:
    answer = ANSWERS[name]
    made = json.loads(RESPONSES_TO_CHAT.response(call(), json.dumps(answer).encode()).body)
    choice = answer["choices"][0]
    compare(made, [choice["message"]], choice["finish_reason"], answer.get("usage"))


STORED = ("previous_response_id", "conversation", "background", "prompt")


def texts(request: dict[str, Any]) -> Iterator[str]:
    """All words of a request that a model must see."""
    if request.get("instructions"):
        yield request["instructions"]
    items = request.get("input") or []
    if isinstance(items, str):
        yield items
        return
    for item in items:
        for field in ("content", "output", "arguments"):
            value = item.get(field)
            if item.get("type") in ("reasoning", "compaction"):
                continue
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (part["text"] for part in value if "text" in part)


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_requests_keep_every_word_or_say_why_not(name: str) -> None:
    body = REQUESTS[name]
    asked = Call(Dialect.OPENAI_RESPONSES, "m", False, json.dumps(body).encode(), "id", 0)
    stored = any(body.get(field) for field in STORED)
    files = '"file_id"' in json.dumps(body)
    if stored or files:
        with pytest.raises(InvalidRequest):
            RESPONSES_TO_CHAT.request(asked)
        return
    sent = json.dumps(json.loads(RESPONSES_TO_CHAT.request(asked).body), ensure_ascii=False)
    for text in texts(body):
        assert json.dumps(text, ensure_ascii=False)[1:-1] in sent


NATIVE = {
    each.name: each.response
    for each in recordings.exchanges("/responses")
    if each.status == 200 and isinstance(each.response, str) and "response.completed" in each.response
}


@pytest.mark.parametrize("name", NATIVE)
def test_a_tap_knows_a_whole_native_stream_and_its_usage(name: str) -> None:
    data = NATIVE[name].encode()
    events = [block for block in data.split(b"\n\n") if block.strip()]
    last = json.loads(events[-1].partition(b"data: ")[2])["response"]["usage"]
    for size in (1 << 20, 4000, 61):
        tap = observe.tap(Dialect.OPENAI_RESPONSES)
        for at in range(0, len(data), size):
            tap.feed(data[at : at + size])
        usage = tap.usage()
        assert tap.ended()
        assert usage is not None
        assert (usage.input, usage.output) == (last["input_tokens"], last["output_tokens"])
        assert usage.cached == last["input_tokens_details"]["cached_tokens"]
        assert usage.reasoning == last["output_tokens_details"]["reasoning_tokens"]
    cut = observe.tap(Dialect.OPENAI_RESPONSES)
    cut.feed(b"\n\n".join(events[:-1]) + b"\n\n")
    assert not cut.ended()
