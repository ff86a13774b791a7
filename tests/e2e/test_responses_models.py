"""Models that a provider serves over Responses alone: every official SDK reaches them with its own API."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import ANTHROPIC_TOOLS, HELLO, SAID, TEST, USE_BOTH
from tests.fakes.gateway import OPENAI_SLUG, Upstream

MODEL = f"@{OPENAI_SLUG}/gpt-5-codex"


def test_a_chat_is_answered_whole_and_streamed(openai_client: Make, upstream: Upstream) -> None:
    client = openai_client()
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_completion_tokens=50)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (SAID, "stop")
    assert upstream.last.path.endswith("/responses")
    assert (upstream.last.json()["model"], upstream.last.json()["store"]) == ("gpt-5-codex", False)
    chunks = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID


def test_a_text_is_completed(openai_client: Make) -> None:
    assert openai_client().completions.create(model=MODEL, prompt=TEST, max_tokens=50).choices[0].text == SAID


def test_anthropics_sdk_calls_tools_and_gives_their_results(anthropic_client: Make) -> None:
    client = anthropic_client()
    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 2000, "tools": ANTHROPIC_TOOLS}
    with client.messages.stream(**asked, messages=messages) as stream:
        first = stream.get_final_message()
    used = [block for block in first.content if block.type == "tool_use"]
    assert ([block.name for block in used], first.stop_reason) == (["weather", "time"], "tool_use")
    results = [{"type": "tool_result", "tool_use_id": each.id, "content": f"{each.name} ok"} for each in used]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = client.messages.create(**asked, messages=messages)
    assert "ok" in "".join(block.text for block in second.content if block.type == "text")


def test_googles_sdk_is_answered(gemini_client: Make) -> None:
    assert gemini_client().models.generate_content(model=MODEL, contents=TEST).text == SAID


def test_what_cannot_be_said_is_named_or_with_strict_refused(openai_client: Make) -> None:
    raw = openai_client().chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, stop=["x"], seed=1)
    assert raw.headers["x-loopway-dropped-params"].split(",") == ["seed", "stop"]
    strict = openai_client({"x-loopway-strict-params": "true"})
    with pytest.raises(openai.BadRequestError) as refused:
        strict.chat.completions.create(model=MODEL, messages=HELLO, seed=1)
    assert refused.value.code == "unsupported_parameter"
