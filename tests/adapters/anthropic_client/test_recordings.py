"""What real providers answered, read once through the codec and once plainly: both readings must agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect
from tests.adapters import recordings
from tests.adapters.anthropic_client.script import CALL, message, run, sse
from tests.adapters.recordings import said_in

STREAMS = recordings.chat_streams()
ANSWERS = {
    each.name: each.response
    for each in recordings.exchanges("/chat/completions")
    if each.status == 200 and isinstance(each.response, dict)
}
REQUESTS = {each.name: each.request for each in recordings.exchanges("/v1/messages") if each.request}

pytestmark = pytest.mark.skipif(not recordings.ROOT.exists(), reason="no recordings beside this checkout")


def words(content: Any) -> str:
    """The text of a string or a list of parts; thinking is left out."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def thoughts(said: dict[str, Any]) -> str:
    content = said.get("content")
    if isinstance(content, list):
        return "".join(inner["text"] for part in content if part["type"] == "thinking" for inner in part["thinking"])
    return said.get("reasoning_content") or said.get("reasoning") or ""


def compare(made: dict[str, Any], said: list[dict[str, Any]], finish: str | None, usage: dict[str, Any] | None) -> None:
    """`said` are the messages or deltas of the first choice, in order."""
    blocks = made["content"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    assert text == "".join(words(each.get("content")) + (each.get("refusal") or "") for each in said)
    thinking = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    assert thinking == "".join(map(thoughts, said))

    calls: dict[Any, list[str]] = {}
    for each in said:
        for number, call in enumerate(each.get("tool_calls") or []):
            function = call["function"]
            entry = calls.setdefault(call.get("index", number), ["", ""])
            entry[0] = function.get("name") or entry[0]
            entry[1] += function.get("arguments") or ""
    tools = [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    assert tools == [(name, json.loads(arguments or "{}")) for name, arguments in calls.values()]

    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
    expected = reasons.get(finish or "", "end_turn")
    assert made["stop_reason"] == ("tool_use" if tools and expected == "end_turn" else expected)
    if usage is not None:
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        written = min(details.get("cache_write_tokens") or 0, usage["prompt_tokens"] - cached)
        assert made["usage"]["input_tokens"] == usage["prompt_tokens"] - cached - written
        assert made["usage"]["cache_creation_input_tokens"] == written
        assert made["usage"]["cache_read_input_tokens"] == cached
        assert made["usage"]["output_tokens"] == said_in(usage)


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_say_the_same_in_both_dialects(name: str) -> None:
    chunks = STREAMS[name]
    out, machine = run(sse(*chunks))
    assert machine.error is None
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    finish = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    deltas = [choice["delta"] for choice in choices]
    compare(message(out), deltas, finish[-1] if finish else None, usage[-1] if usage else None)


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_say_the_same_in_both_dialects(name: str) -> None:
    answer = ANSWERS[name]
    made = json.loads(MESSAGES_TO_CHAT.response(CALL, json.dumps(answer).encode()).body)
    choice = answer["choices"][0]
    compare(made, [choice["message"]], choice["finish_reason"], answer.get("usage"))


def texts(value: Any) -> Iterator[str]:
    """All prompt text of a Messages request's `system` and `messages`."""
    if isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("text", "content", "system", "messages") and isinstance(each, str):
                yield each
            elif key in ("content", "system", "messages") and value.get("type") not in _SERVER_BLOCKS:
                yield from texts(each)


_SERVER_BLOCKS = ("web_search_tool_result", "web_fetch_tool_result", "mcp_tool_result", "code_execution_tool_result")


@pytest.mark.parametrize("name", REQUESTS)
def test_recorded_requests_keep_every_word(name: str) -> None:
    body = REQUESTS[name]
    call = Call(Dialect.ANTHROPIC_MESSAGES, "gpt-x", False, json.dumps(body).encode(), "id", 0)
    try:
        made = json.loads(MESSAGES_TO_CHAT.request(call).body)
    except InvalidRequest as refused:
        pytest.skip(f"refused: {refused.message}")
    sent = json.dumps(made, ensure_ascii=False)
    for text in texts({"system": body.get("system"), "messages": body["messages"]}):
        assert json.dumps(text, ensure_ascii=False)[1:-1] in sent
