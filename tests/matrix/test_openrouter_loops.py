"""Three turns of tools behind OpenRouter, by the official SDKs: `reasoning_details` come back to it as they were."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.test_reasoning_details import DETAILS, streamed, whole
from tests.fakes.gateway import SEED_KEY, Gateway
from tests.fakes.upstream import SSE, Asked, Script, Scripted, ok
from tests.matrix.test_thinking_loops import LOOPS, OSLO, PARIS

DONE = "Mild in Paris, cold in Oslo."
CITIES = (PARIS.arguments["city"], OSLO.arguments["city"])


def answer(details: list[dict[str, Any]], body: dict[str, Any]) -> bytes:
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    if turn < len(CITIES):
        made = (streamed if body.get("stream") else whole)(details, CITIES[turn])
        return made.replace(b'"weather"', json.dumps(body["tools"][0]["function"]["name"]).encode())
    said: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if not body.get("stream"):
        return json.dumps({"id": "1", "model": "m", "choices": [{**said, "message": {"content": DONE}}]}).encode()
    chunk = json.dumps({"id": "1", "model": "m", "choices": [{**said, "delta": {"content": DONE}}]}).encode()
    return b"data: %b\n\ndata: [DONE]\n\n" % chunk


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", [name for name in LOOPS if "Responses" not in name])  # those it has itself
@pytest.mark.parametrize("name", ["Claude", "OpenAI"])
async def test_details_come_back_through_the_official_sdks(
    tmp_path: Path, name: str, client: str, stream: bool
) -> None:
    def play(asked: Asked) -> Script:
        made = answer(DETAILS[name], json.loads(asked.body))
        return [ok(made, content_type=SSE) if stream else ok(made)]

    async with Scripted(play=play) as cloud:
        row = {"slug": "router", "provider": "openrouter", "key": "k", "custom_host": f"{cloud.url}/api/v1"}
        config = {
            "virtual_keys": [row],
            "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
        }
        with Gateway(tmp_path, config) as gateway:
            text = await asyncio.to_thread(LOOPS[client], gateway, "router", "anthropic/claude-sonnet-4.5", stream)
        last = json.loads(cloud.requests[-1].body)
    assert text == DONE
    said = [message for message in last["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_details"] for message in said] == [DETAILS[name]] * 2
    assert [json.loads(each["tool_calls"][0]["function"]["arguments"])["city"] for each in said] == list(CITIES)
