"""What Claude Code sends, as it was seen to: its headers, its query, its probes, its fields, on either provider."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.samples import CLAUDE, GPT, SAID, TEST
from tests.fakes.gateway import Gateway, Upstream

BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05"
)
EPHEMERAL = {"type": "ephemeral"}


def headers(gateway: Gateway) -> dict[str, str]:
    return {
        "authorization": f"Bearer {gateway.api_key}",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": BETAS,
        "anthropic-dangerous-direct-browser-access": "true",
        "content-type": "application/json",
        "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
        "x-app": "cli",
        "x-stainless-lang": "js",
        "x-stainless-retry-count": "0",
    }


def body(model: str, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": TEST, "cache_control": EPHEMERAL}]},
            {"role": "system", "content": "Available agent types: none."},
        ],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are an agent.", "cache_control": EPHEMERAL},
        ],
        "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object", "properties": {}}}],
        "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "session_id": "s" * 36})},
        "max_tokens": 32000,
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        **more,
    }


both = pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["anthropic", "openai"])


@both
def test_a_turn_is_streamed(model: str, gateway: Gateway) -> None:
    sent = body(model, stream=True)
    if model == CLAUDE:
        # Anthropic itself takes system messages in between from some models only.
        del sent["messages"][1]
    answer = httpx.post(f"{gateway.url}/v1/messages?beta=true", json=sent, headers=headers(gateway))
    assert answer.status_code == 200
    events = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    text = "".join(delta.get("text", "") for delta in deltas)
    assert text == SAID


def test_betas_and_fields_reach_anthropic_as_they_are(gateway: Gateway, upstream: Upstream) -> None:
    raw = json.dumps(body("claude-sonnet-4-5")).encode()
    with_slug = {**headers(gateway), "x-portkey-provider": f"@{CLAUDE[1:].partition('/')[0]}"}
    httpx.post(f"{gateway.url}/v1/messages?beta=true", content=raw, headers=with_slug)
    assert upstream.last.header("anthropic-beta") == BETAS
    assert upstream.last.body == raw


def test_on_openai_what_cannot_come_along_is_named(gateway: Gateway, upstream: Upstream) -> None:
    answer = httpx.post(f"{gateway.url}/v1/messages?beta=true", json=body(GPT), headers=headers(gateway))
    assert answer.status_code == 200
    assert set(answer.headers["x-loopway-dropped-params"].split(",")) == {
        "anthropic-beta.interleaved-thinking-2025-05-14",
        "cache_control",
        "context_management",
        "metadata.user_id",
        "thinking.budget_tokens",
    }
    sent = upstream.last.json()
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "system"]
    assert (sent["max_completion_tokens"], len(sent["user"])) == (32000, 64)
    # This model does not reason, and refuses a request that asks it to.
    assert "reasoning_effort" not in sent
    assert upstream.last.header("anthropic-beta") is None


@both
def test_tokens_are_counted(model: str, gateway: Gateway) -> None:
    sent = {name: value for name, value in body(model).items() if name in ("model", "messages", "system", "tools")}
    answer = httpx.post(f"{gateway.url}/v1/messages/count_tokens?beta=true", json=sent, headers=headers(gateway))
    assert answer.status_code == 200
    assert answer.json()["input_tokens"] > 0


def test_probes_are_answered_and_reach_nobody(gateway: Gateway, upstream: Upstream) -> None:
    for method, path in (("HEAD", "/"), ("HEAD", "/v1/messages"), ("GET", "/")):
        assert httpx.request(method, f"{gateway.url}{path}", headers=headers(gateway)).status_code in (200, 404, 405)
    assert not upstream.requests()
