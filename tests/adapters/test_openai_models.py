"""Clients of other dialects ask OpenAI's models for nothing that those refuse, and learn what was left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect

GOOGLE, CLAUDE = Dialect.GEMINI_GENERATE, Dialect.ANTHROPIC_MESSAGES
SAMPLED = {"temperature": 0, "topP": 0.95, "presencePenalty": 0.5}
BUDGET = {"thinkingConfig": {"thinkingBudget": 8192}}
_C = "generationConfig."


def sent(client: Dialect, upstream: Dialect, model: str, **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    said = {"contents": [{"parts": [{"text": "a"}]}]} if client is GOOGLE else {"max_tokens": 9, "messages": []}
    if client is CLAUDE:
        said["messages"] = [{"role": "user", "content": "a"}]
    raw = json.dumps({**said, **body}).encode()
    out = codec(client, upstream).request(Call(client, model, False, raw, "0a1b", 1))
    made: dict[str, Any] = json.loads(out.body)
    return made, out.dropped


@pytest.mark.parametrize(
    ("model", "config", "kept", "lost"),
    [
        ("o3", SAMPLED, set(), {"temperature", "topP", "presencePenalty"}),
        ("gpt-5-mini-2025-08-07", SAMPLED, set(), {"temperature", "topP", "presencePenalty"}),
        ("gpt-5-mini", {"temperature": 1}, {"temperature"}, set()),
        ("gpt-5.2", SAMPLED, {"temperature", "top_p", "presence_penalty"}, set()),
        (
            "gpt-5.2",
            {"temperature": 0, **BUDGET},
            {"reasoning_effort"},
            {"temperature", "thinkingConfig.thinkingBudget"},
        ),
        ("gpt-4o", {"temperature": 0, **BUDGET}, {"temperature"}, {"thinkingConfig.thinkingBudget"}),
        ("gpt-5-chat-latest", {"temperature": 0, **BUDGET}, {"temperature"}, {"thinkingConfig.thinkingBudget"}),
        ("my-own-model", SAMPLED, {"temperature", "top_p", "presence_penalty"}, set()),
    ],
)
def test_sampling_and_effort_are_what_the_model_takes(
    model: str, config: dict[str, Any], kept: set[str], lost: set[str]
) -> None:
    made, dropped = sent(GOOGLE, Dialect.OPENAI_CHAT, model, generationConfig=config)
    assert made.keys() - {"model", "messages"} == kept
    assert set(dropped) == {_C + name for name in lost}


def test_so_it_is_for_claudes_clients_and_by_responses() -> None:
    wish = {"stop_sequences": ["END"], "temperature": 0.5, "output_config": {"effort": "high"}}
    made, dropped = sent(CLAUDE, Dialect.OPENAI_CHAT, "o4-mini", **wish)
    assert (made["reasoning_effort"], set(dropped)) == ("high", {"stop_sequences", "temperature"})
    made, dropped = sent(CLAUDE, Dialect.OPENAI_CHAT, "gpt-4.1", **wish)
    assert (made["temperature"], made["stop"], dropped) == (0.5, ["END"], ("output_config.effort",))
    made, dropped = sent(GOOGLE, Dialect.OPENAI_RESPONSES, "o3-pro", generationConfig=SAMPLED)
    assert not {"temperature", "top_p"} & made.keys()
    assert set(dropped) == {_C + "temperature", _C + "topP", _C + "presencePenalty"}
